"""The programs of `local/`: how Ctrl-C ends them, what they leave behind, and which files other users can read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from local import INTERRUPTED, bootstrap, private
from local.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = sorted(
    f"local.{file.stem}" for file in (ROOT / "local").glob("*.py") if '\nif __name__ == "__main__":' in file.read_text()
)
for of_the_emulator in ("local.emulator_launcher", "local.emulator_forker"):  # not started from a terminal
    PROGRAMS.remove(of_the_emulator)
CTRL_C_WHILE_IMPORTING = """
import sys

class Finder:
    def find_spec(name, *_):
        if name in ("local.steps", "local.paths"):
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder)
"""
PATIENCE_SECONDS = 30


def test_the_programs_are_found() -> None:
    assert {"local.run", "local.stop", "local.demo", "local.bootstrap", "local.bridge", "local.build"} <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_a_program_imports_modules_ends_it_quietly(tmp_path: Path, program: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C_WHILE_IMPORTING)
    path = os.pathsep.join([str(tmp_path), str(ROOT / "layers/shared")])

    ended = subprocess.run(
        [sys.executable, "-m", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", "")


@pytest.fixture
def bootstrap_copy(tmp_path: Path) -> Path:
    """Return a folder in which the bootstrap can run, with a `uv` that runs for a minute."""
    for name in ("local", "requirements"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".python-version").write_text(bootstrap.PYTHON_VERSION)
    uv = tmp_path / "bin/uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\necho $$ > "$UV_PID"\nexec sleep 60\n')
    uv.chmod(0o755)
    return tmp_path


BOOTSTRAP = """
import sys
from pathlib import Path
sys.argv[0] = "-m"
import local
from local import bootstrap
root = Path(sys.argv[1])
bootstrap.ROOT = root
bootstrap.ENVIRONMENTS = {root / ".venv": bootstrap.LOCKS / "dev.txt"}
sys.argv[1:] = []
sys.exit(bootstrap.main())
"""


def test_ctrl_c_during_a_setup_ends_all_processes_and_marks_no_environment_as_complete(bootstrap_copy: Path) -> None:
    """The test signals only the program, whereas a terminal would also signal the program's children."""
    environment, pid_file = bootstrap_copy / ".venv", bootstrap_copy / "uv.pid"
    environment.mkdir()
    (environment / ".locked").write_text("the digest of other locks")
    setup = subprocess.Popen(
        [sys.executable, "-c", BOOTSTRAP, str(bootstrap_copy)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{bootstrap_copy}/bin:{os.environ['PATH']}", "UV_PID": str(pid_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline
        assert setup.poll() is None, setup.communicate()[0]
        time.sleep(0.05)

    setup.send_signal(signal.SIGINT)
    output, _ = setup.communicate(timeout=PATIENCE_SECONDS)

    assert setup.returncode == INTERRUPTED
    assert "Traceback" not in output
    assert "✗  Environment .venv" in output
    assert not is_running(int(pid_file.read_text()))
    assert not (environment / ".locked").exists(), "a half-made environment must not be marked as complete"


def is_running(pid: int) -> bool:
    """Return whether a process runs. An ended process can remain as a zombie."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_half_installed_uv_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr("shutil.which", lambda _name: None)

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("subprocess.run", run)
    half = tmp_path / ".local/boot/bin/uv"
    half.parent.mkdir(parents=True)
    half.touch()

    assert bootstrap.find_uv() == str(half)
    assert [command[-1] for command in commands] == [str(tmp_path / ".local/boot"), "uv"]
    assert bootstrap.find_uv() == str(half)
    assert len(commands) == 2, "a complete uv is not installed again"


def test_a_private_file_is_not_readable_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private.folder(tmp_path / "a/b")
        private.write(tmp_path / "a/b/secret", "hidden")
    finally:
        os.umask(before)

    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/b/secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "a/b").iterdir()] == ["secret"]


def test_files_that_others_could_read_become_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (folder / "deep").mkdir(parents=True, mode=0o755)
    (folder / "deep/open").write_text("hidden")
    (folder / "deep/open").chmod(0o664)
    (folder / "elsewhere").symlink_to(tmp_path / "nowhere")

    private.make_private(folder)
    private.make_private(tmp_path / "not there")

    closed = [folder, folder / "deep", folder / "deep/open"]
    assert [path.stat().st_mode & 0o077 for path in closed] == [0, 0, 0]
