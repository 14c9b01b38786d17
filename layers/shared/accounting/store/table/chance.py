"""Random numbers, for pauses and for spreading writes. Imports nothing of ours."""

from random import SystemRandom

_random = SystemRandom()


def jitter(longest: float) -> float:
    """A random pause in seconds, up to ``longest``. Not seeded: SnapStart would restore the same seed everywhere."""
    return _random.uniform(0, longest)


def any_below(count: int) -> int:
    """A random number from 0 to ``count - 1``."""
    return _random.randrange(count)
