"""A cache in the process, for results that may be seconds or minutes old."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Concatenate

from cachetools import TLRUCache


class Cache[**P, T]:
    """Results of ``read`` by name, each at most ``seconds`` old. Threads may share a cache.

    ``most`` limits the number of kept results or, if ``size`` is given, the sum of their sizes.
    """

    def __init__(
        self,
        read: Callable[Concatenate[str, P], T],
        seconds: float,
        most: int = 1000,
        size: Callable[[T], int] = lambda _: 1,
    ) -> None:
        self._read = read
        # A result's age counts from before the read, because the value may change while it is being read.
        self._known: TLRUCache[str, tuple[float, T]] = TLRUCache(
            most, lambda _name, known, _at: known[0] + seconds, _now, lambda known: size(known[1])
        )
        self._lock = Lock()

    def get(self, name: str, *args: P.args, **options: P.kwargs) -> T:
        """The cached result for ``name`` if it is young enough, else the result of a new read."""
        known = self._young(name)
        return known[1] if known else self.fresh(name, *args, **options)

    def cached(self, name: str) -> T | None:
        """The cached result for ``name``, or None if nothing young enough is cached."""
        known = self._young(name)
        return known[1] if known else None

    def fresh(self, name: str, *args: P.args, **options: P.kwargs) -> T:
        """The result of a new read, which replaces the cached one."""
        known = (_now(), self._read(name, *args, **options))
        with self._lock:
            self._known[name] = known
        return known[1]

    def forget(self, name: str | None = None) -> None:
        """Drop one result, or all."""
        with self._lock:
            if name is None:
                self._known.clear()
            else:
                self._known.pop(name, None)

    def _young(self, name: str) -> tuple[float, T] | None:
        with self._lock:
            return self._known.get(name)


def _now() -> float:
    return time.monotonic()
