"""The windows in which a budget counts: days, weeks and months of a time zone, or all time."""

from bisect import bisect_left
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

type WindowKind = Literal["day", "week", "month", "total"]
WINDOW_KINDS: tuple[WindowKind, ...] = get_args(WindowKind.__value__)

ONE_DAY = timedelta(days=1)


class Window(NamedTuple):
    """One window, from the instant ``starts_at`` until just before ``resets_at``, in epoch milliseconds.

    ``resets_at`` is None for the window of all time. ``name`` is unique among the windows of one kind and zone.
    """

    name: str
    starts_at: int
    resets_at: int | None


def window_at(kind: WindowKind, zone: str, at: int) -> Window:
    """The window that contains the instant ``at``. Raises ValueError if there is no such zone.

    A window begins at the first instant of its first day in the zone. That is midnight, or if the clock skips midnight,
    the instant of the change. A week begins on Monday.
    """
    if kind == "total":
        return Window("total", 0, None)
    time_zone = zone_named(zone)
    first = _first_day(kind, datetime.fromtimestamp(at / 1000, time_zone).date())
    # If the clock is set back past midnight, it shows the previous day again, but the next window has already begun.
    if _begin_of(_next(kind, first), time_zone) <= at:
        first = _next(kind, first)
    return Window(_name(kind, first), _begin_of(first, time_zone), _begin_of(_next(kind, first), time_zone))


@cache
def zone_named(name: str) -> "ZoneInfo":
    """The time zone of this name in the IANA database. Raises ValueError if there is none."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError("must be the name of an IANA time zone, such as Europe/Berlin") from None


@cache
def zone_names() -> frozenset[str]:
    """The names of all time zones in the IANA database.

    They come from the package tzdata, because a machine's own files may have names that another machine lacks.
    """
    from importlib.resources import files

    return frozenset((files("tzdata") / "zones").read_text(encoding="utf-8").split())


def _first_day(kind: WindowKind, day: date) -> date:
    if kind == "week":
        return day - day.weekday() * ONE_DAY
    return day.replace(day=1) if kind == "month" else day


def _next(kind: WindowKind, first: date) -> date:
    if kind == "month":
        return (first + 31 * ONE_DAY).replace(day=1)
    return first + (7 if kind == "week" else 1) * ONE_DAY


def _name(kind: WindowKind, first: date) -> str:
    if kind == "week":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02d}"
    return first.isoformat()[:7] if kind == "month" else first.isoformat()


def _begin_of(day: date, zone: "ZoneInfo") -> int:
    """The first instant at which the zone's clock shows ``day`` or a later day."""
    midnight = datetime.combine(day, time(), zone)
    early, late = sorted(round(midnight.replace(fold=fold).timestamp() * 1000) for fold in (0, 1))

    def date_at(at: int) -> date:
        return datetime.fromtimestamp(at / 1000, zone).date()

    # If the clock shows midnight twice, it does so at ``early`` and ``late``. If it skips midnight, the change is
    # between these two instants.
    return early if date_at(early) >= day else early + bisect_left(range(early, late), day, key=date_at)
