"""Salts, and identifiers that sort by the time of their creation."""

from base64 import b32encode
from secrets import randbits, token_urlsafe

_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")
"""Replaces each base-32 digit of RFC 4648 with the ULID digit of the same value."""


def new_id(now: int) -> str:
    """A ULID made at ``now`` (epoch milliseconds): 48 bits of time, then 80 random bits, in base 32.

    The package python-ulid is not used, because importing it would take a tenth of a cold start.
    """
    number = now << 80 | randbits(80)
    return b32encode((number << 6).to_bytes(17))[:26].translate(_CROCKFORD).decode()


def new_salt(text: str) -> str:
    """A random salt for the digest of ``text``, or an empty one for an empty text."""
    return token_urlsafe(12) if text else ""
