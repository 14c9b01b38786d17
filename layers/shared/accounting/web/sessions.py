"""Streaming sessions in requests and responses. Imports the field types and the domain."""

from typing import Self

from accounting.domain.sessions import Session
from accounting.times import iso
from accounting.web.problems import MAX_NAMED
from accounting.web.types import (
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
from accounting.web.usage import CanonicalUsage, UsageFormat, UsageObject, UsageView, Variant, shown


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
