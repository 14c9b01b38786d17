"""A streaming session: what it holds and how it ends, exactly once. Imports ``errors``, ``pricing`` and ``wallet``."""

from dataclasses import dataclass, replace
from typing import Literal

from accounting.domain.errors import SessionNotActive
from accounting.domain.pricing import credits_for, tokens_within, with_buffer
from accounting.domain.wallet import Hold, Settlement, Slice, merge_slices

Status = Literal["active", "completed", "failed"]
Outcome = Literal["finalized", "aborted", "swept"]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a session ended. ``overrun`` is what exceeded the hold, ``debt`` what of it the wallet could not cover."""

    outcome: Outcome
    success: bool
    tokens: int
    credits: int
    refund: int
    overrun: int
    debt: int
    at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A stream and its hold. Times are epoch milliseconds; the price is the one that it began with.

    ``revision`` counts the changes of the hold, not the heartbeats that fit it. ``tokens`` is how far the last
    heartbeat said the stream is. ``due_at`` is when the sweeper looks at it again: it need not be in time with every
    heartbeat, ``last_seen_at`` is.
    """

    user_id: str
    session_id: str
    model_id: str
    price_e4: int
    estimated_tokens: int
    slices: tuple[Slice, ...]
    started_at: int
    last_seen_at: int
    due_at: int
    revision: int = 1
    tokens: int = 0
    resolution: Settled | None = None

    @property
    def active(self) -> bool:
        """Whether the session still holds credits."""
        return self.resolution is None

    @property
    def status(self) -> Status:
        """``active``, then ``completed`` or ``failed``."""
        if self.resolution is None:
            return "active"
        return "completed" if self.resolution.success else "failed"

    @property
    def outcome(self) -> Outcome | None:
        """How the session ended."""
        return self.resolution.outcome if self.resolution else None

    @property
    def settled(self) -> Settled:
        """How the session ended. Raises LookupError while it is active."""
        if self.resolution is None:
            raise LookupError(f"session {self.session_id} is active")
        return self.resolution

    @property
    def estimated_credits(self) -> int:
        """What the estimate costs."""
        return self.cost(self.estimated_tokens)

    @property
    def initial_credits(self) -> int:
        """What was held at first: the estimate with the buffer."""
        return with_buffer(self.estimated_credits)

    @property
    def allocated_credits(self) -> int:
        """What is held; of an ended session, what was."""
        return sum(part.credits for part in self.slices)

    @property
    def fitting_tokens(self) -> int:
        """The most tokens that the hold covers."""
        return tokens_within(self.allocated_credits, self.price_e4)

    @property
    def used_credits(self) -> int:
        """What was charged; of an active session, what the tokens so far would be."""
        return self.resolution.credits if self.resolution else self.cost(self.tokens)

    def cost(self, tokens: int) -> int:
        """What ``tokens`` cost in this session."""
        return credits_for(tokens, self.price_e4)

    def same_request(self, model_id: str, estimated_tokens: int) -> bool:
        """Whether an initialize with these values repeats the one that opened the session."""
        return (self.model_id, self.estimated_tokens) == (model_id, estimated_tokens)

    def resolved_by(self, outcome: Outcome, tokens: int, success: bool) -> bool:
        """Whether a finalize or abort with these values repeats the one that ended the session."""
        ended = self.resolution
        return ended is not None and (ended.outcome, ended.tokens, ended.success) == (
            outcome,
            tokens,
            success,
        )


def raised(session: Session, more: Hold, tokens: int, at: int) -> Session:
    """The session after its hold was raised for a stream that has come to ``tokens``."""
    return replace(
        session,
        slices=merge_slices(session.slices, more.slices),
        revision=session.revision + 1,
        tokens=max(tokens, session.tokens),
        last_seen_at=max(at, session.last_seen_at),
    )


def rescheduled(session: Session, due_at: int) -> Session:
    """The session, to be looked at again at ``due_at``."""
    return replace(session, due_at=due_at)


def resolved(
    session: Session, settlement: Settlement, *, outcome: Outcome, tokens: int, success: bool, at: int
) -> Session:
    """The session as it ends. Raises SessionNotActive when it has ended already."""
    if not session.active:
        raise SessionNotActive(session.session_id, session.status, session.outcome)
    return replace(
        session,
        resolution=Settled(
            outcome=outcome,
            success=success,
            tokens=tokens,
            credits=session.cost(tokens),
            refund=settlement.refund,
            overrun=settlement.overrun,
            debt=settlement.debt,
            at=at,
        ),
    )
