"""Values that belong to one process: after a fork, the child makes new values and does not use its parent's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T")

_generation = 0


def generation() -> int:
    """Return the number of forks between the process that imported this module and the current one."""
    return _generation


def _count_fork() -> None:
    global _generation  # noqa: PLW0603 - one counter for the whole process
    _generation += 1


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_count_fork)


class PerProcess(Generic[T]):
    """A value that each process makes for itself.

    After a fork, the child keeps a reference to the parent's value, but does not use the value. Without the reference,
    garbage collection in the child would close the value's connections, which the parent still uses.

    Threads may call ``get`` at the same time. This class uses no lock: if a fork copied a locked lock, the child could
    never unlock it.
    """

    def __init__(self, make: Callable[[], T], first: T | None = None) -> None:
        """``first`` is the value of this process, if it exists already."""
        self._make = make
        self._made = {_generation: make() if first is None else first}

    def get(self) -> T:
        """Return the value of this process. Raises what ``make`` raises."""
        found = self._made.get(_generation)
        return self._made.setdefault(_generation, self._make()) if found is None else found


def refuse_inherited(_connections: object) -> NoReturn:
    """Refuse connections that the caller made before a fork: both processes would use them."""
    raise RuntimeError("the connections (http=) belong to the parent process: pass other ones after a fork")
