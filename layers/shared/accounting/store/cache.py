"""What a process remembers for some seconds of what it read. Imports nothing of ours."""

import time
from collections.abc import Callable


class Cache[T]:
    """The answers of ``read`` by id, each at most ``seconds`` old and ``most`` at a time."""

    def __init__(self, read: Callable[[str], T], seconds: float, most: int = 1000) -> None:
        self._read = read
        self._seconds = seconds
        self._most = most
        self._known: dict[str, tuple[float, T]] = {}

    def get(self, name: str) -> T:
        """What was read of it no longer ago than allowed, or what there is now."""
        known = self._known.get(name)
        if known is None or known[0] <= time.monotonic():
            if len(self._known) >= self._most:
                self._known.clear()
            # Its age counts from before it was read: what changes meanwhile must not be missed for longer.
            ends_at = time.monotonic() + self._seconds
            known = (ends_at, self._read(name))
            self._known[name] = known
        return known[1]

    def forget(self, name: str | None = None) -> None:
        """Forget one, or all."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)
