"""How often, and after which pauses, a request is sent again."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DOUBLINGS = 30
MAX_SECONDS = 1_000_000
"""Eleven days. Every system's timers can wait that long."""


@dataclass(frozen=True)
class Retries:
    """Full jitter: each pause is a random part of a limit that doubles from ``first_seconds`` to ``longest_seconds``.

    If the service asks for a wait, the wait is added to the pause. A request is given up after ``attempts`` attempts,
    or if the next attempt could not begin within ``total_seconds`` of the first. An attempt's timeout is at most the
    rest of ``total_seconds``, but at least 0.1 s.
    """

    attempts: int = 6
    total_seconds: float = 30.0
    first_seconds: float = 0.1
    longest_seconds: float = 5.0

    def __post_init__(self) -> None:
        attempts: object = self.attempts
        if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
            raise ValueError(f"attempts must be a whole number of at least 1, not {self.attempts!r}")
        for name in ("total_seconds", "first_seconds", "longest_seconds"):
            require_seconds(name, getattr(self, name), zero=True)

    def pause(self, attempts: int, elapsed_seconds: float, asked_seconds: float, chance: float) -> float | None:
        """Return how long to wait after ``attempts`` attempts, or None to give up.

        ``chance`` is a random number between 0 and 1.
        """
        if attempts >= self.attempts:
            return None
        grown = self.first_seconds * 2.0 ** min(attempts - 1, MAX_DOUBLINGS)
        pause = asked_seconds + chance * min(self.longest_seconds, grown)
        return pause if elapsed_seconds + pause < self.total_seconds else None


def require_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Raise ValueError unless a timer can wait this number of seconds. 0 is allowed only with ``zero``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_seconds = 0 <= value <= MAX_SECONDS and (value > 0 or zero)
    else:
        is_seconds = False
    if not is_seconds:
        least = "0 or more" if zero else "more than 0"
        raise ValueError(f"{name} must be a number of seconds, {least} and at most {MAX_SECONDS:,}, not {value!r}")


NEVER = Retries(attempts=1)
"""No second attempt, with one exception: after the service refuses a token, the client may renew it and send again."""

ONCE_BRIEFLY = Retries(attempts=1, total_seconds=2.0)
"""Like `NEVER`, but with a timeout of at most two seconds. For calls whose result the client can do without."""
