"""Streaming sessions: the calls of a chat proxy before, during and after a stream, and lists of sessions."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import Field

from accounting.domain.errors import Invalid, SessionNotActive
from accounting.domain.model_usage import Usage
from accounting.domain.sessions import Report
from accounting.domain.usage import ProviderUsage
from accounting.domain.usage_formats import CANONICAL, read
from accounting.operations import previews, settling
from accounting.operations import sessions as operations
from accounting.operations.settling import NO_PARTICULARS, Particulars
from accounting.settings import settings
from accounting.store import session_lists, users
from accounting.store import sessions as store
from accounting.store.session_lists import MAX_ACTIVE_LISTED
from accounting.times import clock, iso
from accounting.web.access import ADMINS, SUPERVISORS, Access, Disabled, Who
from accounting.web.api import Api, handler_of
from accounting.web.paging import (
    DEFAULT_LIMIT,
    NEXT_CURSOR_HEADER,
    PAGE,
    Cursor,
    Limit,
    cursor_of,
    position_by_user_in,
    position_in,
)
from accounting.web.previews import AskPreview, PreviewView, spender_in
from accounting.web.refusals import SPENDING_CODES
from accounting.web.service_key import require_service_key
from accounting.web.sessions import (
    Abort,
    AbortView,
    Finalize,
    FinalizeView,
    ForceEnd,
    Heartbeat,
    HeartbeatView,
    Initialize,
    InitializeView,
    SessionView,
)
from accounting.web.types import (
    ONLY_DIGITS,
    IdentifierInPath,
    UserInPath,
)
from accounting.web.usage import storable, usage_in, usage_view

OPENED: dict[int, OpenAPIResponse] = {
    201: {"description": "The session is open"},
    200: {"description": "The session was open already, and has not changed"},
}
ActiveLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_ACTIVE_LISTED), ONLY_DIGITS], Query()]

OPENERS = Access(
    Who.USERS, "sessions:write", Disabled.OPERATION_DECIDES, require_service_key, introduce=users.introduce
)
HOLDERS = Access(Who.USERS, "sessions:write", Disabled.OPERATION_DECIDES, require_service_key)
SETTLING_CODES = ("MODEL_UNKNOWN", "SESSION_NOT_ACTIVE")
SETTLERS = Access(Who.USERS, "sessions:write", Disabled.SERVED, require_service_key)
WATCHERS = Access(Who.USERS, "sessions:write")
PREVIEWERS = Access(Who.SPENDERS, "sessions:write")
ANYBODYS_WATCHERS = Access(Who.SELF_OR_SUPERVISORS, "sessions:write")

api = Api()


@api.post(
    "/api/streaming-sessions/initialize",
    status_code=201,
    access=OPENERS,
    codes=("MODEL_UNKNOWN", *SPENDING_CODES, "SESSION_EXISTS", "SESSION_ENDED"),
    responses=OPENED,
)
def initialize(body: Initialize) -> tuple[InitializeView, int]:
    """Open a session: hold credits for the estimate of a stream, plus a buffer.

    The client chooses ``sessionId``. A repeat with the same values answers 200 with the first answer.
    """
    tokens, usage = _estimate_in(body)
    answer = operations.initialize(
        api.caller.user_id,
        body.session_id,
        body.model_id,
        tokens,
        now=clock(),
        actor=api.caller.actor,
        metadata=body.metadata,
        estimated_usage=usage,
        variant=body.variant,
        account_id=api.caller.account(body.account_id),
        key_id=api.caller.key_id,
        run_id=body.run_id,
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


def _estimate_in(body: Initialize | AskPreview) -> tuple[int, Usage | None]:
    """The tokens of the estimate, and the estimated usage if the body has one.

    Raises Invalid if the body has both ``estimatedTokens`` and ``estimatedUsage``, or neither.
    """
    usage = None if body.estimated_usage is None else read(CANONICAL, body.estimated_usage, "estimatedUsage")
    if (usage is None) == (body.estimated_tokens is None):
        raise Invalid.field("estimatedTokens", "either this or estimatedUsage is required")
    return body.estimated_tokens or (usage.output if usage else 0), usage


@api.post(
    "/api/streaming-sessions/heartbeat",
    access=HOLDERS,
    codes=(*SPENDING_CODES, "SESSION_NOT_ACTIVE"),
    any_query=True,
)
def heartbeat(body: Heartbeat) -> HeartbeatView:
    """Report the usage of a stream so far, and raise the hold if the usage exceeds it."""
    report, _ = _report_in(body, body.tokens_generated)
    if report is None:
        raise Invalid.field("tokensGenerated", "either this or usage is required")
    _require_session_for_key(body.session_id)
    session = operations.heartbeat(api.caller.user_id, body.session_id, report, now=clock(), actor=api.caller.actor)
    return HeartbeatView(
        session_id=session.session_id,
        tokens_generated=session.tokens,
        allocated_credits=session.allocated_credits,
        expires_at=iso(session.expires_at(settings().session_timeout, settings().session_max_life)),
        ignored=api.ignored(body),
    )


@api.post("/api/streaming-sessions/finalize", access=SETTLERS, codes=SETTLING_CODES, any_query=True)
def finalize(body: Finalize) -> FinalizeView:
    """Settle a session: charge what the stream really used, and give the rest of the hold back.

    If the sweeper has already ended the session, this charges or refunds the difference.
    """
    report, particulars = _report_in(body, body.actual_tokens)
    if report is None:
        raise Invalid.field("actualTokens", "either this or usage is required")
    _require_session_for_key(body.session_id)
    answer = settling.finalize(
        api.caller.user_id,
        body.session_id,
        report,
        success=body.success is not False,
        now=clock(),
        account_id=body.account_id or api.caller.key_account,
        actor=api.caller.actor,
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
        usage=usage_view(settled.usage),
        late_credits=answer.session.late_credits,
        ignored=api.ignored(body),
        replayed=answer.replayed or None,
    )


@api.post("/api/streaming-sessions/abort", access=SETTLERS, codes=SETTLING_CODES, any_query=True)
def abort(body: Abort) -> AbortView:
    """Settle a session whose stream was stopped early: charge what it used until then.

    If the body has neither ``tokensGenerated`` nor ``usage``, this charges what the last heartbeat reported.
    """
    report, particulars = _report_in(body, body.tokens_generated)
    _require_session_for_key(body.session_id)
    answer = settling.abort(
        api.caller.user_id,
        body.session_id,
        report,
        now=clock(),
        account_id=body.account_id or api.caller.key_account,
        actor=api.caller.actor,
        particulars=particulars,
    )
    settled = answer.session.settled
    return AbortView(
        session_id=answer.session.session_id,
        status="aborted",
        partial_credits=settled.credits,
        refund=settled.refund,
        overrun=settled.overrun,
        debt=settled.debt,
        usage=usage_view(settled.usage),
        late_credits=answer.session.late_credits,
        ignored=api.ignored(body),
        replayed=answer.replayed or None,
    )


@api.post("/api/streaming-sessions/<user_id>/<session_id>/end", access=SUPERVISORS, codes=("SESSION_NOT_ACTIVE",))
def force_end(user_id: UserInPath, session_id: IdentifierInPath, body: ForceEnd) -> SessionView:
    """End a user's active session as the sweeper would: charge what its last heartbeat reported, refund the rest.

    If no heartbeat arrived, the template's parameter ``SweepCharges`` decides: this charges nothing, or the estimate.
    """
    user = users.resolve(api.subject).user
    answer = settling.force_end(user.id, session_id, actor=api.caller.user_id, reason=body.reason, now=clock())
    return SessionView.of(answer.session)


@api.post(
    "/api/streaming-sessions/preview",
    access=PREVIEWERS,
    codes=("MODEL_UNKNOWN", "USER_NOT_FOUND", "MEMBER_NOT_FOUND", "API_KEY_NOT_FOUND"),
)
def preview(body: AskPreview) -> PreviewView:
    """Show whether a session would be opened now, and what each limit has left. No credits are held.

    The answer is what ``initialize`` would decide now for the same values. To ask about another user, send ``userId``.
    Supervisors and administrators may ask about anybody. The owners and admins of an organization may ask about its
    members if ``accountId`` is the organization's account.
    """
    tokens, usage = _estimate_in(body)
    now = clock()
    spender, refused = spender_in(body, api.caller, now)
    return PreviewView.of(
        previews.preview(spender, body.model_id, tokens, usage=usage, variant=body.variant, refused=refused, now=now)
    )


@api.get("/api/streaming-sessions/active", access=WATCHERS, responses=PAGE)
def own_active(limit: ActiveLimit = MAX_ACTIVE_LISTED, cursor: Cursor = None) -> list[SessionView]:
    """List the caller's active sessions, newest first. The header ``X-Next-Cursor`` has the next page's cursor.

    With an API key for one account, the list has only the sessions that this account pays for. A page may then be
    shorter than ``limit``, or empty, although more sessions follow.
    """
    sessions, position = session_lists.active_of_user(api.caller.user_id, before=position_in(cursor), limit=limit)
    only = api.caller.key_account
    return _page(([session for session in sessions if only in (None, session.account_id)], position))


@api.get("/api/streaming-sessions/active/all", access=ADMINS, responses=PAGE)
def all_active(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """List the active sessions of all users, sorted by user.

    The header ``X-Next-Cursor`` has the next page's cursor.
    """
    return _page(session_lists.active_of_all(before=position_by_user_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/active/<user_id>", access=ANYBODYS_WATCHERS, responses=PAGE)
def active_of(user_id: UserInPath, limit: ActiveLimit = MAX_ACTIVE_LISTED, cursor: Cursor = None) -> list[SessionView]:
    """List a user's active sessions, newest first. The header ``X-Next-Cursor`` has the next page's cursor."""
    user = users.resolve(api.subject).user
    return _page(session_lists.active_of_user(user.id, before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/recent", access=SUPERVISORS, responses=PAGE)
def all_recent(limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """List the sessions of all users, active and ended, newest first."""
    return _page(session_lists.recent_of_all(before=position_in(cursor), limit=limit))


@api.get("/api/streaming-sessions/recent/<user_id>", access=SUPERVISORS, responses=PAGE)
def recent_of(user_id: UserInPath, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> list[SessionView]:
    """List a user's sessions, active and ended, newest first.

    A session is sorted by ``startedAt``. If its id is a UUIDv7 whose time is at most 10 seconds before or after
    ``startedAt``, the session is sorted by the time in the id instead. A page may be shorter than ``limit`` although
    ``X-Next-Cursor`` shows that more sessions follow.
    """
    user = users.resolve(api.subject).user
    return _page(session_lists.recent_of_user(user.id, now=clock(), before=position_in(cursor), limit=limit))


def _require_session_for_key(session_id: str) -> None:
    """If the API key is for one account only, refuse a session of another account as if it did not exist."""
    only = api.caller.key_account
    if only is not None and (known := store.get(api.caller.user_id, session_id)) and known.account_id != only:
        raise SessionNotActive(session_id)


def _report_in(body: Heartbeat | Finalize | Abort, tokens: int | None) -> tuple[Report | None, Particulars]:
    """The usage that a body reports, and the body's other values.

    Raises Invalid if the usage does not fit its format, or if a finalize or abort has both usage and a token count.
    """
    usage, raw = usage_in(body) or (None, None)
    if usage and tokens is not None and not isinstance(body, Heartbeat):
        raise Invalid.field("usage", "send either this or a number of tokens")
    provider_usage = None if raw is None else ProviderUsage(body.usage_format or CANONICAL, storable(raw))
    if isinstance(body, Heartbeat):
        return Report.of(tokens, usage), NO_PARTICULARS
    return Report.of(tokens, usage), Particulars(body.model_id, body.metadata or {}, provider_usage)


def _page(page: session_lists.Page) -> list[SessionView]:
    sessions, position = page
    if position:
        api.add_header(NEXT_CURSOR_HEADER, cursor_of(position))
    return [SessionView.of(session) for session in sessions]


handler = handler_of(api)
