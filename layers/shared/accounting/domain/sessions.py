"""A streaming session: the credits that it holds, and how it ends exactly once.

A session counts tokens in one of two ways: as a **number** of all tokens, priced at one rate, or as **output** tokens,
priced together with the known input tokens, each class of tokens at its own rate. A session that began with
``estimated_usage`` counts output tokens. A session that began with ``estimated_tokens`` counts a number until a
heartbeat reports a usage, and output tokens from then on.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.budgets import Counter, Spender
from accounting.domain.errors import SessionNotActive
from accounting.domain.lots import Lot, merged
from accounting.domain.model_usage import NO_USAGE, Usage
from accounting.domain.pricing import Estimate
from accounting.domain.rates import RateCard
from accounting.domain.wallet import Hold, Settlement

FORMAT = 1
"""The format in which this version writes a session."""

Status = Literal["active", "completed", "failed"]
Outcome = Literal["finalized", "aborted", "swept"]
"""``swept``: the sweeper or a supervisor ended the session, not its caller."""


class Report(NamedTuple):
    """A caller's report of what a session has used so far: ``tokens``, and the usage if it is known.

    ``model_id`` is the model that really served, if it is not the session's model. ``card`` has the rates of
    ``model_id``. ``output_as_sent`` is the output in the usage that the caller sent; ``tokens`` may be larger.
    """

    tokens: int
    usage: Usage | None = None
    model_id: str | None = None
    card: RateCard | None = None
    output_as_sent: int | None = None

    @property
    def usage_output(self) -> int:
        """The output in the caller's usage. Usages are cumulative, so a usage with more output is newer."""
        return self.tokens if self.output_as_sent is None else self.output_as_sent

    @classmethod
    def of_number(cls, used: "Report | int") -> "Report":
        """``used`` itself if it is a report, otherwise a report of this number of tokens."""
        return cls(used) if isinstance(used, int) else used

    @classmethod
    def of(cls, tokens: int | None, usage: Usage | None) -> "Report | None":
        """A report of a number, a usage, or both; None if both are None.

        If both are given, the output is the larger of ``tokens`` and the usage's output.
        """
        if usage is None:
            return None if tokens is None else cls(tokens)
        output = max(usage.output, tokens or 0)
        return cls(output, usage.with_output(output), output_as_sent=usage.output)


class Settled(NamedTuple):
    """How a session was settled: what its ``tokens`` cost, and how that changed its hold and the wallet.

    ``usage`` has the session's tokens by class, if they are known. ``model_id`` is the model that served, if it is not
    the session's model. ``refund`` is the credits that came back. ``overrun`` is the credits used beyond the hold or,
    for late usage (reported after a sweep), beyond the sweep's charge. ``debt`` is the part of the overrun that the
    wallet could not cover.
    """

    outcome: Outcome
    success: bool
    tokens: int
    credits: int
    refund: int
    overrun: int
    debt: int
    at: int
    usage: Usage | None = None
    model_id: str | None = None

    @property
    def unclassified(self) -> int:
        """Tokens that are known only by number."""
        return self.tokens if self.usage is None else 0


