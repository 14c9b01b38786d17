"""Identifiers that sort by the time they were made, and salts."""

import secrets

from ulid import ULID


def new_id(now: int) -> str:
    """A ULID made at ``now`` (epoch milliseconds)."""
    return str(ULID.from_timestamp(now))


def new_salt(text: str) -> str:
    """Random text to digest ``text`` with; none where there is no text."""
    return secrets.token_urlsafe(12) if text else ""
