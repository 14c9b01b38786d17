"""What a process remembers for some seconds of what it read. Imports nothing of ours."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Concatenate

from cachetools import TLRUCache


class Cache[**P, T]:
    """The answers of ``read`` by name, each at most ``seconds`` old and ``most`` at a time. Threads may share it."""

    def __init__(self, read: Callable[Concatenate[str, P], T], seconds: float, most: int = 1000) -> None:
        self._read = read
        # An answer's age counts from before it was read: what changes meanwhile must not be missed for longer.
        self._known: TLRUCache[str, tuple[float, T]] = TLRUCache(
            most, ttu=lambda _name, known, _at: known[0] + seconds, timer=_now
        )
        self._lock = Lock()

    def get(self, name: str, *args: P.args, **options: P.kwargs) -> T:
        """What was read of it no longer ago than allowed, or what there is now."""
        with self._lock:
            known = self._known.get(name)
        if known is None:
            known = (_now(), self._read(name, *args, **options))
            with self._lock:
                self._known[name] = known
        return known[1]

    def forget(self, name: str | None = None) -> None:
        """Forget one, or all."""
        with self._lock:
            if name is None:
                self._known.clear()
            else:
                self._known.pop(name, None)


def _now() -> float:
    return time.monotonic()
