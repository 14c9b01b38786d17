"""The client's session ids are UUIDv7s: they begin with the time when they were made."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from accounting_client import session_ids
from accounting_client.session_ids import new_session_id


def test_an_id_is_a_uuid7_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = new_session_id()
    after = time.time_ns() // 1_000_000

    assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)
    assert made == str(UUID(made)) == made.lower()
    assert before <= UUID(made).int >> 80 <= after


def test_ids_of_one_millisecond_differ_and_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)

    made = [new_session_id() for _ in range(2_000)]

    assert made == sorted(set(made))
    assert {UUID(each).int >> 80 for each in made} == {1_800_000_000_000}
    assert {UUID(each).version for each in made} == {7}
    assert {UUID(each).variant for each in made} == {RFC_4122}


def test_ids_of_different_milliseconds_are_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1_800_000_000_000, 1_800_000_000_100))
    monkeypatch.setattr(time, "time_ns", lambda: next(times) * 1_000_000)

    made = [new_session_id() for _ in range(100)]

    assert made == sorted(set(made))


def test_ids_follow_a_clock_that_is_turned_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service expects that the time in a session's id is the time when the session began."""
    times = iter([1_800_000_000_000, 1_799_999_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times) * 1_000_000)

    assert [UUID(new_session_id()).int >> 80 for _ in range(2)] == [1_800_000_000_000, 1_799_999_000_000]


def test_a_forked_process_and_its_parent_make_different_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both processes know the same newest id, and may make their next ids in the same millisecond."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    new_session_id()
    known = session_ids._last
    of_the_parent = [new_session_id() for _ in range(100)]
    monkeypatch.setattr(session_ids, "_last", known)

    of_the_child = [new_session_id() for _ in range(100)]

    assert len({*of_the_parent, *of_the_child}) == 200


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_session_id(), range(4_000)))

    assert len(set(made)) == 4_000
