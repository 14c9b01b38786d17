"""The sweep: it ends sessions without a recent heartbeat, and enters expired credits in the ledger, exactly once."""

from collections.abc import Callable

import pytest

from accounting.domain.accounts import personal
from accounting.domain.sessions import Session
from accounting.operations import sessions, settling
from accounting.operations.sweep import Swept, sweep
from accounting.settings import settings
from accounting.store import sessions as session_store
from accounting.store import usage as records
from accounting.times import DAY, HOUR, MINUTE
from tests.audit import assert_books_balance
from tests.integration.conftest import NOW
from tests.together import together

type MakeUser = Callable[..., str]

STALE = NOW + 61 * MINUTE


def always() -> bool:
    return True


def open_sessions(user_id: str, count: int, tokens: int = 10_000) -> list[str]:
    names = [f"s{n}" for n in range(count)]
    for name in names:
        sessions.initialize(user_id, name, "m", tokens, now=NOW)
    return names


def test_a_stale_session_is_charged_for_its_last_heartbeat_and_the_rest_is_refunded(user: MakeUser) -> None:
    user(credits_granted=100)
    open_sessions("u1", 1)
    sessions.heartbeat("u1", "s0", 3000, now=NOW + 1)

    assert sweep(STALE, always).sessions == 1

    session = session_store.get("u1", "s0")
    assert session is not None
    assert (session.status, session.outcome, session.used_credits) == ("failed", "swept", 3)
    (record,) = records.newest(personal("u1"), 0, STALE + 1, limit=9)
    assert (record.service, record.credits) == ("chat-streaming-expired", 3)
    wallet = assert_books_balance("u1")
    assert (wallet.available, wallet.held) == (97, 0)


def test_a_session_with_a_recent_heartbeat_is_rescheduled(user: MakeUser) -> None:
    user(credits_granted=100)
    open_sessions("u1", 1)
    sessions.heartbeat("u1", "s0", 3000, now=NOW + 50 * MINUTE)

    assert sweep(STALE, always).sessions == 0
    assert list(session_store.due(STALE)) == [], "the session is not due until an hour after its heartbeat"
    assert sweep(NOW + 109 * MINUTE, always).sessions == 0
    assert sweep(NOW + 111 * MINUTE, always).sessions == 1
    assert_books_balance("u1")


def test_expired_credits_get_a_ledger_entry(user: MakeUser) -> None:
    user(credits_granted=100, days=1)

    swept = sweep(NOW + 2 * DAY, always)

    assert (swept.wallets, swept.credits_expired) == (1, 100)
    assert assert_books_balance("u1").expired == 100
    assert sweep(NOW + 2 * DAY, always) == Swept()


def test_each_session_is_charged_once_if_two_sweeps_and_late_finalizes_run_together(user: MakeUser) -> None:
    users = [user(f"u{n}", credits_granted=500) for n in range(4)]
    for name in users:
        open_sessions(name, 8)

    late = [
        lambda name=name, n=n: settling.finalize(name, f"s{n}", 2000, success=True, now=STALE)
        for name in users
        for n in range(4)
    ]
    sweeps = [lambda: sweep(STALE, always)] * 2
    answers = together(*sweeps, *late)

    finalized = [answer.session for answer in answers[2:]]
    assert answers[0].failures + answers[1].failures == 0
    assert answers[0].sessions + answers[1].sessions + sum(session.late is None for session in finalized) == 32
    for name in users:
        wallet = assert_books_balance(name)
        assert (wallet.held, wallet.charged) == (0, 4 * 2)


def test_the_next_sweep_finishes_a_sweep_that_ran_out_of_time(user: MakeUser) -> None:
    for n in range(12):
        user(f"u{n}", credits_granted=50)
        open_sessions(f"u{n}", 2)
    time_left = iter([True, False])

    first = sweep(STALE, lambda: next(time_left, False))
    second = sweep(STALE, always)

    assert not first.complete
    assert second.complete
    assert 0 < first.sessions < 24
    assert first.sessions + second.sessions == 24
    for n in range(12):
        assert assert_books_balance(f"u{n}").held == 0


def test_a_session_that_cannot_be_swept_does_not_stop_the_sweep(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user(credits_granted=100)
    open_sessions("u1", 3)
    healthy = settling.sweep

    def failing(session: Session, *, now: int) -> Session | None:
        if session.session_id == "s1":
            raise RuntimeError("this one")
        return healthy(session, now=now)

    with monkeypatch.context() as patched:
        patched.setattr(settling, "sweep", failing)
        swept = sweep(STALE, always)
    assert (swept.sessions, swept.failures) == (2, 1)
    assert sweep(STALE, always).sessions == 1
    assert assert_books_balance("u1").held == 0


def test_a_session_has_a_maximum_age_despite_heartbeats(user: MakeUser) -> None:
    """A session holds credits beyond their expiry, and keeps its price after that price has ended."""
    user(credits_granted=100)
    open_sessions("u1", 1)
    for hour in range(1, 24):
        sessions.heartbeat("u1", "s0", hour, now=NOW + hour * HOUR)
        sweep(NOW + hour * HOUR, always)
    last = sessions.heartbeat("u1", "s0", 24, now=NOW + 24 * HOUR - 1)

    assert last.active
    assert last.expires_at(settings().session_timeout, settings().session_max_life) == NOW + 24 * HOUR
    assert sweep(NOW + 24 * HOUR - 1, always).sessions == 0
    assert sweep(NOW + 24 * HOUR, always).sessions == 1
    ended = session_store.get("u1", "s0")
    assert ended is not None
    assert (ended.outcome, ended.settled.tokens) == ("swept", 24)
    assert assert_books_balance("u1").held == 0
