"""How sessions end: their caller settles them, a supervisor ends them, or the sweeper ends those that are stale.

If the usage of a swept session arrives later, it is settled late: the difference is charged or refunded.

``sessionId`` is the idempotency key of finalize and abort. The session stores the answer to the call that settles it. A
repeat of this call gets the stored answer, even if the wallet has changed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from accounting.domain import sessions as streaming
from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId, user_of
from accounting.domain.errors import SessionNotActive
from accounting.domain.ledger import SYSTEM, Cause
from accounting.domain.model_usage import NO_USAGE
from accounting.domain.service_credentials import acting_service
from accounting.domain.sessions import Outcome, Report, Session, Settled
from accounting.domain.usage import ProviderUsage, UsageRecord
from accounting.domain.wallet import Settlement, Wallet
from accounting.operations.commit import Snapshot, count_expired, ledger_writes, retry_until_committed
from accounting.operations.ids import new_id, new_salt
from accounting.operations.sessions import Answer, active, read_with_wallet
from accounting.operations.usage import usage_writes
from accounting.settings import settings
from accounting.store import budgets, prices, runs, users
from accounting.store import sessions as store
from accounting.store.table import Write, transact
from accounting.telemetry import count

SERVICES: dict[tuple[Outcome, bool], str] = {
    ("finalized", True): "chat-streaming",
    ("finalized", False): "chat-streaming-failed",
    ("aborted", False): "chat-streaming-aborted",
    ("swept", False): "chat-streaming-expired",
}
"""The service name in a settled session's usage record, by outcome and success."""


class Particulars(NamedTuple):
    """The values that a caller sends at a session's end besides the usage. They are stored in the usage record.

    ``model_id`` is the model that really served; None means the session's model. ``provider_usage`` is the provider's
    own usage object, which is not priced.
    """

    model_id: str | None = None
    metadata: Mapping[str, Any] = MappingProxyType({})
    provider_usage: ProviderUsage | None = None


NO_PARTICULARS = Particulars()


class End(NamedTuple):
    """How a session should end, and who ends it.

    Without a ``report``, the last heartbeat's report is charged. If no heartbeat arrived, a sweep may charge the
    estimate.
    """

    outcome: Outcome
    success: bool
    report: Report | None
    actor: str
    reason: str = ""
    particulars: Particulars = NO_PARTICULARS

    @classmethod
    def by_sweep(cls, actor: str, reason: str = "") -> "End":
        """The end of a session that nobody settled."""
        return cls("swept", success=False, report=None, actor=actor, reason=reason)


def finalize(  # noqa: PLR0913 what a session is settled with
    user_id: str,
    session_id: str,
    used: Report | int,
    *,
    success: bool,
    now: int,
    account_id: AccountId | None = None,
    actor: str | None = None,
    particulars: Particulars = NO_PARTICULARS,
) -> Answer:
    """Charge what was really used and give the rest of the hold back.

    After a sweep, charge or refund the difference between ``used`` and what the sweep charged, once. ``account_id`` is
    a guess at the account that pays; a wrong guess costs a second read. ``actor`` is the service that acts for the
    user, or by default the user. Raises ModelUnknown and Contention. Raises SessionNotActive if there is no such
    session, or if a call with other values has settled it.
    """
    end = End("finalized", success, Report.of_number(used), actor or user_id, particulars=particulars)
    return _settle_once(user_id, session_id, end, now, account_id)


def abort(
    user_id: str,
    session_id: str,
    used: Report | int | None,
    *,
    now: int,
    account_id: AccountId | None = None,
    actor: str | None = None,
    particulars: Particulars = NO_PARTICULARS,
) -> Answer:
    """Charge what was generated, by default what the last heartbeat reported, and give the rest of the hold back.

    Treats a swept session as ``finalize`` does, and raises the same errors.
    """
    report = None if used is None else Report.of_number(used)
    end = End("aborted", success=False, report=report, actor=actor or user_id, particulars=particulars)
    return _settle_once(user_id, session_id, end, now, account_id)


def force_end(user_id: str, session_id: str, *, actor: str, reason: str, now: int) -> Answer:
    """End an active session as the sweeper would, regardless of its age. The ledger gets ``actor`` and ``reason``.

    Charges ``Session.swept_report``. Raises Contention. Raises SessionNotActive if there is no such session, or if its
    caller has settled it.
    """

    def end(snapshot: Snapshot) -> Answer:
        session = snapshot.session
        if session is not None and session.outcome == "swept":
            return Answer(session, replayed=True)
        return Answer(_settle_as_swept(snapshot, active(session_id, session), End.by_sweep(actor, reason), now))

    return retry_until_committed(end, read=lambda: read_with_wallet(user_id, session_id))


def sweep(session: Session, *, now: int) -> Session | None:
    """End a session if it has expired: charge ``Session.swept_report``, and refund the rest.

    If heartbeats have kept the session alive, set its ``due_at`` to its new expiry instead. Returns the ended session,
    or None if this call did not end it. Of several calls at the same time, only one ends it. Raises Contention.
    """

    def end_or_reschedule(snapshot: Snapshot) -> Session | None:
        found = snapshot.session
        if found is None or not found.active:
            return None
        expires_at = found.expires_at(settings().session_timeout, settings().session_max_life)
        if expires_at > now:
            transact([store.replace(found, streaming.rescheduled(found, expires_at), untouched=True)])
            return None
        return _settle_as_swept(snapshot, found, End.by_sweep(SYSTEM), now)

    ids = session.user_id, session.session_id, session.account_id
    return retry_until_committed(end_or_reschedule, read=lambda: read_with_wallet(*ids))


