"""Opens streaming sessions, each with a hold, and raises the hold while the stream runs.

``sessionId`` is the idempotency key of initialize: a repeat gets the first answer, even if the price or the wallet has
changed since.
"""

from typing import Any, NamedTuple

from accounting.domain import sessions as streaming
from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId, personal
from accounting.domain.budgets import Spender
from accounting.domain.errors import (
    AccountingError,
    Invalid,
    ModelUnknown,
    SessionEnded,
    SessionExists,
    SessionNotActive,
)
from accounting.domain.ledger import Cause
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import with_buffer
from accounting.domain.sessions import Report, Session, opened
from accounting.operations import spending
from accounting.operations.commit import Snapshot, count_expired, ledger_writes, retry_until_committed
from accounting.operations.spending import commitments, hold_in, refusal, room_for
from accounting.settings import settings
from accounting.store import prices, wallets
from accounting.store import sessions as store
from accounting.store.table import transact
from accounting.telemetry import count


class Answer(NamedTuple):
    """A session after a call; ``replayed`` if the call is a repeat."""

    session: Session
    replayed: bool = False


def initialize(  # noqa: PLR0913 what a session is opened with
    user_id: str,
    session_id: str,
    model_id: str,
    estimated_tokens: int,
    *,
    now: int,
    account_id: AccountId | None = None,
    actor: str | None = None,
    metadata: dict[str, Any] | None = None,
    estimated_usage: Usage | None = None,
    variant: str | None = None,
    key_id: str | None = None,
    run_id: str | None = None,
) -> Answer:
    """Open a session: hold its estimate plus the buffer, at the price in force.

    ``key_id`` is the API key that is used, if any. ``run_id`` is the run that the session counts for, if any. ``actor``
    is the service that acts for the user, or by default the user. With ``estimated_usage``, the session is priced by
    class, and ``estimated_tokens`` must be that usage's output tokens. If the credits cover the estimate but not the
    buffer, ``HoldBufferWhenShort`` says whether to refuse or to hold what is available. ``metadata`` becomes part of
    the session's usage record.

    Raises AccountNotFound if the user may not spend from the account. Raises Invalid if the price lacks the variant, or
    the account lacks the run. Raises SessionExists if an active session with this id has other values, and SessionEnded
    if a session with this id has ended. Raises InsufficientCredits or BudgetExceeded with ``affordableTokens`` or
    ``affordableOutputTokens``. Also raises OrganizationClosed, UserDisabled, RunEnded, ModelUnknown and Contention.
    """
    account_id = account_id or personal(user_id)
    asked = model_id, estimated_tokens, estimated_usage, variant
    spender = Spender(user_id, account_id, key_id, run_id)
    try:
        card = prices.card_at(model_id, now, variant)
    except (Invalid, ModelUnknown):
        # A repeat gets the first answer, even if the price has changed since.
        if taken := store.get(user_id, session_id):
            return _reopened(taken, spender, asked)
        raise
    expires_at = now + min(settings().session_timeout, settings().session_max_life)
    unfunded = Session(
        user_id=user_id,
        session_id=session_id,
        account_id=account_id,
        model_id=model_id,
        card=card,
        variant=variant,
        estimated_tokens=estimated_tokens,
        estimated_usage=estimated_usage,
        usage=estimated_usage and estimated_usage.inputs,
        parts=(),
        started_at=now,
        last_seen_at=now,
        due_at=expires_at,
        initial_credits=0,
        initial_expires_at=expires_at,
        has_metadata=bool(metadata),
        key_id=key_id,
        run_id=run_id,
    )
    cause = Cause(actor or user_id, now, session_id=session_id, key_id=key_id, run_id=run_id)

    def hold_and_open(snapshot: Snapshot) -> Answer:
        try:
            enough = with_buffer(unfunded.estimated_credits, settings().hold_buffer_percent)
            room = room_for(enough, snapshot, now=now)
            wanted = hold_in(room, unfunded.estimate)
        except AccountingError:
            # An earlier attempt of this request may hold the missing credits.
            if taken := store.get(user_id, session_id):
                return _reopened(taken, spender, asked)
            raise
        hold = decisions.hold(snapshot.wallet, wanted, cause=cause)
        counters = tuple(bound.counter for bound in room.bounds if bound.counter)
        session = opened(unfunded._replace(counters=counters), hold)
        counted = commitments(snapshot.allowance, room.bounds, wanted, now, in_run={"sessions": 1})
        metadata_writes = [store.put_metadata(session, metadata)] if metadata else []
        try:
            transact([store.open_new(session), *ledger_writes(snapshot.wallet, hold), *counted, *metadata_writes])
            count_expired(snapshot.wallet, hold.wallet)
        except store.SessionTaken as taken:
            return _reopened(taken.session, spender, asked)
        count("CreditsHeld", wanted)
        spending.warn(spender, room.bounds, wanted)
        return Answer(session)

    return retry_until_committed(hold_and_open, read=spending.reader(spender, now))


