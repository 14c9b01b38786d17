"""A series: credits by day, separately for each of the names with the most credits, and together for the rest.

A name is a service, a model, or the id of a user.
"""

from __future__ import annotations

import json

from accounting.domain.series import MAX_DAYS, MAX_NAMES, series


def test_the_names_and_the_rest_add_up_to_the_credits_of_each_day() -> None:
    names = {"a": {"d2": 5, "d1": 1}, "b": {"d1": 2}}

    found = series({"d1": 10, "d2": 5}, names)

    assert found.names == {"a": {"d1": 1, "d2": 5}, "b": {"d1": 2}}
    assert list(found.names["a"]) == ["d1", "d2"]
    assert found.other == {"d1": 7}


def test_only_the_names_with_the_most_credits_are_shown_separately() -> None:
    names = {f"n{number:02d}": {"d1": number, "d2": 1} for number in range(MAX_NAMES + 3)}

    found = series({"d1": sum(range(13)), "d2": 13}, names)

    assert list(found.names) == [f"n{number:02d}" for number in range(12, 2, -1)]
    assert found.other == {"d1": 0 + 1 + 2, "d2": 3}


def test_corrections_can_make_a_day_negative_and_days_without_credits_are_left_out() -> None:
    found = series({"d1": 0, "d2": -3}, {"a": {"d1": 0, "d2": -4}})

    assert found.names == {"a": {"d2": -4}}
    assert found.other == {"d2": 1}


def test_a_series_of_nothing_is_empty() -> None:
    found = series({}, {})

    assert (found.names, found.other) == ({}, {})


def test_the_longest_series_of_the_longest_names_takes_less_than_200_kb() -> None:
    days = [f"2026-{number:05d}" for number in range(MAX_DAYS)]
    names = {f"{number}{'x' * 255}": dict.fromkeys(days, 10**15) for number in range(MAX_NAMES)}

    found = series(dict.fromkeys(days, 11 * 10**15), names)

    assert len(found.other) == MAX_DAYS
    assert len(json.dumps(found, separators=(",", ":"))) < 200_000
