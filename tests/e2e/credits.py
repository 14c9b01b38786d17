"""Helpers of the tests of credits: the four commands, dates, and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounting.times import from_iso, iso

COMMANDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "allocate": ("POST", "credits/allocate", {"credits": 5}),
    "set": ("POST", "credits/set", {"credits": 55}),
    "remove": ("DELETE", "credits/remove", {"credits": 5}),
    "adjust": ("PUT", "credits/adjust", {"adjustment": 5}),
}
"""Each command's method, path, and body without ``userId``. Each command changes a balance of 50 credits by 5."""

each_command = pytest.mark.parametrize(("method", "path", "body"), COMMANDS.values(), ids=COMMANDS)


def about_now(text: str, days: int = 0) -> bool:
    """Whether a timestamp differs from now plus ``days`` by less than two minutes.

    Fails if the timestamp's format is not that of ``iso``.
    """
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert text == iso(from_iso(text))
    return abs(datetime.now(UTC) + timedelta(days=days) - at) < timedelta(minutes=2)


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


def today() -> str:
    return datetime.now(UTC).date().isoformat()
