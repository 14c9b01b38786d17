"""Instants are milliseconds internally and ISO-8601 externally."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.times import day, from_iso, iso

INSTANTS = st.integers(0, 32_503_680_000_000)  # until the year 3000


@given(INSTANTS)
def test_an_instant_can_be_read_back_from_its_text(at: int) -> None:
    assert from_iso(iso(at)) == at


@given(INSTANTS, INSTANTS)
def test_text_order_is_time_order(one: int, other: int) -> None:
    assert (iso(one) < iso(other)) == (one < other)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01", 0),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01.234Z", 1_234),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("2027-01-15T08:00:00.000Z", 1_800_000_000_000),
        ("2027-01-15t08:00:00z", 1_800_000_000_000),
        ("2027-01-15T08:00:00.1Z", 1_800_000_000_100),
        ("2027-01-15T08:00:00.000000000Z", 1_800_000_000_000),
        ("2027-01-14T21:00:00.5-11:00", 1_800_000_000_500),
    ],
)
def test_a_date_or_timestamp_is_in_utc_unless_it_has_an_offset(text: str, at: int) -> None:
    assert from_iso(text) == at


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2027-02-30", "2027-13-01", "1800000000000", "2027-01-15T25:00:00Z", "2027-01-15T08:00:60Z"),
        *("20270115", "2027-W03-5", "2027W035", "2027-W03", "2027-015", "2027-01-15T08:00Z", "2027-01-15T08Z"),
        *("2027-01-15T080000Z", "2027-01-15 08:00:00Z", "2027-01-15T08:00:00,5Z", "2027-01-15T08:00:00.Z"),
        *("2027-01-15T08:00:00+0200", "2027-01-15T08:00:00+02", "2027-01-15T08:00:00+24:00", "2027-01-15Z"),
        *(
            "2027-01-15T08:00:00 02:00",
            "2027-01-15T",
            " 2027-01-15",
            "2027-01-15\n",
            "2027%2D01%2D15",
            "２０２７-01-15",
        ),
    ],
)
def test_other_formats_and_impossible_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_iso(text)


def test_a_day_ends_at_midnight_utc() -> None:
    assert (day(86_399_999), day(86_400_000)) == ("1970-01-01", "1970-01-02")
    assert iso(86_399_999) == "1970-01-01T23:59:59.999Z"
