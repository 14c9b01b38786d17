"""Instants: epoch milliseconds inside, ISO-8601 in UTC with milliseconds and ``Z`` outside."""

import time
from datetime import UTC, datetime

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def clock() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def iso(at: int) -> str:
    """``2026-11-21T08:30:00.000Z``; the width is fixed, so that text order is time order."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def from_iso(text: str) -> int:
    """Epoch milliseconds of a timestamp or a date (its first instant); without a zone it is UTC.

    Raises ValueError for anything else.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)


def day(at: int) -> str:
    """The UTC day of an instant, ``yyyy-mm-dd``."""
    return iso(at)[:10]


def day_begin(at: int) -> int:
    """The first instant of the UTC day of ``at``."""
    return at - at % DAY


def next_day(at: int) -> int:
    """The first instant of the UTC day after that of ``at``."""
    return day_begin(at) + DAY
