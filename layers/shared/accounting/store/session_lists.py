"""Lists of streaming sessions.

The indexes have only keys. A list then reads the sessions from the table, so that it shows their current state and a
heartbeat writes to no index.
"""

from collections.abc import Sequence

from accounting.domain.sessions import Session
from accounting.store import keys, table
from accounting.store.sessions import from_item

MAX_ACTIVE_LISTED = 1000

type Page = tuple[list[Session], str | None]
"""Sessions, and ``before`` for the next page, None on the last page."""


def active_of_user(user_id: str, *, before: str | None = None, limit: int = MAX_ACTIVE_LISTED) -> Page:
    """A page of the user's active sessions, newest first."""
    sessions, position = _list(keys.DUE, keys.active_of_owner(user_id), before=before, limit=limit)
    return [session for session in sessions if session.active], position


def active_of_all(*, before: str | None, limit: int) -> Page:
    """A page of the active sessions of all users, in order of users from the last to the first, each newest first."""
    sessions, position = _list(keys.DUE, keys.active_of_all(), before=before, limit=limit)
    return [session for session in sessions if session.active], position


def recent_of_user(user_id: str, *, before: str | None, limit: int) -> Page:
    """A page of the user's sessions, active and ended, newest first."""
    return _list(keys.BY_OWNER, keys.sessions_of_owner(user_id), before=before, limit=limit)


def recent_of_all(*, before: str | None, limit: int) -> Page:
    """A page of the sessions of all users, active and ended, newest first."""
    return _list(keys.BY_KIND, keys.sessions_of_all(), before=before, limit=limit)


def _list(index: str, ranges: Sequence[keys.Range], *, before: str | None, limit: int) -> Page:
    """A page of an index, with the sessions read from the table as they are now."""
    found, position = table.newest(index, ranges, before=before, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position
