"""A user's list of sessions merges two ranges.

Sessions whose ids contain their start time are found by their ids, all others in an index.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from accounting.domain.pricing import DEFAULT_CARD
from accounting.domain.sessions import Session
from accounting.operations import sessions, settling
from accounting.operations.sweep import sweep
from accounting.store import keys, session_ids, session_lists, table
from accounting.store import sessions as store
from accounting.store.table.wire import Wire
from accounting.times import DAY, HOUR, iso
from accounting.web.paging import cursor_of, position_in
from local.uuid7 import uuid7
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW

MakeUser = Callable[..., str]
numbers = count()


@dataclass(frozen=True)
class StoredSession:
    """A session. ``has_entry`` adds it to the index even if its id contains its start time, as earlier releases did."""

    at: int
    session_id: str
    has_entry: bool = False

    @property
    def item(self) -> dict[str, Any]:
        at = self.at
        item = store.to_item(Session("u", self.session_id, ACCOUNT, "m", DEFAULT_CARD, 1_000, (), at, at, at, 0, at))
        entry = {"owner_pk": "USER#u", "owner_sk": f"SESSION#{iso(at)}#{self.session_id}"}
        return item | entry if self.has_entry else item

    @property
    def position(self) -> str:
        """The session's place in the list."""
        at = session_ids.made_at(self.session_id) if "owner_sk" not in self.item else self.at
        assert at is not None
        return f"{iso(at)}#{self.session_id}"


def changed(session: StoredSession, where: int, character: str) -> StoredSession:
    """Replace a character of the id. The new id may contain a false time, be of another UUID version, or be no UUID."""
    text = session.session_id
    return StoredSession(session.at, text[:where] + character + text[where + 1 :], session.has_entry)


TIMES = st.integers(NOW - 4, NOW)
APART = st.sampled_from([0, 0, 1, -1, 3, 10_000, -10_000, 10_001, -10_001, -HOUR, HOUR])
NUMBERS = st.integers(0, 2**74 - 1)
OWN_TIME = st.builds(lambda at, apart, number: StoredSession(at, uuid7(at + apart, number)), TIMES, APART, NUMBERS)
OF_AN_EARLIER_RELEASE = st.builds(
    lambda at, number: StoredSession(at, uuid7(at, number), has_entry=True), TIMES, NUMBERS
)
UPPER_CASE = st.builds(lambda at, number: StoredSession(at, uuid7(at, number).upper()), TIMES, NUMBERS)
SPOILED = st.builds(changed, OWN_TIME, st.integers(0, 20), st.sampled_from("0189azAZ-_"))
TEXTS = st.builds(lambda at, number: StoredSession(at, f"0{number}"), TIMES, NUMBERS)
RANDOM = st.builds(lambda at, random: StoredSession(at, str(random)), TIMES, st.uuids(version=4))
ANY = OWN_TIME | OF_AN_EARLIER_RELEASE | UPPER_CASE | SPOILED | TEXTS | RANDOM


def write(user_id: str, stored: list[StoredSession]) -> None:
    text = f"USER#{user_id}"
    items = [each.item | {"pk": text, "user_id": user_id} for each in stored]
    table.put_many([item | {"owner_pk": text} if "owner_sk" in item else item for item in items])


def pages(user_id: str, limit: int, between: Callable[[list[str]], None] = lambda _: None) -> Iterator[list[str]]:
    """All pages of a user's list, read with the cursors that a client would get."""
    cursor = None
    while True:
        found, position = session_lists.recent_of_user(user_id, now=NOW, before=position_in(cursor), limit=limit)
        names = [session.session_id for session in found]
        yield names
        if position is None:
            return
        cursor = cursor_of(position)
        between(names)


