"""Streaming sessions: hold before the stream, settle what was really used, give the rest back.

``sessionId`` is the idempotency key of initialize, finalize and abort. The session is judged before the wallet, so
that a repeat answers as the first time did.
"""

from dataclasses import dataclass

from accounting.domain import sessions as streaming
from accounting.domain import wallet as ledger
from accounting.domain.errors import InsufficientCredits, SessionExists, SessionNotActive, UserDisabled
from accounting.domain.pricing import affordable_tokens, credits_for, with_buffer
from accounting.domain.sessions import Outcome, Session
from accounting.domain.usage import UsageRecord
from accounting.domain.wallet import SYSTEM, Cause
from accounting.operations.commit import State, ledger_writes, until_committed
from accounting.operations.ids import new_id
from accounting.settings import settings
from accounting.store import keys, prices, rollups, usage, wallets
from accounting.store import sessions as store
from accounting.store.table import get_many, transact
from accounting.telemetry import count

SERVICES: dict[tuple[Outcome, bool], str] = {
    ("finalized", True): "chat-streaming",
    ("finalized", False): "chat-streaming-failed",
    ("aborted", False): "chat-streaming-aborted",
    ("swept", False): "chat-streaming-expired",
}
"""The service that a settled session's usage record names, by outcome and success."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A session as a call left it; ``replayed`` when the call had been made before."""

    session: Session
    replayed: bool = False


def initialize(user_id: str, session_id: str, model_id: str, estimated_tokens: int, *, now: int) -> Answer:
    """Hold the buffered estimate for a new session, at the price in force.

    Raises UserDisabled, InsufficientCredits (with ``affordableTokens``), SessionExists when the id has other values,
    Contention.
    """
    price_e4 = prices.price_at(model_id, now)
    wanted = with_buffer(credits_for(estimated_tokens, price_e4))

    def step(state: State) -> Answer:
        try:
            hold = ledger.hold(state.wallet, wanted, cause=Cause(user_id, now, session_id=session_id))
        except InsufficientCredits as refusal:
            # The credits may be short because this very session holds them.
            if taken := store.get(user_id, session_id):
                return _reopened(taken, model_id, estimated_tokens)
            available = state.wallet.spendable(now)
            refusal.details["affordableTokens"] = affordable_tokens(available, price_e4)
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
            due_at=now + settings().session_timeout,
        )
        try:
            transact([store.open_new(session), *ledger_writes(state.wallet, hold)])
        except store.Taken as taken:
            return _reopened(taken.session, model_id, estimated_tokens)
        count("CreditsHeld", wanted)
        return Answer(session)

    return until_committed(step, State(wallets.get(user_id)), lambda: State(wallets.get(user_id)))


def heartbeat(user_id: str, session_id: str, tokens: int, *, now: int) -> Session:
    """Note how far the stream is, keep the session alive, and raise the hold when the tokens no longer fit it.

    The report is kept even if the hold can't be raised: the tokens were generated.
    Raises SessionNotActive, InsufficientCredits, UserDisabled, Contention.
    """
    done, session = store.beat(user_id, session_id, tokens, now)
    session = _active(session_id, session)
    if done:
        return session
    if tokens <= session.tokens:
        # A late heartbeat: the stream is further already, but it is a sign of life.
        return _active(session_id, store.keep_alive(user_id, session_id, now))
    try:
        return _raise_hold(user_id, session_id, tokens, now)
    except (InsufficientCredits, UserDisabled):
        store.note(user_id, session_id, tokens, now)
        raise


def finalize(user_id: str, session_id: str, tokens: int, *, success: bool, now: int) -> Answer:
    """Charge the tokens really used and give the rest of the hold back.

    Raises SessionNotActive when there is no such session or it was resolved otherwise, Contention.
    """
    return _resolve(user_id, session_id, tokens, outcome="finalized", success=success, now=now)


def abort(user_id: str, session_id: str, tokens: int | None, *, now: int) -> Answer:
    """Charge the tokens generated, by default the last heartbeat's, and give the rest of the hold back.

    Raises as ``finalize`` does.
    """
    return _resolve(user_id, session_id, tokens, outcome="aborted", success=False, now=now)


def sweep(session: Session, *, now: int) -> Session | None:
    """End a session whose last sign of life is too long ago: charge its last heartbeat's tokens, refund the rest.

    One that is alive is looked at again when it will have timed out. Returns it as it ended, None if it did not:
    whoever else resolves it, only one does. Raises Contention.
    """
    timeout = settings().session_timeout

    def step(state: State) -> Session | None:
        found = state.session
        if found is None or not found.active:
            return None
        if found.last_seen_at + timeout > now:
            again = streaming.rescheduled(found, found.last_seen_at + timeout)
            transact([store.replace(found, again, untouched=True)])
            return None
        return _end(state, found, found.tokens, outcome="swept", success=False, untouched=True, actor=SYSTEM, now=now)

    return until_committed(
        step, _read(session.user_id, session.session_id), lambda: _read(session.user_id, session.session_id)
    )


