"""Streaming sessions: what a chat proxy calls before, during and after a stream, and the lists to watch them."""

from http import HTTPStatus
from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import Field

from accounting.domain.errors import Invalid
from accounting.domain.sessions import Report, Session
from accounting.domain.usage import ProviderUsage
from accounting.domain.usage_formats import CANONICAL, read
from accounting.operations import sessions as operations
from accounting.operations import settling
from accounting.operations.settling import Particulars
from accounting.settings import settings
from accounting.store import sessions as store
from accounting.store import users
from accounting.store.sessions import MAX_ACTIVE_LISTED
from accounting.times import clock, iso
from accounting.web.access import ADMINS, SUPERVISORS, Access, Disabled, Who
from accounting.web.api import Api, handler_of
from accounting.web.paging import DEFAULT_LIMIT, NEXT_CURSOR_HEADER, PAGE, Cursor, Limit, cursor_of, position_in
from accounting.web.problems import MAX_NAMED
from accounting.web.service_key import require_service_key
from accounting.web.types import (
    ONLY_DIGITS,
    EstimatedTokens,
    Identifier,
    IdentifierInPath,
    Instant,
    Metadata,
    ModelId,
    Reason,
    ReportModel,
    RequestModel,
    ResponseModel,
    StrictFlag,
    Tokens,
    UserInPath,
    left_out,
)
from accounting.web.usage import CanonicalUsage, UsageFormat, UsageObject, UsageView, Variant, kept, shown, usage_in

OPENED: dict[int, OpenAPIResponse] = {
    201: {"description": "The session is open"},
    200: {"description": "It was open already, and is as it was"},
}
ActiveLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_ACTIVE_LISTED), ONLY_DIGITS], Query()]

HOLDERS = Access(Who.USERS, "sessions:write", Disabled.OPERATION_DECIDES, require_service_key)
SETTLING_CODES = ("MODEL_UNKNOWN", "SESSION_NOT_ACTIVE")
SETTLERS = Access(Who.USERS, "sessions:write", Disabled.SERVED, require_service_key)
WATCHERS = Access(Who.USERS, "sessions:write")
ANYBODYS_WATCHERS = Access(Who.SELF_OR_SUPERVISORS, "sessions:write")

api = Api()


class Initialize(RequestModel):
    """Hold credits for a stream. The client makes the id; it is the idempotency key of the session's calls.

    The estimate is ``estimatedTokens``, a bare number, or ``estimatedUsage``, the most that the request can use.
    """

    session_id: Identifier
    model_id: ModelId
    estimated_tokens: EstimatedTokens | None = None
    estimated_usage: CanonicalUsage | None = None
    variant: Variant | None = None
    metadata: Metadata | None = None


class Heartbeat(ReportModel):
    """How far the stream is: ``tokensGenerated``, or ``usage`` so far, or both, of which the larger output counts.

    In a session that has a usage, ``tokensGenerated`` counts output tokens.
    """

    session_id: Identifier
    tokens_generated: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None


class Finalize(ReportModel):
    """What the stream really used: ``usage``, or ``actualTokens``. ``modelId`` is the model that really served."""

    session_id: Identifier
    actual_tokens: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    model_id: ModelId | None = None
    metadata: Metadata | None = None
    success: StrictFlag | None = True


class Abort(ReportModel):
    """How far the stream came before it was given up; by default what the last heartbeat said."""

    session_id: Identifier
    tokens_generated: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    model_id: ModelId | None = None
    metadata: Metadata | None = None


class ForceEnd(RequestModel):
    """Why a session is ended; the ledger keeps it."""

    reason: Reason


_IGNORED = left_out(f"Names in the request that the route does not know, in order: at most {MAX_NAMED} of them")
_LATE = left_out(
    "Of a session that the sweeper had ended: what this settled beyond the sweep's charge, negative if less"
)


_USAGE = left_out("What was used by class; left out where only a number of tokens is known")


class InitializeView(ResponseModel):
    """What is held for a session."""

    session_id: str
    allocated_credits: int
    estimated_credits: int
    expires_at: Instant
    message: str
    replayed: bool | None = left_out()


class HeartbeatView(ResponseModel):
    """The session as the heartbeat left it; ``expiresAt`` is when it is swept without a further one."""

    session_id: str
    tokens_generated: int
    allocated_credits: int
    expires_at: Instant
    ignored: list[str] | None = _IGNORED


class FinalizeView(ResponseModel):
    """What a session cost. ``overrun`` exceeded the hold; ``debt`` of it the wallet could not cover."""

    session_id: str
    status: str
    estimated_credits: int
    actual_credits: int
    refund: int
    overrun: int
    debt: int
    usage: UsageView | None = _USAGE
    late_credits: int | None = _LATE
    ignored: list[str] | None = _IGNORED
    replayed: bool | None = left_out()