@given(st.lists(ANY, max_size=24, unique_by=lambda each: each.session_id), st.integers(1, 9))
@effort(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sessions_with_all_kinds_of_ids_are_listed_once_and_in_order(stored: list[StoredSession], limit: int) -> None:
    user_id = f"any-{next(numbers)}"
    write(user_id, stored)

    found = list(pages(user_id, limit))

    assert list(chain(*found)) == [each.session_id for each in sorted(stored, key=lambda each: each.position)][::-1]
    assert all(len(page) <= limit for page in found)


def mixed(times: list[int]) -> list[StoredSession]:
    """Sessions of three kinds in turn: with a UUIDv7, with a chosen id, and from an earlier release."""
    kinds = [
        lambda at: StoredSession(at, uuid7(at)),
        lambda at: StoredSession(at, f"s{at}"),
        lambda at: StoredSession(at, uuid7(at), True),
    ]
    return [kinds[number % 3](at) for number, at in enumerate(times)]


@pytest.mark.parametrize("limit", [1, 4, 5, 100])
def test_every_page_but_the_last_is_full(limit: int) -> None:
    write("u1", mixed([NOW - 100 + number for number in range(20)]))

    found = [len(page) for page in pages("u1", limit)]

    assert found == [limit] * (20 // limit) + ([20 % limit] if 20 % limit else [])


def test_sessions_that_began_in_one_millisecond_are_listed_once() -> None:
    stored = mixed([NOW] * 9)
    write("u1", [*stored[::3], *stored[2::3], *(StoredSession(NOW, name) for name in ("a", "0", "z"))])

    found = list(chain(*pages("u1", 2)))

    assert len(found) == len(set(found)) == 9


def test_sessions_that_end_or_begin_between_two_pages_do_not_shift_the_list(user: MakeUser) -> None:
    user("u1", 10_000)
    names = [uuid7(NOW + number) if number % 2 else f"s{number}" for number in range(9)]
    for number, name in enumerate(names):
        sessions.initialize("u1", name, "m", 1_000, now=NOW + number)

    def change(shown: list[str]) -> None:
        for name in (shown[-1], names[max(0, names.index(shown[-1]) - 1)]):
            if session_lists.active_of_user("u1")[0] and not settled(name):
                settling.abort("u1", name, 0, now=NOW + 1_000)
        sessions.initialize("u1", uuid7(NOW + 500), "m", 1_000, now=NOW + 500)

    found = list(chain(*pages("u1", 2, change)))

    assert found == names[::-1]


def settled(name: str) -> bool:
    session = store.get("u1", name)
    return session is not None and not session.active


def test_many_ids_with_false_times_make_pages_shorter_but_hide_no_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The times in the false ids are an hour too late, so these sessions are at a false place in the range of ids.

    The list skips them there, and takes them from the index. If it has to skip too many, the page is empty.
    """
    false = [StoredSession(NOW - HOUR - number, uuid7(NOW - number)) for number in range(120)]
    true = [StoredSession(at, uuid7(at)) for at in (NOW - 2 * HOUR, NOW - 2 * HOUR + 1)]
    write("u1", false + true)
    read: list[int] = []
    query = Wire.query

    def query_and_note(wire: Wire, **request: Any) -> Any:
        answer = query(wire, **request)
        read.append(answer["ScannedCount"])
        return answer

    monkeypatch.setattr(Wire, "query", query_and_note)
    found, most = [], 0
    for page in pages("u1", 5):
        found.append(page)
        most = max(most, sum(read))
        read.clear()

    assert found[0] == []
    assert most <= 6 * 7, "a page of 5 sessions must read at most 6 times 7 keys"
    assert list(chain(*found)) == [each.session_id for each in false + true[::-1]]


def test_upper_case_ids_are_listed_from_the_index_and_skipped_by_one_query_of_ids(calls: Calls) -> None:
    """The sessions with upper-case ids lie next to each other in the range of ids, so one query can skip them all."""
    at = 0x01A3_AF00_0000  # a time whose UUIDv7s have letters in it
    upper = [StoredSession(NOW, uuid7(at + number).upper()) for number in range(60)]
    true = StoredSession(NOW - DAY, uuid7(NOW - DAY))
    write("u1", [*upper, true])
    calls.reset()

    found = list(pages("u1", 100))

    assert list(chain(*found)) == [*sorted((each.session_id for each in upper), reverse=True), true.session_id]
    assert calls.round_trips <= 4


def test_no_change_of_a_session_adds_or_removes_its_index_entry(user: MakeUser) -> None:
    user("u1", 100)
    ids = {uuid7(NOW): False, "chosen": True, uuid7(NOW + 11_000): True}
    for name in ids:
        sessions.initialize("u1", name, "m", 1_000, now=NOW)
    begun = {name: has_entry(name) for name in ids}
    for name in ids:
        sessions.heartbeat("u1", name, 9_000, now=NOW + 1)
    raised = {name: has_entry(name) for name in ids}
    assert sweep(NOW + 2 * HOUR, lambda: True).sessions == 3
    swept = {name: has_entry(name) for name in ids}
    for name in ids:
        settling.finalize("u1", name, 5_000, success=True, now=NOW + 3 * HOUR)
    late = {name: has_entry(name) for name in ids}

    assert begun == raised == swept == late == ids


def has_entry(name: str) -> bool:
    item = table.get(keys.session("u1", name))
    assert item is not None
    return "owner_sk" in item


def test_listing_sessions_takes_two_calls_if_all_ids_contain_the_start_time(calls: Calls) -> None:
    write("u1", [StoredSession(NOW - number, uuid7(NOW - number)) for number in range(30)])
    calls.reset()

    found, position = session_lists.recent_of_user("u1", now=NOW, before=None, limit=20)

    assert (len(found), calls.operations) == (20, ["Query", "Query"])
    assert position is not None


def test_a_cursor_of_an_earlier_release_still_works() -> None:
    """A cursor of an earlier release has the start time of the session, not the time in its id."""
    stored = mixed([NOW - 20 + number for number in range(9)])
    write("u1", stored)
    last = stored[5]

    found, _ = session_lists.recent_of_user("u1", now=NOW, before=f"{iso(last.at)}#{last.session_id}", limit=9)

    assert [session.session_id for session in found] == [each.session_id for each in stored[4::-1]]


def test_the_list_has_no_sessions_of_other_users() -> None:
    stored = [StoredSession(NOW - number, uuid7(NOW - number)) for number in range(3)]
    write("u1", stored)
    write("u10", [StoredSession(NOW, uuid7(NOW))])

    assert list(chain(*pages("u1", 9))) == [each.session_id for each in stored]
