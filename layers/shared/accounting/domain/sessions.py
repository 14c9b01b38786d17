"""A streaming session: what it holds and how it ends, exactly once. Imports ``errors``, ``pricing`` and ``wallet``."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from accounting.domain.accounts import AccountId
from accounting.domain.errors import SessionNotActive
from accounting.domain.lots import Lot, merged
from accounting.domain.pricing import credits_for, tokens_within
from accounting.domain.wallet import Hold, Settlement

FORMAT = 1
"""The format of a session that this version makes."""

Status = Literal["active", "completed", "failed"]
Outcome = Literal["finalized", "aborted", "swept"]


@dataclass(frozen=True, slots=True)
class Settled:
    """How a session was settled: what it cost for ``tokens``, and what that did to its hold and to the wallet.

    ``refund`` came back, ``overrun`` exceeded what was held or charged before, ``debt`` of it the wallet could not
    cover.
    """

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
    """A stream of ``user_id`` and its hold on the credits of ``account_id``.

    Times are epoch milliseconds; the price is the one that it began with. ``initial_credits`` and
    ``initial_expires_at`` are what its opening answered, so that a repeat answers the same. ``revision`` counts the
    changes of the hold, not the heartbeats that fit it. ``tokens`` is how many the last heartbeat reported. ``due_at``
    is when the sweeper looks at it again; heartbeats do not move it, they move ``last_seen_at``. ``late`` is the
    settlement that arrived after the sweep had ended the session. ``format`` and ``more`` are what a newer version
    wrote; this one hands them on.
    """

    user_id: str
    session_id: str
    account_id: AccountId
    model_id: str
    price_e4: int
    estimated_tokens: int
    parts: tuple[Lot, ...]
    started_at: int
    last_seen_at: int
    due_at: int
    initial_credits: int
    initial_expires_at: int
    revision: int = 1
    tokens: int = 0
    resolution: Settled | None = None
    late: Settled | None = None
    has_metadata: bool = False
    format: int = FORMAT
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def active(self) -> bool:
        """Whether the session still holds credits."""
        return self.resolution is None

    @property
    def status(self) -> Status:
        """``active``, then ``completed`` or ``failed``."""
        if self.resolution is None:
            return "active"
        return "completed" if self.settled.success else "failed"

    @property
    def outcome(self) -> Outcome | None:
        """How the session ended."""
        return self.resolution.outcome if self.resolution else None

    @property
    def settled(self) -> Settled:
        """The last word on what the session cost. Raises LookupError while it is active."""
        settled = self.late or self.resolution
        if settled is None:
            raise LookupError(f"session {self.session_id} is active")
        return settled

    @property
    def awaits_late_usage(self) -> bool:
        """Whether the sweep ended the session, and nobody has settled it since."""
        return self.outcome == "swept" and self.late is None

    @property
    def late_credits(self) -> int | None:
        """What the late settlement charged beyond the sweep's, negative if less; None without one."""
        return None if self.resolution is None or self.late is None else self.late.credits - self.resolution.credits

    @property
    def estimated_credits(self) -> int:
        """What the estimate costs."""
        return self.cost(self.estimated_tokens)

    @property
    def allocated_credits(self) -> int:
        """What is held; of an ended session, what was."""
        return sum(part.credits for part in self.parts)

    @property
    def fitting_tokens(self) -> int:
        """The most tokens that the hold covers."""
        return tokens_within(self.allocated_credits, self.price_e4)

    @property
    def used_credits(self) -> int:
        """What was charged; of an active session, what the tokens so far would be."""
        return self.cost(self.tokens) if self.active else self.settled.credits

    @property
    def unsettled_report(self) -> int:
        """Credits by which the last heartbeat's tokens cost more than what an ended session was charged; 0 if none."""
        return max(0, self.cost(self.tokens) - self.settled.credits)

    def expires_at(self, timeout: int, max_life: int) -> int:
        """When the sweeper may end the session: ``timeout`` after its last sign of life, ``max_life`` after its start.

        Both are in milliseconds.
        """
        return min(self.last_seen_at + timeout, self.started_at + max_life)

    def cost(self, tokens: int) -> int:
        """What ``tokens`` cost in this session."""
        return credits_for(tokens, self.price_e4)

    def same_request(self, model_id: str, estimated_tokens: int) -> bool:
        """Whether an initialize with these values repeats the one that opened the session."""
        return (self.model_id, self.estimated_tokens) == (model_id, estimated_tokens)

    def settled_by(self, outcome: Outcome, tokens: int | None, success: bool) -> bool:
        """Whether a finalize or abort with these values repeats the one that settled the session.

        Without ``tokens`` it repeats one with any number.
        """
        if self.active:
            return False
        known = self.settled
        return (known.outcome, known.success) == (outcome, success) and tokens in (None, known.tokens)


def raised(session: Session, more: Hold, tokens: int, at: int) -> Session:
    """The session after its hold was raised for a stream that has come to ``tokens``."""
    return replace(
        session,
        parts=merged(session.parts, more.parts),
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
    """The session as it ends, or as late usage settles it after the sweep. Raises SessionNotActive otherwise."""
    settled = Settled(
        outcome=outcome,
        success=success,
        tokens=tokens,
        credits=session.cost(tokens),
        refund=settlement.refund,
        overrun=settlement.overrun,
        debt=settlement.debt,
        at=at,
    )
    if session.active:
        return replace(session, resolution=settled)
    if session.awaits_late_usage and outcome != "swept":
        return replace(session, late=settled)
    raise SessionNotActive(session.session_id, session.status, session.outcome)
