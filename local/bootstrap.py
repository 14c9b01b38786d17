"""Creates the project's virtual environments from its lock files: `python3 -m local.bootstrap`.

`python3 -m local.bootstrap lock` updates the lock files. This module runs before anything is installed, on whatever
Python 3 there is, so it imports only the standard library.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from local import private
from local.steps import Refused, explain, step

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
# lock file of the layer or of a function → name of its source, an .in file in requirements/
DEPLOYED_LOCKS = {
    ROOT / "layers/shared/requirements.txt": "layer",
    ROOT / "functions/authorizer/requirements.txt": "authorizer",
    ROOT / "functions/budgets/requirements.txt": "zones",
    ROOT / "functions/streaming_sessions/requirements.txt": "zones",
    ROOT / "functions/usage/requirements.txt": "zones",
}
PYTHON_VERSION = (ROOT / ".python-version").read_text().strip()

# environment → its lock file
ENVIRONMENTS = {
    ROOT / ".venv": LOCKS / "dev.txt",
    # Separate, because the emulator pins another version of botocore, and the functions that run in the emulator must
    # not find the packages of .venv.
    ROOT / ".local/ministack": LOCKS / "ministack.txt",
}


def main() -> int:
    """Create or update the environments or, with the argument `lock`, update the lock files."""
    try:
        if sys.argv[1:] == ["lock"]:
            write_locks()
        else:
            make_environments()
    except Refused as refused:
        return explain(refused)
    return 0


def make_environments(wanted: dict[Path, Path] | None = None) -> None:
    """Make each environment match its lock exactly. An environment that already matches is left alone."""
    private.folder(ROOT / ".local")
    wanted = ENVIRONMENTS if wanted is None else wanted
    for environment, digest in outdated(wanted).items():
        with step(f"Environment {environment.relative_to(ROOT)}"):
            _stamp(environment).unlink(missing_ok=True)  # the stamp is missing while the environment is incomplete
            uv("venv", "--quiet", "--clear", "--python", PYTHON_VERSION, environment)
            uv("pip", "sync", "--quiet", "--require-hashes", "--python", environment, wanted[environment])
            _stamp(environment).write_text(digest)


def outdated(wanted: dict[Path, Path]) -> dict[Path, str]:
    """Return the environments that are out of date, each with a digest of its lock and the Python version."""
    digests = {
        environment: hashlib.sha256(f"{PYTHON_VERSION}\n".encode() + lock.read_bytes()).hexdigest()
        for environment, lock in wanted.items()
    }
    return {
        environment: digest
        for environment, digest in digests.items()
        if not _stamp(environment).exists() or _stamp(environment).read_text() != digest
    }


def _stamp(environment: Path) -> Path:
    return environment / ".locked"


def write_locks() -> None:
    """Lock the newest versions that requirements/*.in allow."""
    compile_all = [
        "pip",
        "compile",
        "--quiet",
        "--upgrade",
        "--generate-hashes",
        "--python-version",
        PYTHON_VERSION,
    ]
    compile_all += ["--no-emit-index-url", "--custom-compile-command", "make lock"]
    with step("Locks"):
        for name in ("dev", "litellm", "ministack", "mutation"):
            uv(
                *compile_all,
                "--universal",
                f"requirements/{name}.in",
                "--output-file",
                f"requirements/{name}.txt",
            )
        # Lambda gets only the packages in these locks, in the versions that the tests ran with.
        for lock, name in DEPLOYED_LOCKS.items():
            uv(*compile_all, "--python-platform", "linux", "--constraints", "requirements/dev.txt",
               f"requirements/{name}.in", "--output-file", lock.relative_to(ROOT))  # fmt: skip


def uv(*arguments: str | Path) -> None:
    """Run uv. If uv fails, raises Refused with what uv printed."""
    # Ignore the environment that is active in the caller's shell.
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [find_uv(), *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Refused(f"uv {' '.join(command[1:3])} failed:\n{result.stderr.strip()}")


def find_uv() -> str:
    """Return the path of uv. If uv is not on PATH, install it in `.local/boot`.

    Raises Refused if uv cannot be installed.
    """
    on_path = shutil.which("uv")
    if on_path:
        return on_path
    home = ROOT / ".local/boot"
    own = home / "bin/uv"
    if not _stamp(home).exists():
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(home)],
            [str(home / "bin/pip"), "install", "--quiet", "uv"],
        ):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise Refused(
                    "uv is not installed, and could not be installed here; see https://docs.astral.sh/uv"
                    f" for how to install it\n{(result.stdout + result.stderr).strip()}"
                )
        _stamp(home).touch()
    return str(own)


if __name__ == "__main__":
    sys.exit(main())
