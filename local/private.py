"""Files and folders that nobody but their owner may read: what lies in `.local` has secrets. Standard library only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
UMASK = 0o077
"""For a process that makes files of its own."""


def folder(path: Path) -> None:
    """Make a folder unless it is there, and close it to others either way."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)


def opener(path: str, flags: int) -> int:
    """Open a file for `open`, made for its owner alone."""
    return os.open(path, flags, FILE_MODE)


def write(path: Path, text: str) -> None:
    """Write a file, which appears whole and is closed to others from its first moment."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with open(unfinished, "x", opener=opener) as file:
        file.write(text)
    unfinished.replace(path)


def close(path: Path) -> None:
    """Close a file, or a folder with all that is in it, to others; it need not be there."""
    for each in (path, *path.rglob("*")):
        if each.exists() and not each.is_symlink():
            each.chmod(each.stat().st_mode & ~UMASK)
