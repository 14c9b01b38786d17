"""Windows of budgets: when they begin and end in a time zone, across clock changes, month ends and leap days."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.windows import WINDOW_KINDS, Window, WindowKind, window_at, zone_named, zone_names
from accounting.times import DAY, HOUR, from_iso
from accounting.web.budgets import SetBudget

BERLIN, NEW_YORK, SANTIAGO, LORD_HOWE, KATHMANDU = (
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
)


def window(kind: WindowKind, zone: str, at: str) -> tuple[str, str, str]:
    found = window_at(kind, zone, from_iso(at.replace("Z", ":00Z")))
    assert found.resets_at is not None
    return found.name, text(found.starts_at), text(found.resets_at)


def text(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        (BERLIN, "2027-03-28T12:00Z", ("2027-03-28", "2027-03-27T23:00Z", "2027-03-28T22:00Z")),  # 23 hours
        (BERLIN, "2027-10-31T12:00Z", ("2027-10-31", "2027-10-30T22:00Z", "2027-10-31T23:00Z")),  # 25 hours
        (NEW_YORK, "2027-03-14T12:00Z", ("2027-03-14", "2027-03-14T05:00Z", "2027-03-15T04:00Z")),
        (NEW_YORK, "2027-11-07T12:00Z", ("2027-11-07", "2027-11-07T04:00Z", "2027-11-08T05:00Z")),
        (SANTIAGO, "2027-09-05T12:00Z", ("2027-09-05", "2027-09-05T04:00Z", "2027-09-06T03:00Z")),  # midnight skipped
        (SANTIAGO, "2027-04-03T12:00Z", ("2027-04-03", "2027-04-03T03:00Z", "2027-04-04T04:00Z")),  # 23:00 twice
        (LORD_HOWE, "2027-10-03T00:00Z", ("2027-10-03", "2027-10-02T13:30Z", "2027-10-03T13:00Z")),  # 23.5 hours
        (LORD_HOWE, "2027-04-04T00:00Z", ("2027-04-04", "2027-04-03T13:00Z", "2027-04-04T13:30Z")),  # 24.5 hours
        (KATHMANDU, "2027-01-15T18:14Z", ("2027-01-15", "2027-01-14T18:15Z", "2027-01-15T18:15Z")),
        (KATHMANDU, "2027-01-15T18:15Z", ("2027-01-16", "2027-01-15T18:15Z", "2027-01-16T18:15Z")),
    ],
)
def test_a_day_is_a_calendar_day_of_its_zone(zone: str, at: str, expected: tuple[str, str, str]) -> None:
    assert window("day", zone, at) == expected


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        (BERLIN, "2027-03-31T21:59Z", ("2027-03", "2027-02-28T23:00Z", "2027-03-31T22:00Z")),
        (BERLIN, "2027-03-31T22:00Z", ("2027-04", "2027-03-31T22:00Z", "2027-04-30T22:00Z")),
        (NEW_YORK, "2028-02-29T12:00Z", ("2028-02", "2028-02-01T05:00Z", "2028-03-01T05:00Z")),  # a leap day
        (NEW_YORK, "2027-02-28T12:00Z", ("2027-02", "2027-02-01T05:00Z", "2027-03-01T05:00Z")),
        ("UTC", "2027-12-31T23:59Z", ("2027-12", "2027-12-01T00:00Z", "2028-01-01T00:00Z")),
        ("UTC", "2100-02-28T23:59Z", ("2100-02", "2100-02-01T00:00Z", "2100-03-01T00:00Z")),  # not a leap year
        (KATHMANDU, "2027-01-31T18:15Z", ("2027-02", "2027-01-31T18:15Z", "2027-02-28T18:15Z")),
    ],
)
def test_a_month_is_a_calendar_month_of_its_zone(zone: str, at: str, expected: tuple[str, str, str]) -> None:
    assert window("month", zone, at) == expected


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("UTC", "2027-01-03T23:59Z", ("2026-W53", "2026-12-28T00:00Z", "2027-01-04T00:00Z")),
        ("UTC", "2027-01-04T00:00Z", ("2027-W01", "2027-01-04T00:00Z", "2027-01-11T00:00Z")),
        (BERLIN, "2027-03-28T12:00Z", ("2027-W12", "2027-03-21T23:00Z", "2027-03-28T22:00Z")),
        (SANTIAGO, "2027-09-05T05:00Z", ("2027-W35", "2027-08-30T04:00Z", "2027-09-06T03:00Z")),
        (LORD_HOWE, "2028-02-29T12:00Z", ("2028-W09", "2028-02-27T13:00Z", "2028-03-05T13:00Z")),
    ],
)
def test_a_week_begins_on_monday(zone: str, at: str, expected: tuple[str, str, str]) -> None:
    assert window("week", zone, at) == expected


def test_a_window_of_kind_total_never_resets() -> None:
    assert window_at("total", "UTC", 0) == window_at("total", BERLIN, 10**12) == Window("total", 0, None)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, SANTIAGO, LORD_HOWE, KATHMANDU])
@pytest.mark.parametrize("kind", ["day", "week", "month"])
def test_windows_follow_each_other_without_a_gap_for_two_years(zone: str, kind: WindowKind) -> None:
    at, end, names = from_iso("2027-01-01"), from_iso("2029-01-01"), []

    while at < end:
        found = window_at(kind, zone, at)
        assert found.resets_at is not None
        assert found.starts_at <= at < found.resets_at
        assert window_at(kind, zone, found.resets_at - 1) == found
        names.append(found.name)
        at = found.resets_at

    assert len(set(names)) == len(names) >= {"day": 731, "week": 105, "month": 24}[kind]
    assert names == sorted(names)


@given(
    st.sampled_from(sorted(available_timezones())),
    st.sampled_from(("day", "week", "month")),
    st.integers(from_iso("1990-01-01"), from_iso("2100-01-01")),
)
def test_the_window_at_an_instant_contains_the_instant_in_every_zone(zone: str, kind: WindowKind, at: int) -> None:
    found = window_at(kind, zone, at)

    assert found.resets_at is not None
    assert found.starts_at <= at < found.resets_at
    assert window_at(kind, zone, found.starts_at) == window_at(kind, zone, found.resets_at - 1) == found
    longest = {"day": DAY, "week": 7 * DAY, "month": 31 * DAY}[kind] + 24 * HOUR
    assert found.resets_at - found.starts_at <= longest


def test_the_new_day_continues_when_the_clock_of_st_johns_is_set_back_over_midnight() -> None:
    """At 00:01, the clock went back to 23:01 of the day before."""
    zone = "America/St_Johns"
    change = from_iso("2010-11-07T02:31:00Z")

    assert datetime.fromtimestamp((change - 1) / 1000, ZoneInfo(zone)).day == 7
    assert datetime.fromtimestamp(change / 1000, ZoneInfo(zone)).day == 6
    names = [window_at("day", zone, change + minutes * 60_000).name for minutes in (-2, -1, 0, 59, 61)]
    assert names == ["2010-11-06", *["2010-11-07"] * 4]


def test_the_new_month_continues_when_the_clock_of_st_johns_is_set_back_into_the_old_month() -> None:
    zone = "America/St_Johns"
    change = from_iso("2009-11-01T02:31:00Z")

    assert datetime.fromtimestamp(change / 1000, ZoneInfo(zone)).month == 10
    november = Window("2009-11", from_iso("2009-11-01T02:30:00Z"), from_iso("2009-12-01T03:30:00Z"))
    assert {window_at("month", zone, change + minutes * 60_000) for minutes in (-1, 0, 59, 61)} == {november}


def test_the_new_day_continues_when_the_clock_of_casey_is_set_back_three_hours() -> None:
    """The clock went back from 02:00 on March 5 to 23:00 on March 4."""
    zone = "Antarctica/Casey"
    change = from_iso("2010-03-04T15:00:00Z")

    assert datetime.fromtimestamp(change / 1000, ZoneInfo(zone)).day == 4
    fifth = Window("2010-03-05", from_iso("2010-03-04T13:00:00Z"), from_iso("2010-03-05T16:00:00Z"))
    assert {window_at("day", zone, change + minutes * 60_000) for minutes in (-120, -1, 0, 59, 61)} == {fifth}


@pytest.mark.parametrize("zone", ["", "Mars", "../etc/passwd", "/etc/localtime", "europe\x00", "Europe", "x" * 300])
def test_a_name_that_is_not_a_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^must be the name of an IANA time zone"):
        zone_named(zone)


def test_every_kind_of_window_is_tested() -> None:
    assert WINDOW_KINDS == ("day", "week", "month", "total"), "a new kind needs tests in this file"


@pytest.mark.parametrize("zone", ["localtime", "posix/Europe/Berlin", "right/UTC", "posixrules", "../UTC"])
def test_a_budget_refuses_a_zone_that_only_some_machines_have(zone: str) -> None:
    with pytest.raises(ValueError, match="must be the name of an IANA time zone"):
        SetBudget.model_validate({"limitCredits": 1, "window": "day", "timeZone": zone})


def test_every_zone_that_a_budget_accepts_can_be_loaded() -> None:
    assert {"UTC", "Europe/Berlin", "America/New_York"} <= zone_names()
    for name in zone_names():
        zone_named(name)