class AbortView(ResponseModel):
    """What an aborted session cost."""

    session_id: str
    status: str
    partial_credits: int
    refund: int
    overrun: int
    debt: int
    usage: UsageView | None = _USAGE
    late_credits: int | None = _LATE
    ignored: list[str] | None = _IGNORED
    replayed: bool | None = left_out()


class SessionView(ResponseModel):
    """A session. ``usedCredits`` of an active one is what its last heartbeat's tokens cost.

    ``reportedTokens`` are those of its last heartbeat, ``tokensGenerated`` those that it was settled for once it ended;
    ``usage`` likewise. ``servedModelId`` is the model that its caller named at the end, if another than ``modelId``.
    """

    session_id: str
    user_id: str
    model_id: str
    estimated_credits: int
    allocated_credits: int
    used_credits: int
    tokens_generated: int
    reported_tokens: int
    estimated_usage: UsageView | None = left_out("The estimate by class, where there is one")
    usage: UsageView | None = _USAGE
    variant: str | None = left_out("The price variant that it was begun with")
    served_model_id: str | None = left_out()
    late_credits: int | None = _LATE
    status: str
    outcome: str | None
    started_at: Instant
    last_seen_at: Instant
    completed_at: Instant | None

    @classmethod
    def of(cls, session: Session) -> Self:
        """The view of a session."""
        return cls(
            session_id=session.session_id,
            user_id=session.user_id,
            model_id=session.model_id,
            estimated_credits=session.estimated_credits,
            allocated_credits=session.allocated_credits,
            used_credits=session.used_credits,
            tokens_generated=session.tokens if session.active else session.settled.tokens,
            reported_tokens=session.tokens,
            estimated_usage=shown(session.estimated_usage),
            usage=shown(session.reported_usage if session.active else session.settled.usage),
            variant=session.variant,
            served_model_id=None if session.active else session.settled.model_id,
            late_credits=session.late_credits,
            status=session.status,
            outcome=session.outcome,
            started_at=iso(session.started_at),
            last_seen_at=iso(session.last_seen_at),
            completed_at=iso(session.resolution.at) if session.resolution else None,
        )


@api.post(
    "/api/streaming-sessions/initialize",
    status_code=201,
    access=HOLDERS,
    codes=("MODEL_UNKNOWN", "INSUFFICIENT_CREDITS", "SESSION_EXISTS", "SESSION_ENDED"),
    responses=OPENED,
)
def initialize(body: Initialize) -> tuple[InitializeView, int]:
    """Hold the buffered estimate of a stream; a repeat answers 200 as the first time did."""
    usage = None if body.estimated_usage is None else read(CANONICAL, body.estimated_usage, "estimatedUsage")
    if (usage is None) == (body.estimated_tokens is None):
        raise Invalid.field("estimatedTokens", "either this or estimatedUsage is required")
    answer = operations.initialize(
        api.caller.user_id,
        body.session_id,
        body.model_id,
        body.estimated_tokens or (usage.output if usage else 0),
        now=clock(),
        metadata=body.metadata,
        estimated_usage=usage,
        variant=body.variant,
    )
    session = answer.session
    view = InitializeView(
        session_id=session.session_id,
        allocated_credits=session.initial_credits,
        estimated_credits=session.estimated_credits,
        expires_at=iso(session.initial_expires_at),
        message=f"Holding {session.initial_credits} credits",
        replayed=answer.replayed or None,
    )
    return view, HTTPStatus.OK if answer.replayed else HTTPStatus.CREATED


@api.post(
    "/api/streaming-sessions/heartbeat",
    access=HOLDERS,
    codes=("INSUFFICIENT_CREDITS", "SESSION_NOT_ACTIVE"),
    any_query=True,
)
def heartbeat(body: Heartbeat) -> HeartbeatView:
    """Note how far the stream is, and raise the hold when it no longer fits."""
    report, _ = _report(body, body.tokens_generated)
    if report is None:
        raise Invalid.field("tokensGenerated", "either this or usage is required")
    session = operations.heartbeat(api.caller.user_id, body.session_id, report, now=clock())
    return HeartbeatView(
        session_id=session.session_id,
        tokens_generated=session.tokens,
        allocated_credits=session.allocated_credits,
        expires_at=iso(session.expires_at(settings().session_timeout, settings().session_max_life)),
        ignored=api.ignored(body),
    )


