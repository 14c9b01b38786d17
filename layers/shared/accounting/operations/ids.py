"""Identifiers that sort by time of creation, and salts."""

from secrets import randbits, token_urlsafe

_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(now: int) -> str:
    """A ULID made at ``now`` (epoch milliseconds): 48 bits of time, then 80 random bits, in base 32.

    The package for this would take a tenth of a cold start, because it reads its own version from its metadata.
    """
    number = now << 80 | randbits(80)
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


def new_salt(text: str) -> str:
    """A random salt for the digest of ``text``; empty if the text is empty."""
    return token_urlsafe(12) if text else ""
