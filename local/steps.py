"""Shows each step of a command, and how long the step took.

This module uses only the standard library, because the bootstrap imports it before anything is installed.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """Print `title`, and the duration when the block ends. The block gets a function that adds a note to the title."""
    notes: list[str] = []
    on_terminal = sys.stdout.isatty()
    if on_terminal:
        print(f"  …  {title}", end="", flush=True)
    began = time.monotonic()
    mark = "✗"
    try:
        yield notes.append
        mark = "✓"
    finally:
        seconds = time.monotonic() - began
        line = f"  {mark}  {title} ({', '.join(notes)})" if notes else f"  {mark}  {title}"
        print(("\r" if on_terminal else "") + line.ljust(60) + f"{seconds:7.1f} s", flush=True)


class Refused(Exception):
    """A command cannot be carried out. The message says why, and what to do instead."""


def explain(refused: Refused) -> int:
    """Print the reason, and return the process's exit status."""
    print(f"error: {refused}", file=sys.stderr)
    return 1
