"""Usage: recording billable events, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from accounting_client.call import Call, command, get, given, path, reporting


@dataclass(frozen=True)
class Recorded:
    """A record as it was made, and whether its credits were taken."""

    id: str
    service: str
    operation: str
    credits: int
    deducted: bool
    timestamp: datetime
    message: str
    replayed: bool = False


@dataclass(frozen=True)
class UsageRecord:
    """A usage record."""

    id: str
    service: str
    operation: str
    credits: int
    metadata: dict[str, Any]
    timestamp: datetime


@dataclass(frozen=True)
class Statistics:
    """A user's usage in a range of time; the maps are from names (or days, ``yyyy-mm-dd``) to credits."""

    total_records: int
    total_credits: int
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    recent_activity: tuple[UsageRecord, ...]


@dataclass(frozen=True)
class SystemStatistics:
    """Everybody's usage in whole UTC days, seconds behind: ``as_of`` is when the newest record that counts was made.

    ``by_user`` has the users with the most credits, ``by_service`` and ``by_model`` the names that users contributed
    the most credits to. The numbers are exact; ``truncated`` says that names are left out.
    """

    total_records: int
    total_credits: int
    by_user: dict[str, int]
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    truncated: bool
    as_of: datetime | None = None


def record_usage(
    service: str,
    operation: str,
    credits: int,
    *,
    metadata: Mapping[str, Any] | None = None,
    deduct: bool | None = None,
    idempotency_key: str | None = None,
) -> Call[Recorded]:
    """Record an event of the caller's; ``deduct`` says whether its credits are taken (default: the stack's setting).

    The same ``idempotency_key`` again records nothing more; without one, each call makes its own.
    Raises InsufficientCredits (nothing is recorded), IdempotencyConflict.
    """
    body = given(service=service, operation=operation, credits=credits, metadata=metadata, deduct=deduct)
    return reporting(command("POST", "/api/usage/record", Recorded, body, idempotency_key))


def usage_stats(
    user_id: str | None = None,
    *,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
) -> Call[Statistics]:
    """The usage of the caller or, as a supervisor, of another user. Dates are UTC, a bare end date includes its day.

    Raises UserNotFound.
    """
    where = "/api/usage/stats" if user_id is None else path("/api/usage/stats/{}", user_id)
    return get(where, Statistics, start_date=start_date, end_date=end_date)


def system_usage(
    *,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
    top: int | None = None,
) -> Call[SystemStatistics]:
    """As an administrator, everybody's usage, by default of the last 30 days, with the ``top`` users (1 to 1,000)."""
    return get("/api/usage/system-stats", SystemStatistics, start_date=start_date, end_date=end_date, top=top)
