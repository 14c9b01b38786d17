"""Chance, for pauses and for spreading writes. Imports nothing of ours."""

from random import SystemRandom

_random = SystemRandom()


def jitter(longest: float) -> float:
    """A pause in seconds, up to ``longest``. Not from a seed: SnapStart restores every process with the same one."""
    return _random.uniform(0, longest)


def any_below(count: int) -> int:
    """A number from 0, below ``count``."""
    return _random.randrange(count)
