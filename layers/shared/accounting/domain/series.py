"""Credits by day: separately for the services, models or users with the most credits, and together for the rest."""

from collections.abc import Mapping
from typing import NamedTuple

MAX_NAMES = 10
"""The most names that a series shows separately."""

MAX_DAYS = 400
"""The most days in a series."""


class Series(NamedTuple):
    """Credits by day.

    ``names`` maps each service, model or user to its credits by day; the one with the most credits comes first.
    ``other`` has the remaining credits: those of names that are not shown separately, and those without a name.

    A day is a text like 2026-11-30. Days without credits are left out.
    """

    names: dict[str, dict[str, int]]
    other: dict[str, int]


def series(by_day: Mapping[str, int], names: Mapping[str, Mapping[str, int]]) -> Series:
    """The series of the names with the most credits.

    ``by_day`` has all credits of each day, including those without a name.
    """
    ranked = sorted(names, key=lambda name: (-sum(names[name].values()), name))[:MAX_NAMES]
    top = {name: {day: names[name][day] for day in sorted(names[name]) if names[name][day]} for name in ranked}
    rest = {day: by_day[day] - sum(days.get(day, 0) for days in top.values()) for day in sorted(by_day)}
    return Series(top, {day: credits for day, credits in rest.items() if credits})
