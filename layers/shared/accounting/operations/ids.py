"""Identifiers that sort by time of creation, and salts."""

import secrets

from ulid import ULID


def new_id(now: int) -> str:
    """A ULID made at ``now`` (epoch milliseconds)."""
    return str(ULID.from_timestamp(now))


def new_salt(text: str) -> str:
    """A random salt for the digest of ``text``; empty if the text is empty."""
    return secrets.token_urlsafe(12) if text else ""