def _resolve(user_id: str, session_id: str, tokens: int | None, *, outcome: Outcome, success: bool, now: int) -> Answer:
    def step(state: State) -> Answer:
        session = state.session
        if session is None:
            raise SessionNotActive(session_id)
        used = session.tokens if tokens is None else tokens
        if session.resolved_by(outcome, used, success):
            return Answer(session, replayed=True)
        ended = _end(
            state,
            _active(session_id, session),
            used,
            outcome=outcome,
            success=success,
            untouched=tokens is None,
            actor=user_id,
            now=now,
        )
        return Answer(ended)

    return until_committed(step, _read(user_id, session_id), lambda: _read(user_id, session_id))


def _end(  # noqa: PLR0913 - how a session ended has that many sides
    state: State,
    session: Session,
    tokens: int,
    *,
    outcome: Outcome,
    success: bool,
    untouched: bool,
    actor: str,
    now: int,
) -> Session:
    """End an active session: session, wallet, entries, usage record and the day's sums in one transaction."""
    record_id = new_id(now)
    settlement = ledger.settle(
        state.wallet,
        session.slices,
        session.cost(tokens),
        grace_milliseconds=settings().refund_grace,
        cause=Cause(actor, now, session_id=session.session_id, usage_id=record_id),
    )
    ended = streaming.resolved(session, settlement, outcome=outcome, tokens=tokens, success=success, at=now)
    record = _usage_record(ended, record_id)
    transact(
        [
            store.replace(session, ended, untouched=untouched),
            *ledger_writes(state.wallet, settlement),
            usage.put(record),
            rollups.add(record, state.names or rollups.names_of(record)),
        ]
    )
    count("SessionsResolved")
    count("CreditsSettled", record.credits)
    count("CreditsRefunded", settlement.refund)
    count("CreditsOverrun", settlement.overrun)
    count("CreditsDebt", settlement.debt)
    return ended


def _raise_hold(user_id: str, session_id: str, tokens: int, now: int) -> Session:
    """Hold what the tokens so far cost with the buffer or, if that is not there, just what they cost."""

    def step(state: State) -> Session:
        session = _active(session_id, state.session)
        if tokens <= session.fitting_tokens:
            return _active(session_id, store.note(user_id, session_id, tokens, now))
        cost = session.cost(tokens)
        wanted = min(with_buffer(cost), session.allocated_credits + state.wallet.spendable(now))
        more = max(cost, wanted) - session.allocated_credits
        hold = ledger.hold(state.wallet, more, cause=Cause(user_id, now, session_id=session_id))
        after = streaming.raised(session, hold, tokens, now)
        # Untouched: a heartbeat further on, whose hold could not be raised, must not be undone.
        transact([store.replace(session, after, untouched=True), *ledger_writes(state.wallet, hold)])
        count("CreditsHeld", more)
        return after

    return until_committed(step, _read(user_id, session_id), lambda: _read(user_id, session_id))


def _read(user_id: str, session_id: str) -> State:
    wallet, session = get_many([keys.wallet(user_id), keys.session(user_id, session_id)])
    return State(wallets.from_item(user_id, wallet), store.from_item(session) if session else None)


def _active(session_id: str, session: Session | None) -> Session:
    """The session, if it is active. Raises SessionNotActive."""
    if session is None:
        raise SessionNotActive(session_id)
    if not session.active:
        raise SessionNotActive(session_id, session.status, session.outcome)
    return session


def _reopened(session: Session, model_id: str, estimated_tokens: int) -> Answer:
    """The answer to a repeated initialize. Raises SessionExists when the id has other values."""
    if session.same_request(model_id, estimated_tokens):
        return Answer(session, replayed=True)
    raise SessionExists("A session with this id and other values exists", sessionId=session.session_id)


def _usage_record(session: Session, record_id: str) -> UsageRecord:
    """What an ended session comes to in the user's usage."""
    settled = session.settled
    return UsageRecord(
        id=record_id,
        user_id=session.user_id,
        service=SERVICES[settled.outcome, settled.success],
        operation=session.model_id,
        credits=settled.credits,
        at=settled.at,
        metadata={
            "sessionId": session.session_id,
            "tokens": settled.tokens,
            "estimatedCredits": session.estimated_credits,
            "duration": max(0, settled.at - session.started_at) / 1000,
        },
    )
