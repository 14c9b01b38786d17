"""A copy of the project in a separate folder, where the documentation's commands can run without harm."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from local.bootstrap import ENVIRONMENTS, outdated
from local.build import architecture
from local.paths import BIN, ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOT_SOURCES = (".git", ".venv", ".local", ".aws-sam", "__pycache__", ".hypothesis", ".*_cache")
SHARED = (
    ".venv",
    ".local/ministack",
    ".local/builds",
    ".local/sam-cache",
    ".local/boot",
    ".local/litellm",
    ".local/mutation",
)
"""Folders that a copy links to, because making them again takes long."""
PATIENCE_SECONDS = 600


class Project:
    """A copy of the project, with the shell of a user who has the AWS CLI, httpie, and none of our settings."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self._environ = {
            "PATH": os.pathsep.join([*(each for each in _path() if each != str(BIN)), str(BIN)]),
            "HOME": os.environ.get("HOME", "/"),
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
            **{name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))},
            **environ,
        }

    def fit_to_local_aws(self) -> None:
        """Change defaults in the template: the local AWS has no CodeDeploy, and runs on this machine's processor."""
        template = self.folder / "template.yaml"
        text = template.read_text()
        for name, value in {"GradualDeployment": '"false"', "Architecture": architecture()}.items():
            pattern = rf"^(  {name}:\n(?:    .*\n)*?    Default: ).*"
            text, count = re.subn(pattern, rf"\g<1>{value}", text, flags=re.MULTILINE)
            assert count == 1, name
        template.write_text(text)

    def type(self, command: str, status: int = 0, **environ: str) -> str:
        """Run commands, which must end with ``status``. Return their output, standard error included."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self._environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == status, f"{command}\n{done.stdout[-5000:]}"
        return done.stdout

    def begin(self, command: str, **environ: str) -> Running:
        """Start a command that runs until it is stopped."""
        log = self.folder / f".local/output-{time.monotonic_ns()}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self._environ | environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # If a shell started the tests in the background, they ignore Ctrl-C, and so would this command.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
        return Running(process, log)


class Running:
    """A command that runs as if in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until the output contains the pattern. Return the match."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := re.search(pattern, self.output, re.DOTALL)):
            assert self._process.poll() is None, f"the command has ended\n{self.output}"
            assert time.monotonic() < deadline, f"the command never printed {pattern}\n{self.output}"
            time.sleep(0.1)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Interrupt all processes of the command, as Ctrl-C in a terminal does, and wait for the command's end."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(PATIENCE_SECONDS)


def copy(folder: Path) -> Path:
    return shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))


def with_environments(folder: Path) -> Path:
    """Link the existing environments into a copy, so that the copy does not make them again."""
    assert not outdated(ENVIRONMENTS), (
        "run `make ready` first: otherwise the copy would make these environments again during the tests"
    )
    for shared in SHARED:
        (ROOT / shared).mkdir(exist_ok=True)
        (folder / shared).parent.mkdir(exist_ok=True)
        (folder / shared).symlink_to(ROOT / shared)
    return folder


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _path() -> list[str]:
    return os.environ["PATH"].split(os.pathsep)
