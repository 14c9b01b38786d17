"""Lists of streaming sessions.

The indexes have only the keys of sessions. A heartbeat changes no key, so it writes to no index. A list reads the keys
from an index and then the sessions from the table, so all sessions are shown in their current state.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import itemgetter

from accounting.domain.sessions import Session
from accounting.settings import settings
from accounting.store import keys, session_ids, table
from accounting.store.sessions import from_item
from accounting.store.table import Item

MAX_ACTIVE_LISTED = 1000
MAX_PAGES_READ = 4
"""A page of a user's sessions merges no more than this many pages of keys."""

type Page = tuple[list[Session], str | None]
"""Sessions, and the ``before`` of the next page: None if this is the last page."""


def active_of_user(user_id: str, *, before: str | None = None, limit: int = MAX_ACTIVE_LISTED) -> Page:
    """A page of the user's active sessions, newest first."""
    sessions, position = _list(keys.DUE, keys.active_of_owner(user_id), before=before, limit=limit)
    return [session for session in sessions if session.active], position


def active_of_all(*, before: str | None, limit: int) -> Page:
    """A page of all active sessions: the users in descending order of their ids, each user's sessions newest first."""
    sessions, position = _list(keys.DUE, keys.active_of_all(), before=before, limit=limit)
    return [session for session in sessions if session.active], position


def recent_of_user(user_id: str, *, now: int, before: str | None, limit: int) -> Page:
    """A page of the user's sessions, active and ended, newest first.

    The page merges two ranges: the sessions with an entry in the index ``by_owner``, and a range of session ids that
    includes all UUIDv7s. Sessions whose ids tell when they began are only in the second range. A session with an entry
    in ``by_owner`` may be in both ranges. It is then taken from the first range and skipped in the second. If very many
    sessions are skipped, a page may be shorter than ``limit`` although more sessions follow.
    """
    page_size = limit + 2
    (of_owner,) = keys.sessions_of_owner(user_id)
    ranges = table.positions(keys.BY_OWNER, of_owner, before, page_size), _by_id(user_id, now, before, page_size)
    found: dict[str, Item] = {}
    reached = None
    for read, (position, item) in enumerate(merge(*ranges, key=itemgetter(0), reverse=True)):
        has_entry_elsewhere = _is_whole(item) and "owner_sk" in item
        if read == MAX_PAGES_READ * page_size or (len(found) == limit and not has_entry_elsewhere):
            break
        if not has_entry_elsewhere:
            found.setdefault(item["sk"], item)
        reached = position
    else:
        reached = None
    keys_only = [{"pk": key["pk"], "sk": key["sk"]} for key in found.values() if not _is_whole(key)]
    found |= {item["sk"]: item for item in table.get_many(keys_only) if item}
    return [from_item(item) for item in found.values() if _is_whole(item)], reached


def _by_id(user_id: str, now: int, before: str | None, page_size: int) -> Iterator[tuple[str, Item]]:
    """Yield the positions and items of the user's sessions in a range of ids, in descending order. Reads lazily.

    The range has every UUIDv7 that a stored session can have, and the other ids that sort between these UUIDv7s. If a
    query ends at one of the other ids, the next query begins at the nearest lower UUIDv7. The ids between the two are
    skipped. No skipped id is a UUIDv7, so the sessions with these ids have entries in ``by_owner``.
    """
    since = now - settings().session_retention - settings().session_max_life
    until = now + session_ids.TOLERANCE + 1
    while True:
        items = table.query(*keys.sessions_by_id(user_id, since, until, before), limit=page_size)
        for item in items:
            position = keys.position_by_id(item)
            if position != before:
                yield position, item
        if len(items) < page_size:
            return
        before = position


def _is_whole(item: Item) -> bool:
    """Whether the item is a whole session, and not only the keys that an index has."""
    return "session_id" in item


def recent_of_all(*, before: str | None, limit: int) -> Page:
    """A page of the sessions of all users, active and ended, newest first."""
    return _list(keys.BY_KIND, keys.sessions_of_all(), before=before, limit=limit)


def _list(index: str, ranges: Sequence[keys.Range], *, before: str | None, limit: int) -> Page:
    """A page of an index, with the sessions read from the table as they are now."""
    found, position = table.newest(index, ranges, before=before, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position
