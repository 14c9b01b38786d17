"""Session ids that begin with the time, like those that the Python client makes."""

import secrets
from uuid import UUID


def uuid7(at: int, number: int | None = None) -> str:
    """Return a UUIDv7 with the time ``at`` (epoch milliseconds). ``number`` replaces the 74 random bits."""
    bits = secrets.randbits(74) if number is None else number
    return str(UUID(int=at << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))
