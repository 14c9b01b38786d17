"""Streaming sessions in requests and responses."""

from typing import Self

from accounting.domain.accounts import AccountId
from accounting.domain.sessions import Session
from accounting.times import iso
from accounting.web.problems import MAX_NAMED
from accounting.web.types import (
    IN_RUN,
    PAYER,
    PAYER_HINT,
    PAYER_UNUSED,
    AccountText,
    EstimatedTokens,
    Identifier,
    Instant,
    Metadata,
    ModelId,
    Reason,
    ReportModel,
    RequestModel,
    ResponseModel,
    StrictFlag,
    Tokens,
    left_out,
)
from accounting.web.usage import CanonicalUsage, UsageFormat, UsageObject, UsageView, Variant, usage_view


class Initialize(RequestModel):
    """A stream to hold credits for. The client chooses ``sessionId``, the idempotency key of the session's calls.

    Any id works. A lower-case UUIDv7 that is made when the stream begins saves a DynamoDB write unit.
    The estimate is the most that the stream can use: a number of tokens in ``estimatedTokens``, or the usage by class
    in ``estimatedUsage``.
    """

    session_id: Identifier
    model_id: ModelId
    estimated_tokens: EstimatedTokens | None = None
    estimated_usage: CanonicalUsage | None = None
    variant: Variant | None = None
    metadata: Metadata | None = None
    account_id: AccountText | None = PAYER
    run_id: Identifier | None = IN_RUN


class Heartbeat(ReportModel):
    """The usage of a stream so far: ``tokensGenerated``, ``usage``, or both.

    ``tokensGenerated`` counts output tokens if the session began with ``estimatedUsage``; otherwise, it counts all
    tokens. If a heartbeat has both ``tokensGenerated`` and ``usage``, the output is the larger of ``tokensGenerated``
    and the output in ``usage``.
    """

    session_id: Identifier
    tokens_generated: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    account_id: AccountText | None = PAYER_UNUSED


class Finalize(ReportModel):
    """What the stream really used: ``usage`` or ``actualTokens``.

    ``modelId`` is the model that served the stream, if it is not the session's model.
    """

    session_id: Identifier
    actual_tokens: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    model_id: ModelId | None = None
    metadata: Metadata | None = None
    success: StrictFlag | None = True
    account_id: AccountText | None = PAYER_HINT


class Abort(ReportModel):
    """What the stream used before it was stopped; by default what the last heartbeat reported."""

    session_id: Identifier
    tokens_generated: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    model_id: ModelId | None = None
    metadata: Metadata | None = None
    account_id: AccountText | None = PAYER_HINT


class ForceEnd(RequestModel):
    """Why the session is ended; the ledger keeps the reason."""

    reason: Reason


_IGNORED = left_out(f"Names in the request that the route does not know, sorted; at most {MAX_NAMED} of them")
_LATE = left_out("The charge for usage that arrived after the sweep, minus the sweep's charge; negative for a refund")


_USAGE = left_out("The usage by class; left out if only a number of tokens is known")


class InitializeView(ResponseModel):
    """The credits held for a session."""

    session_id: str
    allocated_credits: int
    estimated_credits: int
    expires_at: Instant
    message: str
    replayed: bool | None = left_out()


class HeartbeatView(ResponseModel):
    """The session after the heartbeat. If no other arrives, the sweeper may end the session at ``expiresAt``."""

    session_id: str
    tokens_generated: int
    allocated_credits: int
    expires_at: Instant
    ignored: list[str] | None = _IGNORED


class FinalizeView(ResponseModel):
    """What a session cost.

    ``overrun`` is the part that exceeded the hold; ``debt`` is the part of the overrun that no credits covered.
    """

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
    """A session. ``accountId`` is the account that pays. ``reportedTokens`` is what the last heartbeat reported.

    While the session is active, ``tokensGenerated`` and ``usage`` come from the last heartbeat, and ``usedCredits`` is
    their cost. When the session has ended, ``tokensGenerated`` and ``usage`` are the final ones, and ``usedCredits`` is
    the charge. ``servedModelId`` is the model that served the stream, if it is not ``modelId``.
    """

    session_id: str
    user_id: str
    account_id: AccountId
    model_id: str
    estimated_credits: int
    allocated_credits: int
    used_credits: int
    tokens_generated: int
    reported_tokens: int
    estimated_usage: UsageView | None = left_out("The estimate by class, if there is one")
    usage: UsageView | None = _USAGE
    variant: str | None = left_out("The price variant with which the session began")
    served_model_id: str | None = left_out()
    late_credits: int | None = _LATE
    status: str
    outcome: str | None
    started_at: Instant
    last_seen_at: Instant
    completed_at: Instant | None

    @classmethod
    def of(cls, session: Session) -> Self:
        return cls(
            session_id=session.session_id,
            user_id=session.user_id,
            account_id=session.account_id,
            model_id=session.model_id,
            estimated_credits=session.estimated_credits,
            allocated_credits=session.allocated_credits,
            used_credits=session.used_credits,
            tokens_generated=session.tokens if session.active else session.settled.tokens,
            reported_tokens=session.tokens,
            estimated_usage=usage_view(session.estimated_usage),
            usage=usage_view(session.reported_usage if session.active else session.settled.usage),
            variant=session.variant,
            served_model_id=None if session.active else session.settled.model_id,
            late_credits=session.late_credits,
            status=session.status,
            outcome=session.outcome,
            started_at=iso(session.started_at),
            last_seen_at=iso(session.last_seen_at),
            completed_at=iso(session.resolution.at) if session.resolution else None,
        )
