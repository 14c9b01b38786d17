"""Instants: epoch milliseconds in the code, and ISO 8601 texts in the API and in the table's keys.

The texts are in UTC, with milliseconds and ``Z``.
"""

import re
import time
from datetime import UTC, datetime

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
"""A date or a date-time; the offset may be left out."""


def clock() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def iso(at: int) -> str:
    """An instant as ``2026-11-21T08:30:00.000Z``. The width is fixed, so that text order is time order."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def from_iso(text: str) -> int:
    """The epoch milliseconds of an RFC 3339 date-time, or of the first instant of a date. The default offset is UTC.

    Raises ValueError for any other text.
    """
    if not _RFC_3339.fullmatch(text):
        raise ValueError("must be a date or a date-time in the form of RFC 3339")
    parsed = datetime.fromisoformat(text.upper())
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)


def day(at: int) -> str:
    """The UTC day of an instant, ``yyyy-mm-dd``."""
    return iso(at)[:10]


def day_begin(at: int) -> int:
    """The first instant of the UTC day of ``at``."""
    return at - at % DAY
