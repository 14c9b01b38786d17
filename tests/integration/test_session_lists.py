"""Lists of sessions are complete and in order for any user ids, even while sessions begin and end."""

from collections.abc import Callable, Iterator
from itertools import chain

import pytest

from accounting.domain.sessions import Session
from accounting.operations import sessions, settling
from accounting.operations.sweep import sweep
from accounting.store import session_lists
from accounting.times import HOUR, MINUTE
from accounting.web.paging import cursor_of, position_by_user_in, position_in
from tests.integration.conftest import NOW

MakeUser = Callable[..., str]
type List = Callable[[str | None], session_lists.Page]


@pytest.fixture(autouse=True)
def _people(user: MakeUser) -> None:
    user("u1", 10_000)
    user("u2", 10_000)


def open_session(number: int, user_id: str = "u1", *, at: int | None = None) -> str:
    session_id = f"s{number:02d}"
    sessions.initialize(user_id, session_id, "m", 1_000, now=NOW + number if at is None else at)
    return session_id


def end(session_id: str, user_id: str = "u1") -> None:
    settling.abort(user_id, session_id, 0, now=NOW + 1_000)


def ids(found: list[Session]) -> list[str]:
    return [session.session_id for session in found]


def of_user(before: str | None) -> session_lists.Page:
    return session_lists.recent_of_user("u1", now=NOW, before=before, limit=3)


def of_all(before: str | None) -> session_lists.Page:
    return session_lists.recent_of_all(before=before, limit=3)


def active(before: str | None) -> session_lists.Page:
    return session_lists.active_of_all(before=before, limit=3)


def pages(read: List) -> Iterator[list[str]]:
    """All pages of a list, read with the cursors that a client would get."""
    cursor = None
    while True:
        found, position = read(position_by_user_in(cursor) if read is active else position_in(cursor))
        yield ids(found)
        if position is None:
            return
        cursor = cursor_of(position)


def test_a_users_active_sessions_are_listed_newest_first_without_ended_sessions() -> None:
    for number in range(4):
        open_session(number)
    open_session(9, "u2")
    end("s02")

    assert ids(session_lists.active_of_user("u1")[0]) == ["s03", "s01", "s00"]


@pytest.mark.parametrize("other", ["u1#x", "u", "u1 ", "u11", "~", " u1", "\U0010ffff", "語" * 128])
def test_users_with_similar_or_unusual_ids_do_not_see_each_others_sessions(user: MakeUser, other: str) -> None:
    user(other, 10_000)
    open_session(1)
    open_session(2, other)

    assert ids(session_lists.active_of_user("u1")[0]) == ["s01"]
    assert ids(session_lists.active_of_user(other)[0]) == ["s02"]
    assert sorted(chain(*pages(active))) == ["s01", "s02"]
    assert sweep(NOW + HOUR + MINUTE, lambda: True).sessions == 2


def test_a_session_that_the_sweeper_reschedules_keeps_its_place_in_the_list() -> None:
    for number in range(4):
        open_session(number)
    first, position = session_lists.active_of_user("u1", limit=2)
    for name in ("s02", "s01"):
        sessions.heartbeat("u1", name, 1, now=NOW + 50 * MINUTE)
    sweep(NOW + 61 * MINUTE, lambda: True)

    assert ids(first) == ["s03", "s02"]
    assert ids(session_lists.active_of_user("u1")[0]) == ["s02", "s01"]
    assert ids(session_lists.active_of_user("u1", before=position)[0]) == ["s01"]


def test_recent_sessions_include_active_and_ended_sessions() -> None:
    for number in range(7):
        open_session(number)
    for number in (1, 2, 6):
        end(f"s{number:02d}")
    open_session(9, "u2")

    assert list(pages(of_user)) == [["s06", "s05", "s04"], ["s03", "s02", "s01"], ["s00"]]


def open_twenty_sessions() -> None:
    for number in range(20):
        open_session(number, "u1" if number % 3 else "u2")
    end("s05")


def test_the_sessions_of_all_users_are_listed_newest_first() -> None:
    open_twenty_sessions()

    found = list(pages(of_all))

    assert [len(page) for page in found[:-1]] == [3] * (len(found) - 1)
    assert list(chain(*found)) == [f"s{number:02d}" for number in range(19, -1, -1)]


def test_active_sessions_of_all_users_are_ordered_by_user_and_then_by_time() -> None:
    open_twenty_sessions()

    found = list(pages(active))

    assert [len(page) for page in found[:-1]] == [3] * (len(found) - 1)
    of_u1 = [number for number in range(19, -1, -1) if number % 3 and number != 5]
    assert list(chain(*found)) == [f"s{number:02d}" for number in [*range(18, -1, -3), *of_u1]]


@pytest.mark.parametrize("read", [of_user, of_all, active])
def test_sessions_that_begin_at_the_same_instant_are_each_listed_once(read: List) -> None:
    names = [open_session(number, at=NOW) for number in range(8)]

    found = list(chain(*pages(read)))

    assert sorted(found) == names


@pytest.mark.parametrize("read", [of_user, of_all])
def test_a_session_that_ends_between_two_pages_is_listed_once(read: List) -> None:
    names = [open_session(number) for number in range(9)]

    found = []
    for page in pages(read):
        found += page
        for name in (page[-1], f"s{max(0, int(page[-1][1:]) - 1):02d}"):
            if name in ids(session_lists.active_of_user("u1")[0]):
                end(name)

    assert found == names[::-1]


def test_new_sessions_do_not_shift_the_pages() -> None:
    for number in range(6):
        open_session(number)

    found = []
    for count, page in enumerate(pages(of_all)):
        found.append(page)
        open_session(50 + count)

    assert found == [["s05", "s04", "s03"], ["s02", "s01", "s00"]]


@pytest.mark.parametrize("read", [of_user, of_all, active])
def test_a_full_last_page_has_no_cursor(read: List) -> None:
    for number in range(3):
        open_session(number)

    found, position = read(None)

    assert (len(found), position) == (3, None)


@pytest.mark.parametrize("read", [of_user, of_all, active])
def test_a_list_without_sessions_is_one_empty_page(read: List) -> None:
    assert read(None) == ([], None)


def test_a_list_shows_the_current_state_of_sessions() -> None:
    open_session(1)
    sessions.heartbeat("u1", "s01", 700, now=NOW + 2)

    assert [session.tokens for session in session_lists.active_of_user("u1")[0]] == [700]
