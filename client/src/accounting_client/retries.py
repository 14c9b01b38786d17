"""How often and after which pauses a request is sent again: pure, the chance comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass

MAX_DOUBLINGS = 30


@dataclass(frozen=True)
class Retries:
    """Full jitter: each pause is a random part of one that doubles from ``first_seconds`` to ``longest_seconds``.

    A wait that the service asks for comes on top. A request is given up after ``attempts``, or when the next one could
    not begin within ``total_seconds`` of the first.
    """

    attempts: int = 6
    total_seconds: float = 30.0
    first_seconds: float = 0.1
    longest_seconds: float = 5.0

    def pause(self, attempts: int, elapsed_seconds: float, asked_seconds: float, chance: float) -> float | None:
        """How long to wait after this many attempts; None when it is time to give up. ``chance`` is 0 to 1."""
        if attempts >= self.attempts:
            return None
        grown = self.first_seconds * 2.0 ** min(attempts - 1, MAX_DOUBLINGS)
        pause = asked_seconds + chance * min(self.longest_seconds, grown)
        return pause if elapsed_seconds + pause < self.total_seconds else None


NEVER = Retries(attempts=1)
"""Every request is sent once."""