@api.post("/api/streaming-sessions/finalize", access=SETTLERS, codes=SETTLING_CODES, any_query=True)
def finalize(body: Finalize) -> FinalizeView:
    """Charge what was really used and give the rest of the hold back; after a sweep, settle the difference."""
    report, particulars = _report(body, body.actual_tokens)
    if report is None:
        raise Invalid.field("actualTokens", "either this or usage is required")
    answer = settling.finalize(
        api.caller.user_id,
        body.session_id,
        report,
        success=body.success is not False,
        now=clock(),
        particulars=particulars,
    )
    session, settled = answer.session, answer.session.settled
    return FinalizeView(
        session_id=session.session_id,
        status=session.status,
        estimated_credits=session.estimated_credits,
        actual_credits=settled.credits,
        refund=settled.refund,
        overrun=settled.overrun,
        debt=settled.debt,
        usage=shown(settled.usage),
        late_credits=answer.session.late_credits,
        ignored=api.ignored(body),
        replayed=answer.replayed or None,
    )


@api.post("/api/streaming-sessions/abort", access=SETTLERS, codes=SETTLING_CODES, any_query=True)
def abort(body: Abort) -> AbortView:
    """Charge what was generated until the stream was given up, as finalize does."""
    report, particulars = _report(body, body.tokens_generated)
    answer = settling.abort(api.caller.user_id, body.session_id, report, now=clock(), particulars=particulars)
    settled = answer.session.settled
    return AbortView(
        session_id=answer.session.session_id,
        status="aborted",
        partial_credits=settled.credits,
        refund=settled.refund,
        overrun=settled.overrun,
        debt=settled.debt,
        usage=shown(settled.usage),
        late_credits=answer.session.late_credits,
        ignored=api.ignored(body),
        replayed=answer.replayed or None,
    )


@api.post("/api/streaming-sessions/<user_id>/<session_id>/end", access=SUPERVISORS, codes=("SESSION_NOT_ACTIVE",))
def force_end(user_id: UserInPath, session_id: IdentifierInPath, body: ForceEnd) -> SessionView:
    """End a user's active session as the sweeper would: charge its last heartbeat's tokens, give the rest back."""
    user = users.resolve(api.subject).user
    answer = settling.force_end(user.id, session_id, actor=api.caller.user_id, reason=body.reason, now=clock())
    return SessionView.of(answer.session)


@api.get("/api/streaming-sessions/active", access=WATCHERS, responses=PAGE)
def own_active(limit: ActiveLimit = MAX_ACTIVE_LISTED, cursor: Cursor = None) -> list[SessionView]:
    """The caller's active sessions, newest first; the header ``X-Next-Cursor`` leads to the next page."""
    return _page(store.active_of_user(api.caller.user_id, before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/active/all", access=ADMINS, responses=PAGE)
def all_active(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """Everybody's active sessions; the header ``X-Next-Cursor`` leads to the next page."""
    return _page(store.active_of_all(before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/active/<user_id>", access=ANYBODYS_WATCHERS, responses=PAGE)
def active_of(user_id: UserInPath, limit: ActiveLimit = MAX_ACTIVE_LISTED, cursor: Cursor = None) -> list[SessionView]:
    """A user's active sessions, newest first; the header ``X-Next-Cursor`` leads to the next page."""
    user = users.resolve(api.subject).user
    return _page(store.active_of_user(user.id, before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/recent", access=SUPERVISORS, responses=PAGE)
def all_recent(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """Everybody's sessions, active and ended, newest first."""
    return _page(store.recent_of_all(before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/recent/<user_id>", access=SUPERVISORS, responses=PAGE)
def recent_of(user_id: UserInPath, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """A user's sessions, active and ended, newest first."""
    user = users.resolve(api.subject).user
    return _page(store.recent_of_user(user.id, before=position_in(cursor), limit=limit))


def _report(body: Heartbeat | Finalize | Abort, tokens: int | None) -> tuple[Report | None, Particulars]:
    """What a body reports, and what it says beside that. Raises Invalid for a usage that its format does not have."""
    said = usage_in(body)
    usage, raw = said or (None, None)
    if usage and tokens is not None and not isinstance(body, Heartbeat):
        raise Invalid.field("usage", "instead of a number of tokens, not beside it")
    provider_usage = None if raw is None else ProviderUsage(body.usage_format or CANONICAL, kept(raw))
    if isinstance(body, Heartbeat):
        return Report.of(tokens, usage), Particulars()
    return Report.of(tokens, usage), Particulars(body.model_id, body.metadata or {}, provider_usage)


def _page(page: store.Page) -> list[SessionView]:
    sessions, position = page
    if position:
        api.add_header(NEXT_CURSOR_HEADER, cursor_of(position))
    return [SessionView.of(session) for session in sessions]


handler = handler_of(api)
