"""Session ids that tell when their session began, as the Python client makes them: UUIDv7s."""

import secrets
from uuid import UUID


def uuid7(at: int, number: int | None = None) -> str:
    """Return a UUIDv7 of the Unix time ``at`` in milliseconds. ``number`` takes the place of its 74 random bits."""
    bits = secrets.randbits(74) if number is None else number
    return str(UUID(int=at << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1))
