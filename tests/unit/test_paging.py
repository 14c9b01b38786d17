"""Cursors, which say where a page begins, are checked. Page numbers are limited. End dates are inclusive."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from accounting.domain.errors import Invalid
from accounting.store import keys
from accounting.times import from_iso
from accounting.tokens import MAX_SUBJECT
from accounting.web import paging

DAY = 86_400_000


def accepted(cursor: str) -> bool:
    kind: Any = paging.Cursor
    return bool(TypeAdapter(kind).validate_python(cursor) == cursor)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(st.integers(0, 10**12 - 1))
def test_a_number_can_be_read_back_from_its_cursor(number: int) -> None:
    assert paging.number_in(paging.cursor_of(number)) == number


@given(st.integers(0, 10**13), st.text("abcXYZ019._:/@+-", min_size=1, max_size=100))
def test_a_position_can_be_read_back_from_its_cursor(at: int, session_id: str) -> None:
    position = keys.session_of_all("u1", session_id, at)["kind_sk"]

    assert paging.position_in(paging.cursor_of(position)) == position


@pytest.mark.parametrize("character", ["x", "ä", "語", "🜂"])
def test_a_cursor_of_the_longest_ids_is_accepted(character: str) -> None:
    position = keys.session_of_all(character * MAX_SUBJECT, "s" * 100, 1_800_000_000_000)["kind_sk"]
    cursor = paging.cursor_of(position)

    assert accepted(cursor)
    assert paging.position_in(cursor) == position


@pytest.mark.parametrize("user_id", ["u", "a#b", "x" * MAX_SUBJECT, "🜂" * MAX_SUBJECT])
def test_a_position_in_a_list_ordered_by_user_can_be_read_back_from_its_cursor(user_id: str) -> None:
    key = keys.active_session(user_id, "s" * 100, 1_800_000_000_000, 1_800_000_000_001)
    position = keys.position(keys.DUE, keys.active_of_all()[0], key)
    cursor = paging.cursor_of(position)

    assert accepted(cursor)
    assert paging.position_by_user_in(cursor) == position


def test_a_list_ordered_by_user_refuses_a_position_without_a_user() -> None:
    position = keys.session_of_owner("u1", "s", 1_800_000_000_000)["owner_sk"].removeprefix("SESSION#")

    assert paging.position_in(paging.cursor_of(position)) == position
    with pytest.raises(Invalid):
        paging.position_by_user_in(paging.cursor_of(position))


def test_a_missing_cursor_means_the_first_page() -> None:
    assert paging.number_in(None) is None
    assert paging.position_in(None) is None


@pytest.mark.parametrize(
    "cursor",
    ["", "?", "AB*D", "A", "äöü", encoded("-1"), encoded("1.5"), encoded("x"), encoded("٣"), encoded("1" * 13), "_w"],
)
def test_an_invalid_number_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        paging.number_in(cursor)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "*",
        encoded("1"),
        encoded("2027-01-15"),
        encoded("2027-01-15T08:00:00.000Z#"),
        encoded("2027-01-15T08:00:00.000Z#a\x00"),
        encoded("2027-01-15T08:00:00.000Z#" + "a" * 241),
        encoded("~2027-01-15T08:00:00.000Z#a"),
        encoded("2027-02-30T08:00:00.000Z#a"),
        encoded("2027-01-15T25:00:00.000Z#a"),
        encoded("0000-01-01T00:00:00.000Z#a"),
        encoded("1969-12-31T23:59:59.999Z#a"),
        "_____w",
    ],
)
def test_an_invalid_position_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        paging.position_in(cursor)


def test_page_numbers_reach_only_the_first_ten_thousand_rows() -> None:
    assert paging.rows_to_skip(1, 20) == 0
    assert paging.rows_to_skip(500, 20) == 9_980
    assert paging.rows_to_skip(100, 100) == 9_900
    for page, limit in ((501, 20), (101, 100), (10_000, 100)):
        with pytest.raises(Invalid, match="cursor"):
            paging.rows_to_skip(page, limit)


@pytest.mark.parametrize("limit", [0, -1, 101, "0", "101", "x", 1.5, "1.5", "5.0", "1_0", "+5", " 5", "٥"])
def test_a_limit_is_between_1_and_100(limit: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(paging.Limit).validate_python(limit)


def test_an_end_date_without_a_time_includes_its_day() -> None:
    since, until = paging.instants("2027-01-15", "2027-01-15")

    assert (since, until) == (from_iso("2027-01-15"), from_iso("2027-01-15") + DAY)


def test_an_end_timestamp_includes_its_millisecond() -> None:
    at = "2027-01-15T08:00:00.000Z"

    assert paging.instants(at, at) == (from_iso(at), from_iso(at) + 1)


def test_a_range_may_have_no_start_or_no_end() -> None:
    assert paging.instants(None, None) == (None, None)
    assert paging.instants("2027-01-15", None) == (from_iso("2027-01-15"), None)
    assert paging.instants(None, "2027-01-15") == (None, from_iso("2027-01-16"))


def test_a_range_is_limited_to_the_supported_times() -> None:
    last_day = from_iso("9999-12-31")

    assert paging.instants("0001-01-01", "9999-12-31") == (0, last_day)
    assert paging.instants("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z") == (last_day, last_day)
    assert paging.instants("0300-01-01", "1969-12-31") == (0, 0)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2027-01-16", "2027-01-15"),
        ("2027-01-15T08:00:00.001Z", "2027-01-15T08:00:00.000Z"),
        ("yesterday", None),
        (None, ""),
        (None, "2027-02-30"),
        ("20270115", None),
        ("2027-W03-5", None),
        ("0000-01-01", None),
        ("10000-01-01", None),
    ],
)
def test_an_invalid_range_is_refused(start: str | None, end: str | None) -> None:
    with pytest.raises(Invalid):
        paging.instants(start, end)
