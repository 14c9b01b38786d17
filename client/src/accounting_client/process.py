"""What belongs to one process: after a fork the child makes its own, and leaves what its parent had alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")

_generation = 0


def generation() -> int:
    """How many forks lie between the process that imported this and the one that asks."""
    return _generation


def _count_fork() -> None:
    global _generation  # noqa: PLW0603 - the one fact about a process that nothing else can tell
    _generation += 1


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_count_fork)


class PerProcess(Generic[T]):
    """A value that each process makes for itself.

    The parent's value stays referenced in the child: if it were collected there, it would close what both share.
    Any number of threads may ask, and no lock is held that a fork could leave locked.
    """

    def __init__(self, make: Callable[[], T], first: T | None = None) -> None:
        """``first`` is the value of this process, where somebody else has made it."""
        self._make = make
        self._made = {_generation: make() if first is None else first}

    def get(self) -> T:
        """The value of this process. Raises what making it raises."""
        found = self._made.get(_generation)
        return self._made.setdefault(_generation, self._make()) if found is None else found


def brought_over(_connections: object) -> NoReturn:
    """Refuse a caller's own connections that were made before a fork: both processes would speak over them."""
    raise RuntimeError("the connections (http=) are those of the process that this one was forked from: bring others")