class Session(NamedTuple):
    """A stream of ``user_id``, and the credits of ``account_id`` that the stream holds.

    Times are epoch milliseconds. ``card`` has the rates with which the session began. ``parts`` are the parts of lots
    that the session holds. ``initial_credits`` and ``initial_expires_at`` are what initialize answered, so that a
    repeat gets the same answer. ``key_id`` is the API key that opened the session, if any. ``run_id`` is the run that
    the session counts for, if any. ``counters`` are the budgets' counters that include the session's credits.

    ``tokens`` is what the heartbeats reported: output tokens if there is a ``usage``, else the number of all tokens.
    ``usage`` is the newest reported usage or, before the first, the estimate's inputs. The session's output is
    ``tokens``, not the output in ``usage``. ``usage_output`` is the output in the newest reported usage, -1 before the
    first. ``fitting_tokens`` is the most tokens that a heartbeat may report before the hold must be raised.
    ``revision`` begins at 1, and rises with each heartbeat that changed the inputs or exceeded the hold.

    ``due_at`` is when the sweeper next looks at the session. A heartbeat moves ``last_seen_at``, but not ``due_at``.
    ``resolution`` is the settlement that ended the session. ``late`` is the settlement for late usage, after a sweep.
    If a newer release of the service wrote the session, ``format`` is that release's format, and ``more`` has the
    attributes that this release does not know. This release keeps both unchanged.
    """

    user_id: str
    session_id: str
    account_id: AccountId
    model_id: str
    card: RateCard
    estimated_tokens: int
    parts: tuple[Lot, ...]
    started_at: int
    last_seen_at: int
    due_at: int
    initial_credits: int
    initial_expires_at: int
    estimated_usage: Usage | None = None
    variant: str | None = None
    usage: Usage | None = None
    usage_output: int = -1
    fitting_tokens: int = 0
    revision: int = 1
    tokens: int = 0
    resolution: Settled | None = None
    late: Settled | None = None
    has_metadata: bool = False
    counters: tuple[Counter, ...] = ()
    key_id: str | None = None
    run_id: str | None = None
    format: int = FORMAT
    more: Mapping[str, Any] = MappingProxyType({})

    @property
    def spender(self) -> Spender:
        return Spender(self.user_id, self.account_id, self.key_id, self.run_id)

    @property
    def active(self) -> bool:
        return self.resolution is None

    @property
    def status(self) -> Status:
        if self.resolution is None:
            return "active"
        return "completed" if self.settled.success else "failed"

    @property
    def outcome(self) -> Outcome | None:
        """How the session ended; None while it is active."""
        return self.resolution.outcome if self.resolution else None

    @property
    def settled(self) -> Settled:
        """The latest settlement. Raises LookupError while the session is active."""
        settled = self.late or self.resolution
        if settled is None:
            raise LookupError(f"session {self.session_id} is active")
        return settled

    @property
    def awaits_late_usage(self) -> bool:
        """Whether the session was swept, and the caller has not reported late usage yet."""
        return self.outcome == "swept" and self.late is None

    @property
    def late_credits(self) -> int | None:
        """The charge for late usage minus the charge of the sweep, in credits. None without late usage."""
        return None if self.resolution is None or self.late is None else self.late.credits - self.resolution.credits

    @property
    def estimated_credits(self) -> int:
        return self.estimate.credits

    @property
    def estimate(self) -> Estimate:
        """The estimate that the session was opened with, at the session's rates."""
        return Estimate(self.card, self.estimated_tokens, self.estimated_usage)

    @property
    def allocated_credits(self) -> int:
        """The credits that the session holds, or held before it ended."""
        return sum(part.credits for part in self.parts)

    @property
    def has_heartbeats(self) -> bool:
        return self.tokens > 0 or self.last_seen_at > self.started_at

    @property
    def reported_usage(self) -> Usage | None:
        """The usage until the last heartbeat; None if the session counts a number.

        If the session began with a usage, this is ``NO_USAGE`` before the first heartbeat.
        """
        if self.usage is None:
            return None
        return self.usage.with_output(self.tokens) if self.has_heartbeats else NO_USAGE

    @property
    def last_report(self) -> Report:
        """The heartbeats' newest values, as one report."""
        return Report(self.tokens, self.reported_usage)

    @property
    def reported_credits(self) -> int:
        """The cost of what the heartbeats reported, in credits."""
        return self.cost(self.last_report)

    @property
    def used_credits(self) -> int:
        """What the session was charged or, while it is active, what its reports so far would cost."""
        return self.reported_credits if self.active else self.settled.credits

    @property
    def unsettled_credits(self) -> int:
        """The credits that the heartbeats' reports cost beyond the ended session's charge, or 0."""
        return max(0, self.reported_credits - self.settled.credits)

    def expires_at(self, timeout: int, max_life: int) -> int:
        """When the sweeper may end the session. ``timeout`` and ``max_life`` are in milliseconds."""
        return min(self.last_seen_at + timeout, self.started_at + max_life)

    def report_to_price(self, report: Report) -> Report:
        """A final report as the session prices it. A report with a usage stays as it is.

        In a session that began with a usage, a reported number means output tokens, and the known inputs are added. In
        a session that began with a number, a reported number means all tokens and stays a number, even after a usage
        was reported.
        """
        if report.usage is not None or self.usage is None or self.estimated_usage is None:
            return report
        return report._replace(usage=self.usage.with_output(report.tokens))

    def counted(self, report: Report) -> Report:
        """A heartbeat's report, with the ``tokens`` that this session counts: all tokens or output tokens.

        A session that began with a number counts output tokens after a heartbeat has reported a usage. A number that is
        reported later still means all tokens, so the usage's input is subtracted from the number.
        """
        if report.usage is not None or self.usage is None or self.estimated_usage is not None:
            return report
        return report._replace(tokens=max(0, report.tokens - self.usage.input))

    def cost(self, report: Report) -> int:
        """What a report costs in credits, at the rates of the model that served."""
        card = report.card or self.card
        return card.cost_of_number(report.tokens) if report.usage is None else card.cost(report.usage)

    def swept_report(self, *, charge_estimate: bool) -> Report:
        """What a sweep charges: the heartbeats' last report.

        If no heartbeat has arrived, a sweep charges nothing or, with ``charge_estimate``, the estimate.
        """
        if charge_estimate and not self.has_heartbeats:
            estimate = self.estimated_usage
            return Report(self.estimated_tokens) if estimate is None else Report(estimate.output, estimate)
        return self.last_report

    def same_request(
        self,
        model_id: str,
        estimated_tokens: int,
        estimated_usage: Usage | None = None,
        variant: str | None = None,
    ) -> bool:
        """Whether an initialize with these values repeats the one that opened the session."""
        opened = self.model_id, self.estimated_tokens, self.estimated_usage, self.variant
        return opened == (model_id, estimated_tokens, estimated_usage, variant)

    def settled_by(self, outcome: Outcome, report: Report | None, success: bool) -> bool:
        """Whether a finalize or abort with these values repeats the one that settled the session.

        If ``report`` is None, only ``outcome`` and ``success`` are compared.
        """
        if self.active:
            return False
        known = self.settled
        if (known.outcome, known.success) != (outcome, success):
            return False
        if report is None:
            return True
        repeated = self.report_to_price(report)
        return (known.tokens, known.usage, known.model_id) == (repeated.tokens, repeated.usage, repeated.model_id)

    def accepts_usage_of(self, report: Report) -> bool:
        """Whether a heartbeat reports a usage with at least as much output as the newest known usage.

        A usage with less output is older, so it is ignored.
        """
        return report.usage is not None and report.usage_output >= self.usage_output

    def is_repriced_by(self, report: Report) -> bool:
        """Whether a heartbeat's usage changes more than the output tokens, so that the session must be priced again."""
        known = self.usage and self.usage.with_output(report.tokens)
        return self.accepts_usage_of(report) and report.usage != known


