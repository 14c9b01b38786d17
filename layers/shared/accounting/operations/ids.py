"""Identifiers that sort by the time they were made."""

from ulid import ULID


def new_id(now: int) -> str:
    """A ULID made at ``now`` (epoch milliseconds)."""
    return str(ULID.from_timestamp(now))


def made_at(identifier: str) -> int:
    """When an id was made, in epoch milliseconds."""
    return ULID.from_str(identifier).milliseconds
