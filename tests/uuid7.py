"""UUIDv7s with times of the tests' own."""

from itertools import count
from uuid import UUID

_numbers = count()


def uuid7(at: int, number: int | None = None) -> str:
    """A UUIDv7 of this millisecond. ``number`` takes the place of its random bits; by default, each has another one."""
    bits = next(_numbers) if number is None else number
    return str(UUID(int=at << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))
