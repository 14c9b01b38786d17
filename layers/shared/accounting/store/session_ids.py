"""Session ids that begin with the time when they were made: UUIDv7 in its standard form (RFC 9562), in lower case.

The table sorts the sessions of a user by id, so sessions with such ids are sorted by time. Sessions with other ids, or
with ids whose time is wrong, have an entry in ``by_owner``, the index that sorts by start time.
"""

from bisect import bisect_right
from uuid import UUID

TOLERANCE = 10_000
"""How far the time of an id may be from the service's time when the session begins, in milliseconds.

It allows for clocks that differ, a cold start, and a repeat after a lost request. A list of sessions sorts a UUIDv7 by
its time, so a session can appear up to ``TOLERANCE`` too early or too late.
"""

_VERSION = 7
_TIMES = range(1 << 48)
"""All times that a UUIDv7 can have."""


def made_at(session_id: str) -> int | None:
    """The time in a UUIDv7, in epoch milliseconds; None for any other id."""
    try:
        found = UUID(session_id)
    except ValueError:
        return None
    return found.int >> 80 if found.version == _VERSION and str(found) == session_id else None


def tells_its_beginning(session_id: str, started_at: int) -> bool:
    """Whether the id of a session is a UUIDv7 that was made when the session began."""
    at = made_at(session_id)
    return at is not None and abs(at - started_at) <= TOLERANCE


def prefix_at(at: int) -> str:
    """The text with which every UUIDv7 of this millisecond begins."""
    return f"{at >> 16:08x}-{at & 0xFFFF:04x}-{_VERSION}"


def place_in_time(session_id: str) -> int:
    """Where an id is in the order of UUIDv7s, in epoch milliseconds.

    For a UUIDv7, this is the time in it. For any other id, it is the latest time whose ``prefix_at`` does not sort
    after the id. If every ``prefix_at`` sorts after the id, it is -1.
    """
    at = made_at(session_id)
    return bisect_right(_TIMES, session_id, key=prefix_at) - 1 if at is None else at
