"""Files and folders that only their owner may read, because `.local` contains secrets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
UMASK = 0o077
"""The umask for processes that create files."""


def folder(path: Path) -> None:
    """Create a folder, or use the one that exists. Remove other users' access to it."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)


def opener(path: str, flags: int) -> int:
    """An opener for `open` that creates files that only their owner may read."""
    return os.open(path, flags, FILE_MODE)


def write(path: Path, text: str) -> None:
    """Write a file. The file gets its name only when it is complete, and other users can never read it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "x", opener=opener) as file:
        file.write(text)
    unfinished.replace(path)


def make_private(path: Path) -> None:
    """Remove other users' access to a file, or to a folder and everything in it. A missing path is ignored."""
    for each in (path, *path.rglob("*")):
        if each.exists() and not each.is_symlink():
            each.chmod(each.stat().st_mode & ~UMASK)
