"""Random numbers, for pauses and for spreading writes."""

from random import SystemRandom

_random = SystemRandom()
"""A generator without a seed. SnapStart would restore a seeded generator in the same state in every process."""


def jitter(longest: float) -> float:
    """A random pause in seconds, up to ``longest``."""
    return _random.uniform(0, longest)


def any_below(count: int) -> int:
    """A random number from 0 to ``count - 1``."""
    return _random.randrange(count)