def opened(session: Session, hold: Hold) -> Session:
    """A new session with its first hold."""
    return fitting(session._replace(parts=hold.parts, initial_credits=sum(part.credits for part in hold.parts)))


def fitting(session: Session) -> Session:
    """The session with ``fitting_tokens`` computed again, from its hold, its usage and its tokens."""
    held = session.allocated_credits
    if session.usage is None:
        return session._replace(fitting_tokens=session.card.number_within(held))
    usage = session.usage.with_output(session.tokens)
    return session._replace(fitting_tokens=session.card.fitting_output(held, usage))


def reported(session: Session, report: Report, at: int) -> Session:
    """The session after a heartbeat that changes the session's inputs or exceeds the hold. The hold stays the same."""
    counts_output_now = session.usage is None and report.usage is not None
    after = session._replace(
        usage=report.usage if session.accepts_usage_of(report) else session.usage,
        usage_output=report.usage_output if session.accepts_usage_of(report) else session.usage_output,
        tokens=report.tokens if counts_output_now else max(report.tokens, session.tokens),
        revision=session.revision + 1,
        last_seen_at=max(at, session.last_seen_at),
    )
    return fitting(after)


def raised(session: Session, more: Hold) -> Session:
    """The session after its hold was raised by ``more``."""
    return fitting(session._replace(parts=merged(session.parts, more.parts)))


def rescheduled(session: Session, due_at: int) -> Session:
    return session._replace(due_at=due_at)


def resolved(
    session: Session, settlement: Settlement, report: Report, *, outcome: Outcome, success: bool, at: int
) -> Session:
    """The session after it ended, or after late usage corrected a sweep.

    A session that has ended accepts only the late usage that it awaits. Anything else raises SessionNotActive.
    """
    settled = Settled(
        outcome=outcome,
        success=success,
        tokens=report.tokens,
        credits=session.cost(report),
        refund=settlement.refund,
        overrun=settlement.overrun,
        debt=settlement.debt,
        at=at,
        usage=report.usage,
        model_id=report.model_id,
    )
    if session.active:
        return session._replace(resolution=settled)
    if session.awaits_late_usage and outcome != "swept":
        return session._replace(late=settled)
    raise SessionNotActive(session.session_id, session.status, session.outcome)
