"""Streaming sessions while they run: hold before the stream, and raise the hold as it goes on.

``sessionId`` is the idempotency key of initialize. The session is judged before the wallet, so that a repeat answers
as the first time did. How sessions end is in ``settling``.
"""

from dataclasses import dataclass
from typing import Any

from accounting.domain import sessions as streaming
from accounting.domain import wallet as ledger
from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import (
    AccountingError,
    InsufficientCredits,
    SessionEnded,
    SessionExists,
    SessionNotActive,
    UserDisabled,
)
from accounting.domain.ledger import Cause
from accounting.domain.pricing import affordable_tokens, credits_for, hold_for, with_buffer
from accounting.domain.sessions import Session
from accounting.operations.commit import Snapshot, ledger_writes, retry_until_committed
from accounting.settings import settings
from accounting.store import prices, wallets
from accounting.store import sessions as store
from accounting.store.table import transact
from accounting.telemetry import count


@dataclass(frozen=True, slots=True)
class Answer:
    """A session as a call left it; ``replayed`` when the call had been made before."""

    session: Session
    replayed: bool = False


def initialize(
    user_id: str,
    session_id: str,
    model_id: str,
    estimated_tokens: int,
    *,
    now: int,
    account_id: AccountId | None = None,
    metadata: dict[str, Any] | None = None,
) -> Answer:
    """Hold the buffered estimate for a new session, at the price in force, from ``account_id`` or the user's own.

    Where the credits cover the estimate but not the buffer, ``HoldBufferWhenShort`` decides. Raises UserDisabled,
    InsufficientCredits (with ``affordableTokens``), SessionExists when an active session with this id has other values,
    SessionEnded when the id was used before, Contention. ``metadata`` is kept with the session's usage record.
    """
    account_id = account_id or personal(user_id)
    price_e4 = prices.price_at(model_id, now)
    estimate = credits_for(estimated_tokens, price_e4)
    reduce = settings().reduce_short_holds
    expires_at = now + min(settings().session_timeout, settings().session_max_life)

    def hold_and_open(snapshot: Snapshot) -> Answer:
        available = snapshot.wallet.spendable(now)
        wanted = hold_for(estimate, available, reduce=reduce)
        try:
            hold = ledger.hold(snapshot.wallet, wanted, cause=Cause(user_id, now, session_id=session_id))
        except AccountingError as refusal:
            # The credits may be short because this very session holds them.
            if taken := store.get(user_id, session_id):
                return _reopened(taken, account_id, model_id, estimated_tokens)
            if isinstance(refusal, InsufficientCredits):
                refusal.details["affordableTokens"] = affordable_tokens(available, price_e4, reduce=reduce)
            raise
        session = Session(
            user_id=user_id,
            session_id=session_id,
            account_id=account_id,
            model_id=model_id,
            price_e4=price_e4,
            estimated_tokens=estimated_tokens,
            parts=hold.parts,
            started_at=now,
            last_seen_at=now,
            due_at=expires_at,
            initial_credits=wanted,
            initial_expires_at=expires_at,
            has_metadata=bool(metadata),
        )
        apart = [store.put_metadata(session, metadata)] if metadata else []
        try:
            transact([store.open_new(session), *ledger_writes(snapshot.wallet, hold), *apart])
        except store.SessionTaken as taken:
            return _reopened(taken.session, account_id, model_id, estimated_tokens)
        count("CreditsHeld", wanted)
        return Answer(session)

    return retry_until_committed(hold_and_open, read=lambda: Snapshot(wallets.get(account_id)))


def heartbeat(user_id: str, session_id: str, tokens: int, *, now: int) -> Session:
    """Note how far the stream is, keep the session alive, and raise the hold when the tokens no longer fit it.

    The report is kept even if the hold can't be raised: the tokens were generated.
    Raises SessionNotActive, InsufficientCredits, UserDisabled, Contention.
    """
    done, session = store.beat(user_id, session_id, tokens, now)
    session = active(session_id, session)
    if done:
        return session
    if tokens <= min(session.tokens, session.fitting_tokens):
        # A late heartbeat: the stream is further already, but it is a sign of life. What does not fit the hold is
        # refused again, although it was noted when it was refused first: nothing pays for it.
        return active(session_id, store.keep_alive(user_id, session_id, now))
    try:
        return _raise_hold(session, tokens, now)
    except (InsufficientCredits, UserDisabled):
        store.note(user_id, session_id, tokens, now)
        raise


def _raise_hold(known: Session, tokens: int, now: int) -> Session:
    """Hold what the tokens so far cost with the buffer or, if that is not there, just what they cost."""
    user_id, session_id = known.user_id, known.session_id

    def hold_more(snapshot: Snapshot) -> Session:
        session = active(session_id, snapshot.session)
        if tokens <= session.fitting_tokens:
            return active(session_id, store.note(user_id, session_id, tokens, now))
        cost = session.cost(tokens)
        wanted = min(with_buffer(cost), session.allocated_credits + snapshot.wallet.spendable(now))
        more = max(cost, wanted) - session.allocated_credits
        hold = ledger.hold(snapshot.wallet, more, cause=Cause(user_id, now, session_id=session_id))
        after = streaming.raised(session, hold, tokens, now)
        # Untouched: a heartbeat further on, whose hold could not be raised, must not be undone.
        transact([store.replace(session, after, untouched=True), *ledger_writes(snapshot.wallet, hold)])
        count("CreditsHeld", more)
        return after

    return retry_until_committed(hold_more, read=lambda: read_with_wallet(user_id, session_id, known.account_id))


def read_with_wallet(user_id: str, session_id: str, account_id: AccountId | None = None) -> Snapshot:
    """A session as it is now, and the wallet of the account that pays for it.

    One call where ``account_id``, by default the user's own, is that account; it is a hint, and a wrong one costs a
    second call.
    """
    session, wallet = store.with_wallet(user_id, session_id, account_id or personal(user_id))
    if session and session.account_id != wallet.account_id:
        wallet = wallets.get(session.account_id)
    return Snapshot(wallet, session)


def active(session_id: str, session: Session | None) -> Session:
    """The session, if it is active. Raises SessionNotActive."""
    if session is None:
        raise SessionNotActive(session_id)
    if not session.active:
        raise SessionNotActive(session_id, session.status, session.outcome)
    return session


def _reopened(session: Session, account_id: AccountId, model_id: str, estimated_tokens: int) -> Answer:
    """The answer to a repeated initialize. Raises SessionEnded, SessionExists when the id has other values."""
    if not session.active:
        raise SessionEnded(session.session_id, session.status, session.outcome)
    if session.account_id == account_id and session.same_request(model_id, estimated_tokens):
        return Answer(session, replayed=True)
    raise SessionExists("A session with this id and other values exists", sessionId=session.session_id)