def heartbeat(user_id: str, session_id: str, used: Report | int, *, now: int, actor: str | None = None) -> Session:
    """Store the tokens so far, keep the session alive, and raise the hold if the tokens no longer fit it.

    ``actor`` is the service that acts for the user, or by default the user. The report is kept even if the hold can't
    be raised, because the tokens were generated. Raises SessionNotActive, InsufficientCredits, BudgetExceeded,
    RunEnded, UserDisabled, AccountNotFound, OrganizationClosed, Contention.
    """
    report = Report.of_number(used)
    done, session = store.beat(user_id, session_id, report, now)
    session = active(session_id, session)
    if done:
        return session
    report = session.counted(report)
    if not session.is_repriced_by(report) and report.tokens <= min(session.tokens, session.fitting_tokens):
        # The stored report has at least as many tokens, so this report only keeps the session alive. But if the tokens
        # do not fit the hold, even a repeated report must go on to ``_raise_hold``.
        return active(session_id, store.keep_alive(user_id, session_id, now))
    return _raise_hold(session, report, actor or user_id, now)


def _raise_hold(known: Session, report: Report, actor: str, now: int) -> Session:
    """Hold the cost of what was reported so far, plus the buffer or as much of the buffer as the credits cover."""
    user_id, session_id = known.user_id, known.session_id
    cause = Cause(actor, now, session_id=session_id, key_id=known.key_id, run_id=known.run_id)

    def hold_more(snapshot: Snapshot) -> Session:
        found = active(session_id, snapshot.session)
        if not found.is_repriced_by(report) and report.tokens <= found.fitting_tokens:
            return active(session_id, store.note_tokens(user_id, session_id, report.tokens, now))
        session = streaming.reported(found, report, now)
        # Another heartbeat may be stored after ``found`` was read. Then ``untouched`` refuses the writes below, which
        # would undo that heartbeat.
        if session.tokens <= session.fitting_tokens:
            transact([store.replace(found, session, untouched=True)])
            return session
        cost = session.reported_credits
        wanted = with_buffer(cost, settings().hold_buffer_percent) - session.allocated_credits
        try:
            room = room_for(wanted, snapshot, now=now, at=session.started_at, stored=session.counters)
            more = max(cost - session.allocated_credits, min(wanted, room.credits))
            if more > room.credits:
                raise refusal(room, more)
        except AccountingError:
            transact([store.replace(found, session, untouched=True)])
            raise
        hold = decisions.hold(snapshot.wallet, more, cause=cause)
        after = streaming.raised(session, hold)
        counted = commitments(snapshot.allowance, room.bounds, more, now, stored=session.counters)
        transact([store.replace(found, after, untouched=True), *ledger_writes(snapshot.wallet, hold), *counted])
        count_expired(snapshot.wallet, hold.wallet)
        count("CreditsHeld", more)
        spending.warn(known.spender, room.bounds, more)
        return after

    return retry_until_committed(hold_more, read=lambda: spending.read_with_session(known.spender, session_id))


def read_with_wallet(user_id: str, session_id: str, account_id: AccountId | None = None) -> Snapshot:
    """A session as it is now, and the wallet of the account that pays for it.

    ``account_id`` is a guess at that account, by default the user's own account. A wrong guess costs a second read.
    """
    session, wallet = store.with_wallet(user_id, session_id, account_id or personal(user_id))
    if session and session.account_id != wallet.account_id:
        wallet = wallets.get(session.account_id)
    return Snapshot(wallet, session)


def active(session_id: str, session: Session | None) -> Session:
    """The session. Raises SessionNotActive if it is missing or has ended."""
    if session is None:
        raise SessionNotActive(session_id)
    if not session.active:
        raise SessionNotActive(session_id, session.status, session.outcome)
    return session


def _reopened(session: Session, spender: Spender, asked: tuple[str, int, Usage | None, str | None]) -> Answer:
    """The answer to a repeated initialize.

    Raises SessionEnded if the session has ended, and SessionExists if the values differ.
    """
    if not session.active:
        raise SessionEnded(session.session_id, session.status, session.outcome)
    same_payer = (session.account_id, session.run_id) == (spender.account_id, spender.run_id)
    if same_payer and session.same_request(*asked):
        return Answer(session, replayed=True)
    raise SessionExists("A session with this id has different values", sessionId=session.session_id)
