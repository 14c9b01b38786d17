"""Builds the service with SAM for this machine, once for each version of its sources.

As a program (`python -m local.build [Name=value …]`) it prints the template parameter BuildId for a deployment of the
current sources that sets these parameters.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import platform
import py_compile
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from local.account import REGION, without_account
from local.paths import BIN, BUILDS, FUNCTIONS, LAYER, LOCAL, ROOT, TEMPLATE
from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

BUILDS_KEPT = 3
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}


class Build(NamedTuple):
    """A finished build: the id of the sources it was made from, and its template."""

    id: str
    template: Path


def build() -> Build:
    """Return the build of the current sources. Make it if it does not exist.

    Raises Refused if SAM fails, or if Lambda does not have this machine's architecture.
    """
    BUILDS.mkdir(parents=True, exist_ok=True)
    with _locked():
        identity = build_id()
        folder = BUILDS / identity
        if not folder.exists():
            _make(folder)
        folder.touch()
        _prune()
    return Build(identity, folder / "template.yaml")


def build_id() -> str:
    """Return an id for the current sources: the same content has the same id, on every machine."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(ROOT).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def deployment_id(build: str, parameters: Iterable[str]) -> str:
    """Return the BuildId for a deployment of `build` that sets these parameters (`Name=value`).

    A function uses new parameters only after it is published again, and it is published again only if its BuildId
    changes. So the id depends on the parameters. Without parameters, the id is `build`.
    """
    given = sorted(parameters)
    return hashlib.sha256("\n".join([build, *given]).encode()).hexdigest()[:16] if given else build


def architecture() -> str:
    """Return Lambda's name for this machine's architecture. Raises Refused if Lambda does not have it."""
    try:
        return ARCHITECTURES[platform.machine().lower()]
    except KeyError as exc:
        raise Refused(f"Lambda has no architecture {platform.machine()}") from exc


def _sources() -> Iterator[Path]:
    yield TEMPLATE
    for folder in (LAYER, FUNCTIONS):
        yield from (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _make(folder: Path) -> None:
    """Build into `folder`, which does not exist until the build is complete."""
    unfinished = folder.with_suffix(".unfinished")
    command: list[str | Path] = [BIN / "sam", "build", "--template-file", TEMPLATE, "--build-dir", unfinished]
    command += ["--cached", "--cache-dir", LOCAL / "sam-cache", "--parallel"]
    command += ["--parameter-overrides", f"Architecture={architecture()}"]
    environ = sam_environment()
    # SAM creates a folder .aws-sam in the current folder, so run SAM in LOCAL.
    result = subprocess.run(command, cwd=LOCAL, env=environ, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Refused(f"`sam build` failed:\n{(result.stdout + result.stderr).strip()}")
    # Compile the code once. Otherwise each worker of the local AWS would compile the copy that it unpacks.
    compileall.compile_dir(unfinished, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    unfinished.rename(folder)


def sam_environment() -> dict[str, str]:
    """Return an environment for SAM: with the project's tools, without this machine's AWS account."""
    return without_account(os.environ) | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "AWS_DEFAULT_REGION": REGION,
        "SAM_CLI_TELEMETRY": "0",
    }


def _prune() -> None:
    """Remove all builds except the most recently used ones."""
    builds = sorted(BUILDS.glob("*/"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in builds[BUILDS_KEPT:]:
        shutil.rmtree(folder)


@contextmanager
def _locked() -> Iterator[None]:
    """Prevent other processes from building in `BUILDS` during the block."""
    with (BUILDS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    print(deployment_id(build_id(), sys.argv[1:]))