def _settle_once(user_id: str, session_id: str, end: End, now: int, account_id: AccountId | None) -> Answer:
    def settle_or_replay(snapshot: Snapshot) -> Answer:
        session = snapshot.session
        if session is None:
            raise SessionNotActive(session_id)
        served = None if end.particulars.model_id == session.model_id else end.particulars.model_id
        if session.settled_by(end.outcome, end.report and end.report._replace(model_id=served), end.success):
            return Answer(session, replayed=True)
        if not session.awaits_late_usage:
            active(session_id, session)
        report = session.report_to_price(end.report or session.last_report)
        if served:
            ids, card = prices.card_since(served, session.started_at, session.variant)
            is_other_model = session.model_id not in ids  # ``served`` may be an alias of the session's model
            report = report._replace(model_id=served, card=card if is_other_model else None)
        return Answer(_settle(snapshot, session, report, end, now))

    return retry_until_committed(settle_or_replay, read=lambda: read_with_wallet(user_id, session_id, account_id))


def _settle_as_swept(snapshot: Snapshot, session: Session, end: End, now: int) -> Session:
    report = session.swept_report(charge_estimate=settings().sweep_charges_estimate)
    return _settle(snapshot, session, report, end, now)


def _settle(snapshot: Snapshot, session: Session, report: Report, end: End, now: int) -> Session:
    """Settle an active or swept session. One transaction makes all changes."""
    record_id = new_id(now)
    cause = Cause(
        end.actor,
        now,
        end.reason,
        new_salt(end.reason),
        session_id=session.session_id,
        usage_id=record_id,
        key_id=session.key_id,
        run_id=session.run_id,
    )
    settlement = _settlement(snapshot.wallet, session, session.cost(report), cause)
    ended = streaming.resolved(session, settlement, report, outcome=end.outcome, success=end.success, at=cause.at)
    actor = acting_service(end.actor, session.user_id)
    record = _usage_record(ended, record_id, {})._replace(actor=actor)
    metadata = {**store.metadata_of(session), **end.particulars.metadata}
    if (metadata or end.particulars.provider_usage) and not _is_of_erased_user(session, snapshot.wallet):
        record = _usage_record(ended, record_id, metadata)._replace(actor=actor)
        record = record._replace(provider_usage=end.particulars.provider_usage)
    transact(
        [
            store.replace(session, ended, untouched=end.report is None) if session.active else store.settle_late(ended),
            *ledger_writes(snapshot.wallet, settlement),
            *usage_writes(record),
            *_counter_writes(session, ended, record),
        ]
    )
    count_expired(snapshot.wallet, settlement.wallet)
    _count_settled(ended, record)
    return ended


def _counter_writes(session: Session, ended: Session, record: UsageRecord) -> list[Write]:
    """Writes that correct the sums of a session's budgets and its run when the session is settled.

    The sums include the session's hold or, after a sweep, the sweep's charge. The writes add the final charge
    minus this amount.
    """
    before = session.allocated_credits if session.active else session.settled.credits
    more = ended.settled.credits - before
    return [
        *budgets.add(session.spender, session.counters, more, record.at),
        *runs.settle(session.spender, record, more),
    ]


def _is_of_erased_user(session: Session, wallet: Wallet) -> bool:
    """Whether the session's user was erased. No texts about an erased user may be stored.

    If the user pays, the user's wallet says whether the user was erased. If an organization pays, the user's profile
    says so. The profile is read only for disabled users, because every erased user is disabled.
    """
    if user_of(session.account_id) is not None:
        return wallet.erased
    if not users.is_disabled(session.user_id):
        return False
    user = users.find(session.user_id)
    return user is not None and user.erased


def _settlement(wallet: Wallet, session: Session, cost: int, cause: Cause) -> Settlement:
    grace = settings().refund_grace
    if session.active:
        return decisions.settle(wallet, session.parts, cost, grace_milliseconds=grace, cause=cause)
    difference = cost - session.settled.credits
    return decisions.settle_late(wallet, difference, grace_milliseconds=grace, cause=cause)


def _usage_record(session: Session, record_id: str, caller_metadata: dict[str, Any]) -> UsageRecord:
    """The usage record of an ended session.

    After late usage, the record's tokens, usage and credits are the late numbers minus the numbers that the sweep
    recorded. If ``caller_metadata`` has a name that the service also sets, the service's value is stored.
    """
    settled, swept = session.settled, session.resolution if session.late else None
    metadata = {
        **caller_metadata,
        "sessionId": session.session_id,
        "tokens": settled.tokens - (swept.tokens if swept else 0),
        "estimatedCredits": session.estimated_credits,
        "duration": max(0, settled.at - session.started_at) / 1000,
    }
    if session.tokens:
        metadata["reportedTokens"] = session.tokens
    if swept:
        metadata["late"] = True
    return UsageRecord(
        id=record_id,
        account_id=session.account_id,
        user_id=session.user_id,
        service=SERVICES[settled.outcome, settled.success],
        operation=settled.model_id or session.model_id,
        credits=settled.credits - (swept.credits if swept else 0),
        at=settled.at,
        metadata=metadata,
        usage=settled.usage and settled.usage.minus((swept and swept.usage) or NO_USAGE),
        unclassified=settled.unclassified - (swept.unclassified if swept else 0),
        variant=session.variant,
        key_id=session.key_id,
        run_id=session.run_id,
    )


def _count_settled(session: Session, record: UsageRecord) -> None:
    settled: Settled = session.settled
    if session.late:
        count("SessionsSettledLate")
    else:
        count("SessionsResolved")
    count("CreditsSettled", record.credits)
    count("CreditsRefunded", settled.refund)
    count("CreditsOverrun", settled.overrun)
    count("CreditsDebt", settled.debt)
    count("CreditsReportedNotSettled", session.unsettled_credits)
