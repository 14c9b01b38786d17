"""Usage: recording billable events, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from accounting_client.call import Call, command, get, json_fields, path, reporting


@dataclass(frozen=True)
class Usage:
    """What a call of a model used.

    ``input_tokens`` and ``output_tokens`` are totals. The token counts of special classes, such as
    ``cached_input_tokens``, are parts of these totals.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    requests: int = 0
    web_searches: int = 0


@dataclass(frozen=True)
class Tokens:
    """Sums of usage by class. ``unclassified`` has the tokens that were reported as one number, without classes."""

    input: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    requests: int = 0
    web_searches: int = 0
    unclassified: int = 0


@dataclass(frozen=True)
class Recorded:
    """The new record, and whether its credits were taken. ``usage`` is None if the request gave ``credits`` instead."""

    id: str
    service: str
    operation: str
    credits: int
    deducted: bool
    timestamp: datetime
    message: str
    usage: Usage | None = None
    replayed: bool = False


@dataclass(frozen=True)
class UsageRecord:
    """A usage record.

    ``usage`` is the usage by class, if it is known. ``provider_usage`` is the provider's object as it was sent. An
    object that was too large or not UTF-8 is not kept; ``provider_usage_dropped`` is then true.
    """

    id: str
    service: str
    operation: str
    credits: int
    metadata: dict[str, Any]
    timestamp: datetime
    model_id: str | None = None
    variant: str | None = None
    usage: Usage | None = None
    usage_format: str | None = None
    provider_usage: dict[str, Any] | None = None
    provider_usage_dropped: bool = False
    actor: str | None = None


@dataclass(frozen=True)
class Series:
    """Credits by name and day (``yyyy-mm-dd``). ``by`` is the kind of the names, such as ``model``.

    ``names`` has the 10 names with the most credits. ``other`` has the remaining credits by day. Days without credits
    are left out.
    """

    by: str
    names: dict[str, dict[str, int]]
    other: dict[str, int]


@dataclass(frozen=True)
class Statistics:
    """The usage of a user or an account in a range of time.

    The ``by_…`` maps have credits by name (or by day, ``yyyy-mm-dd``). ``series`` is None unless it was asked for.
    """

    total_records: int
    total_credits: int
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    recent_activity: tuple[UsageRecord, ...]
    tokens: Tokens = Tokens()
    tokens_by_model: dict[str, Tokens] = field(default_factory=dict)
    series: Series | None = None


@dataclass(frozen=True)
class SystemStatistics:
    """The usage of all users in whole UTC days, up to about five minutes behind.

    ``as_of`` is when the newest counted record was made.

    ``by_user`` has the users who spent most. ``by_service`` and ``by_model`` have the services and models that users
    spent the most on, and ``tokens_by_model`` has at most 100 of those models. The numbers are exact. ``truncated`` is
    true if one of these four maps leaves something out. ``series`` is None unless it was asked for.
    """

    total_records: int
    total_credits: int
    by_user: dict[str, int]
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    truncated: bool
    as_of: datetime | None = None
    tokens: Tokens = Tokens()
    tokens_by_model: dict[str, Tokens] = field(default_factory=dict)
    series: Series | None = None


def record_usage(  # noqa: PLR0913 - the fields of the request, by keyword
    service: str,
    operation: str,
    credits: int | None = None,
    *,
    model_id: str | None = None,
    usage: Mapping[str, Any] | None = None,
    usage_format: str | None = None,
    variant: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    deduct: bool | None = None,
    account_id: str | None = None,
    run_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Recorded]:
    """Record an event of the caller.

    ``deduct`` says whether the event's credits are taken. By default, the stack's parameter ``UsageRecordDeducts``
    decides.

    The event costs ``credits``, or what ``usage`` costs at the current price of ``model_id``. ``usage`` is in
    canonical form or, with ``usage_format`` (such as ``openai``), the provider's own object. A repeat with the same
    ``idempotency_key`` records nothing more. By default, each call gets a new key. ``account_id`` is the account
    that pays, by default the caller's own. ``run_id`` is a run of this account.

    Raises InsufficientCredits, BudgetExceeded, RunEnded, ModelUnknown, AccountNotFound, OrganizationClosed or
    IdempotencyConflict; nothing is recorded then.
    """
    body = json_fields(
        service=service,
        operation=operation,
        credits=credits,
        model_id=model_id,
        usage=usage,
        usage_format=usage_format,
        variant=variant,
        metadata=metadata,
        deduct=deduct,
        account_id=account_id,
        run_id=run_id,
    )
    return reporting(command("POST", "/api/usage/record", Recorded, body, idempotency_key))


def usage_stats(
    user_id: str | None = None,
    *,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
    account_id: str | None = None,
    key_id: str | None = None,
    by: str | None = None,
) -> Call[Statistics]:
    """The usage of the caller or, as a supervisor, of another user.

    With ``account_id``, it is the usage that this account paid for: of all users or, with ``user_id``, of one user.
    Members who do not manage the account get only their own. With ``key_id``, only the usage with this API key counts.
    Dates are in UTC; an ``end_date`` without a time includes that whole day. ``by="model"`` and ``by="service"`` add
    ``series``; they need a ``start_date`` at most 400 days before the end.

    Raises UserNotFound, AccountNotFound, ApiKeyNotFound. Raises ValueError if ``user_id`` and ``key_id`` are given
    without ``account_id``.
    """
    if key_id is not None and user_id is not None and account_id is None:
        raise ValueError("user_id and key_id together also need account_id")
    dates = {"start_date": start_date, "end_date": end_date, "by": by}
    if user_id is None or account_id is not None:
        return get("/api/usage/stats", Statistics, **dates, user_id=user_id, account_id=account_id, key_id=key_id)
    return get(path("/api/usage/stats/{}", user_id), Statistics, **dates)


def system_usage(
    *,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
    top: int | None = None,
    by: str | None = None,
) -> Call[SystemStatistics]:
    """The usage of all users, by default of the last 30 days. Only administrators may ask for it.

    ``top`` is how many users ``by_user`` has at most: 0 to 1,000, by default 100. ``by`` adds ``series``, the
    credits by day and name. ``by`` is ``"model"``, ``"service"``, ``"user"`` or ``"account"`` (the account that paid).
    """
    return get("/api/usage/system-stats", SystemStatistics, start_date=start_date, end_date=end_date, top=top, by=by)
