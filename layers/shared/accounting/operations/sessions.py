"""Streaming sessions while they run: hold before the stream, and raise the hold as it goes on.

``sessionId`` is the idempotency key of initialize. The session is judged before the wallet, so that a repeat answers
as the first time did. How sessions end is in ``settling``.
"""

from dataclasses import dataclass

from accounting.domain import sessions as streaming
from accounting.domain import wallet as ledger
from accounting.domain.errors import (
    AccountingError,
    InsufficientCredits,
    SessionEnded,
    SessionExists,
    SessionNotActive,
    UserDisabled,
)
from accounting.domain.pricing import affordable_tokens, credits_for, hold_for, with_buffer
from accounting.domain.sessions import Session
from accounting.domain.wallet import Cause
from accounting.operations.commit import State, ledger_writes, until_committed
from accounting.settings import settings
from accounting.store import keys, prices, wallets
from accounting.store import sessions as store
from accounting.store.table import get_many, transact
from accounting.telemetry import count


@dataclass(frozen=True, slots=True)
class Answer:
    """A session as a call left it; ``replayed`` when the call had been made before."""

    session: Session
    replayed: bool = False


def initialize(user_id: str, session_id: str, model_id: str, estimated_tokens: int, *, now: int) -> Answer:
    """Hold the buffered estimate for a new session, at the price in force.

    Where the credits cover the estimate but not the buffer, ``HoldBufferWhenShort`` decides. Raises UserDisabled,
    InsufficientCredits (with ``affordableTokens``), SessionExists when an active session with this id has other values,
    SessionEnded when the id was used before, Contention.
    """
    price_e4 = prices.price_at(model_id, now)
    estimate = credits_for(estimated_tokens, price_e4)
    reduce = settings().reduce_short_holds
    expires_at = now + min(settings().session_timeout, settings().session_max_life)

    def hold_and_open(state: State) -> Answer:
        available = state.wallet.spendable(now)
        wanted = hold_for(estimate, available, reduce=reduce)
        try:
            hold = ledger.hold(state.wallet, wanted, cause=Cause(user_id, now, session_id=session_id))
        except AccountingError as refusal:
            # The credits may be short because this very session holds them.
            if taken := store.get(user_id, session_id):
                return _reopened(taken, model_id, estimated_tokens)
            if isinstance(refusal, InsufficientCredits):
                refusal.details["affordableTokens"] = affordable_tokens(available, price_e4, reduce=reduce)
            raise
        session = Session(
            user_id=user_id,
            session_id=session_id,
            model_id=model_id,
            price_e4=price_e4,
            estimated_tokens=estimated_tokens,
            slices=hold.slices,
            started_at=now,
            last_seen_at=now,
            due_at=expires_at,
            initial_credits=wanted,
            initial_expires_at=expires_at,
        )
        try:
            transact([store.open_new(session), *ledger_writes(state.wallet, hold)])
        except store.Taken as taken:
            return _reopened(taken.session, model_id, estimated_tokens)
        count("CreditsHeld", wanted)
        return Answer(session)

    return until_committed(hold_and_open, State(wallets.get(user_id)), lambda: State(wallets.get(user_id)))


def heartbeat(user_id: str, session_id: str, tokens: int, *, now: int) -> Session:
    """Note how far the stream is, keep the session alive, and raise the hold when the tokens no longer fit it.

    The report is kept even if the hold can't be raised: the tokens were generated.
    Raises SessionNotActive, InsufficientCredits, UserDisabled, Contention.
    """
    done, session = store.beat(user_id, session_id, tokens, now)
    session = active(session_id, session)
    if done:
        return session
    if tokens <= session.tokens:
        # A late heartbeat: the stream is further already, but it is a sign of life.
        return active(session_id, store.keep_alive(user_id, session_id, now))
    try:
        return _raise_hold(user_id, session_id, tokens, now)
    except (InsufficientCredits, UserDisabled):
        store.note(user_id, session_id, tokens, now)
        raise


def _raise_hold(user_id: str, session_id: str, tokens: int, now: int) -> Session:
    """Hold what the tokens so far cost with the buffer or, if that is not there, just what they cost."""

    def hold_more(state: State) -> Session:
        session = active(session_id, state.session)
        if tokens <= session.fitting_tokens:
            return active(session_id, store.note(user_id, session_id, tokens, now))
        cost = session.cost(tokens)
        wanted = min(with_buffer(cost), session.allocated_credits + state.wallet.spendable(now))
        more = max(cost, wanted) - session.allocated_credits
        hold = ledger.hold(state.wallet, more, cause=Cause(user_id, now, session_id=session_id))
        after = streaming.raised(session, hold, tokens, now)
        # Untouched: a heartbeat further on, whose hold could not be raised, must not be undone.
        transact([store.replace(session, after, untouched=True), *ledger_writes(state.wallet, hold)])
        count("CreditsHeld", more)
        return after

    return until_committed(hold_more, read(user_id, session_id), lambda: read(user_id, session_id))


def read(user_id: str, session_id: str) -> State:
    """The user's wallet and session as they are now, in one call."""
    wallet, session = get_many([keys.wallet(user_id), keys.session(user_id, session_id)])
    return State(wallets.from_item(user_id, wallet), store.from_item(session) if session else None)


def active(session_id: str, session: Session | None) -> Session:
    """The session, if it is active. Raises SessionNotActive."""
    if session is None:
        raise SessionNotActive(session_id)
    if not session.active:
        raise SessionNotActive(session_id, session.status, session.outcome)
    return session


def _reopened(session: Session, model_id: str, estimated_tokens: int) -> Answer:
    """The answer to a repeated initialize. Raises SessionEnded, SessionExists when the id has other values."""
    if not session.active:
        raise SessionEnded(session.session_id, session.status, session.outcome)
    if session.same_request(model_id, estimated_tokens):
        return Answer(session, replayed=True)
    raise SessionExists("A session with this id and other values exists", sessionId=session.session_id)
