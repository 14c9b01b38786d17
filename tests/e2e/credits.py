"""Dates and times for the tests of credits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounting.times import from_iso, iso


def about_now(text: str, days: int = 0) -> bool:
    """Whether a timestamp is this many days from now. A timestamp of another format fails the test."""
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert text == iso(from_iso(text))
    return abs(datetime.now(UTC) + timedelta(days=days) - at) < timedelta(minutes=2)


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


def today() -> str:
    return datetime.now(UTC).date().isoformat()
