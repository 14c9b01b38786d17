"""Streaming sessions: hold credits before the stream, then settle what was used.

``session_id`` connects a session's calls. The sweeper of the service ends sessions whose heartbeats have stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from accounting_client.call import Access, Call, Listing, Page, as_, as_page, identifier, json_fields, path
from accounting_client.routes.usage import Usage
from accounting_client.usage_objects import UsageFormat, in_json

T = TypeVar("T")


@dataclass(frozen=True)
class Initialized:
    """What is held for a session, in credits: the estimate and the buffer (``HoldBufferPercent``)."""

    session_id: str
    allocated_credits: int
    estimated_credits: int
    expires_at: datetime
    message: str
    replayed: bool = False


@dataclass(frozen=True)
class Heartbeat:
    """A session after a heartbeat. If no other heartbeat follows, the sweeper may end it at ``expires_at``.

    ``ignored`` are the request's fields that the service does not know.
    """

    session_id: str
    tokens_generated: int
    allocated_credits: int
    expires_at: datetime
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finalized:
    """What a session cost, in credits.

    ``overrun`` is the part that exceeded the hold. ``debt`` is the part of the overrun that the wallet could not cover.
    ``usage`` is the usage by class, or None if only a number of tokens is known. If the sweeper or a supervisor
    had already ended the session, ``late_credits`` is what this call added to the charge. A negative number was
    refunded. Otherwise, ``late_credits`` is None. ``ignored`` are the request's fields that the service does not know.
    """

    session_id: str
    status: str
    estimated_credits: int
    actual_credits: int
    refund: int
    overrun: int
    debt: int
    usage: Usage | None = None
    late_credits: int | None = None
    ignored: tuple[str, ...] = ()
    replayed: bool = False

    @property
    def charged_credits(self) -> int:
        """What the session cost."""
        return self.actual_credits


@dataclass(frozen=True)
class Aborted:
    """What an aborted session cost: ``partial_credits``. The other fields are as in `Finalized`."""

    session_id: str
    status: str
    partial_credits: int
    refund: int
    overrun: int
    debt: int
    usage: Usage | None = None
    late_credits: int | None = None
    ignored: tuple[str, ...] = ()
    replayed: bool = False

    @property
    def charged_credits(self) -> int:
        """What the session cost."""
        return self.partial_credits


@dataclass(frozen=True)
class Session:
    """A session. ``reported_tokens`` is what its last heartbeat reported, even after the session has ended.

    While the session is active, ``tokens_generated`` and ``usage`` are what the last heartbeat reported, and
    ``used_credits`` is their cost. Once the session has ended, ``tokens_generated`` and ``usage`` are what it was
    settled for, and ``used_credits`` is the charge.

    ``status`` is ``active``, ``completed`` or ``failed``; ``outcome`` is ``finalized``, ``aborted`` or ``swept``.
    ``estimated_usage`` and ``usage`` are None if only a number of tokens is known. ``served_model_id`` is the
    model that ``finalize`` or ``abort`` named, if it differs from ``model_id``. ``late_credits`` is as in `Finalized`.
    ``account_id`` is the account that pays.
    """

    session_id: str
    user_id: str
    model_id: str
    estimated_credits: int
    allocated_credits: int
    used_credits: int
    tokens_generated: int
    status: str
    started_at: datetime
    last_seen_at: datetime
    outcome: str | None = None
    completed_at: datetime | None = None
    reported_tokens: int | None = None
    estimated_usage: Usage | None = None
    usage: Usage | None = None
    variant: str | None = None
    served_model_id: str | None = None
    late_credits: int | None = None
    account_id: str | None = None


@dataclass(frozen=True)
class LimitPreview:
    """What a limit has left for a session.

    ``limit`` is ``balance``, ``member:<id>``, ``members``, ``key:<id>`` or ``run:<id>``. ``limit_credits`` is None for
    the balance. ``resets_at`` is None for a limit that never resets.
    """

    limit: str
    remaining_credits: int
    required_credits: int
    passes: bool
    limit_credits: int | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True)
class Reason:
    """The refusal that ``initialize`` would raise."""

    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preview:
    """Whether a session would be opened now, and what each limit has left. ``reason`` is None if ``passes`` is True.

    ``required_credits`` is what would be held. ``limits`` is empty if the user may not spend from the account at all.
    """

    passes: bool
    user_id: str
    account_id: str
    estimated_credits: int
    required_credits: int
    limits: tuple[LimitPreview, ...]
    reason: Reason | None = None


def initialize(  # noqa: PLR0913 - the fields of the request, by keyword
    session_id: str,
    model_id: str,
    estimated_tokens: int | None = None,
    *,
    estimated_usage: Mapping[str, Any] | None = None,
    variant: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    account_id: str | None = None,
    run_id: str | None = None,
) -> Call[Initialized]:
    """Open a session under a new id, which the caller chooses, and hold the cost of the estimate plus the buffer.

    The estimate is either ``estimated_tokens``, one number for all tokens, or ``estimated_usage``, the most tokens of
    each class that the request can use, such as ``{"inputTokens": 4000, "outputTokens": 1000}``. ``variant`` names
    a variant of the model's price. ``account_id`` is the account that pays, by default the caller's own. ``run_id`` is
    a run of this account. The run's limit applies to the session.

    While the session is active, a repeat with the same values returns the first answer. Raises SessionExists if an
    active session with this id has other values, and SessionEnded if the session with this id has ended. Raises
    InsufficientCredits or BudgetExceeded if the hold does not fit. The largest estimate that fits is in the error's
    ``affordable_tokens`` or ``affordable_output_tokens``. Also raises ModelUnknown, RunEnded, AccountNotFound,
    OrganizationClosed.
    """
    body = json_fields(
        session_id=session_id,
        model_id=model_id,
        estimated_tokens=estimated_tokens,
        estimated_usage=estimated_usage,
        variant=variant,
        metadata=metadata,
        account_id=account_id,
        run_id=run_id,
    )
    return _report("initialize", Initialized, body)


def preview_session(  # noqa: PLR0913 - the fields of the request, by keyword
    model_id: str,
    estimated_tokens: int | None = None,
    *,
    estimated_usage: Mapping[str, Any] | None = None,
    variant: str | None = None,
    user_id: str | None = None,
    account_id: str | None = None,
    key_id: str | None = None,
    run_id: str | None = None,
) -> Call[Preview]:
    """Whether ``initialize`` would open a session with these values now. No credits are held.

    ``user_id`` asks about another user. Supervisors may ask about anybody. Owners and admins of the organization in
    ``account_id`` may ask about its members. ``key_id`` is an API key of the user.

    Raises UserNotFound, MemberNotFound, ApiKeyNotFound, ModelUnknown.
    """
    body = json_fields(
        model_id=model_id,
        estimated_tokens=estimated_tokens,
        estimated_usage=estimated_usage,
        variant=variant,
        user_id=user_id,
        account_id=account_id,
        key_id=key_id,
        run_id=run_id,
    )
    return Call("POST", "/api/streaming-sessions/preview", as_(Preview), body=body, repeatable=True)


def heartbeat(
    session_id: str,
    tokens_generated: int | None = None,
    *,
    usage: object = None,
    usage_format: UsageFormat | None = None,
    account_id: str | None = None,
) -> Call[Heartbeat]:
    """Report what the stream has used so far. If that costs more than the hold, the service raises the hold.

    ``usage`` is the provider's usage object so far, as you received it, and ``usage_format`` its format.
    ``tokens_generated`` counts all tokens if the session began with ``estimated_tokens`` and no heartbeat has had a
    ``usage``. Otherwise, it counts output tokens. If a heartbeat has both ``usage`` and ``tokens_generated``, the
    larger number of output tokens applies.

    ``account_id`` is the account that pays. The service does not use it in a heartbeat.

    Raises SessionNotActive and, if the hold can't be raised, InsufficientCredits, BudgetExceeded, RunEnded,
    AccountNotFound or OrganizationClosed. Stop the stream after any of these.
    """
    used = _used(usage, usage_format)
    return _report(
        "heartbeat",
        Heartbeat,
        json_fields(session_id=session_id, tokens_generated=tokens_generated, account_id=account_id, **used),
    )


def finalize(  # noqa: PLR0913 - the fields of the request, by keyword
    session_id: str,
    actual_tokens: int | None = None,
    *,
    usage: object = None,
    usage_format: UsageFormat | None = None,
    model_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    success: bool = True,
    account_id: str | None = None,
) -> Call[Finalized]:
    """Charge what was really used, and give the rest of the hold back.

    What was used is ``actual_tokens``, or the provider's ``usage`` as you received it, with its ``usage_format``.
    Give ``model_id`` if a model other than the session's served the stream. ``metadata`` is kept with the usage. With
    ``success=False``, the session is ``failed`` instead of ``completed``. ``account_id`` is the account that pays. It
    is optional, but makes the answer faster.

    A repeat with the same values returns the first answer. Raises SessionNotActive if there is no such session, or if a
    call with other values has settled it. Also raises ModelUnknown.
    """
    reported = {**_used(usage, usage_format), "model_id": model_id, "metadata": metadata, "success": success}
    reported["account_id"] = account_id
    return _report("finalize", Finalized, json_fields(session_id=session_id, actual_tokens=actual_tokens, **reported))


def abort(
    session_id: str,
    tokens_generated: int | None = None,
    *,
    usage: object = None,
    usage_format: UsageFormat | None = None,
    model_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    account_id: str | None = None,
) -> Call[Aborted]:
    """Charge what was generated, by default what the last heartbeat reported, and give the rest of the hold back.

    The arguments and the errors are as for ``finalize``.
    """
    reported = {**_used(usage, usage_format), "model_id": model_id, "metadata": metadata, "account_id": account_id}
    return _report("abort", Aborted, json_fields(session_id=session_id, tokens_generated=tokens_generated, **reported))


def end_session(user_id: str, session_id: str, reason: str) -> Call[Session]:
    """As a supervisor, end a user's active session: its last heartbeat's tokens are charged, the rest is refunded.

    If no heartbeat arrived, nothing is charged, or the session's estimate if the service has ``SweepCharges=estimate``.
    Raises SessionNotActive, UserNotFound.
    """
    where = path("/api/streaming-sessions/{}/{}/end", user_id, identifier(session_id))
    return Call("POST", where, as_(Session), body=json_fields(reason=reason))


def active_sessions_page(
    user_id: str | None = None, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[Session]]:
    """A page of the active sessions of the caller or, as a supervisor, of another user, newest first.

    ``limit`` is 1 to 1,000, by default 1,000. Raises UserNotFound.
    """
    where = "/api/streaming-sessions/active"
    where = where if user_id is None else path(where + "/{}", user_id)
    return Call("GET", where, as_page(Session), query=json_fields(limit=limit, cursor=cursor), repeatable=True)


def active_sessions(user_id: str | None = None, *, page_size: int = 100) -> Listing[Session]:
    """The active sessions of the caller or, as a supervisor, of another user, newest first.

    Raises UserNotFound.
    """
    return lambda cursor: active_sessions_page(user_id, limit=page_size, cursor=cursor)


def all_active_sessions_page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page[Session]]:
    """As an administrator, a page of the active sessions of all users, sorted by user.

    ``limit`` is 1 to 100, by default 20.
    """
    query = json_fields(limit=limit, cursor=cursor)
    return Call("GET", "/api/streaming-sessions/active/all", as_page(Session), query=query, repeatable=True)


def all_active_sessions(*, page_size: int = 100) -> Listing[Session]:
    """As an administrator, the active sessions of all users, sorted by user, each user's newest first."""
    return lambda cursor: all_active_sessions_page(limit=page_size, cursor=cursor)


def recent_sessions_page(
    user_id: str | None = None, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[Session]]:
    """As a supervisor, a page of the active and ended sessions of everybody or of one user, newest first.

    ``limit`` is 1 to 100, by default 20. Raises UserNotFound.
    """
    where = "/api/streaming-sessions/recent"
    where = where if user_id is None else path(where + "/{}", user_id)
    return Call("GET", where, as_page(Session), query=json_fields(limit=limit, cursor=cursor), repeatable=True)


def recent_sessions(user_id: str | None = None, *, page_size: int = 100) -> Listing[Session]:
    """As a supervisor, the active and ended sessions of everybody or of one user, newest first.

    Raises UserNotFound.
    """
    return lambda cursor: recent_sessions_page(user_id, limit=page_size, cursor=cursor)


def _used(usage: object, usage_format: UsageFormat | None) -> dict[str, Any]:
    return {"usage": None if usage is None else in_json(usage, "the usage"), "usage_format": usage_format}


def _report(step: str, kind: type[T], body: dict[str, object]) -> Call[T]:
    where = f"/api/streaming-sessions/{step}"
    return Call("POST", where, as_(kind), body=body, access=Access.REPORT, repeatable=True)
