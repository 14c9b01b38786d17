"""Late usage: a finalize or an abort that arrives after the sweeper or a supervisor has ended the session.

It charges or refunds, once, the difference between its usage and what was charged when the session ended.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain.accounts import personal
from accounting.domain.errors import SessionEnded, SessionNotActive
from accounting.domain.sessions import Session
from accounting.operations import credits, sessions, settling, system_usage
from accounting.operations.sweep import sweep
from accounting.settings import settings
from accounting.store import keys, table, usage, wallets
from accounting.store import sessions as store
from accounting.times import DAY, HOUR, MINUTE, day
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.together import together

type MakeUser = Callable[..., str]

STALE = NOW + 61 * MINUTE
LATE = STALE + 2 * DAY


def open_and_sweep(reported: int, credits_granted: int = 100, days: int = 30) -> None:
    credits.allocate(credits.Request("boss", "u1", "", days, NOW), credits_granted)
    sessions.initialize("u1", "s1", "m", 10_000, now=NOW)
    if reported:
        sessions.heartbeat("u1", "s1", reported, now=NOW)
    assert sweep(STALE, lambda: True).sessions == 1


def finalize(tokens: int, now: int = LATE, *, success: bool = True) -> Session:
    return settling.finalize("u1", "s1", tokens, success=success, now=now).session


def records() -> list[dict[str, Any]]:
    items = table.query(keys.wallet(ACCOUNT)["pk"], "USAGE#", "USAGE#~", limit=100)
    return [item | {"metadata": json.loads(item["metadata"])} for item in reversed(items)]


@pytest.mark.parametrize(
    ("reported", "used", "charged", "difference"),
    [(0, 9_000, 9, 9), (3_000, 9_000, 9, 6), (9_000, 3_000, 3, -6), (3_000, 0, 0, -3), (3_000, 3_000, 3, 0)],
)
def test_late_usage_settles_the_difference(
    reported: int, used: int, charged: int, difference: int, user: MakeUser
) -> None:
    user()
    open_and_sweep(reported)

    session = finalize(used)

    assert (session.status, session.outcome, session.used_credits) == ("completed", "swept", charged)
    assert session.late_credits == difference
    wallet = assert_books_balance("u1")
    assert (wallet.charged, wallet.available, wallet.held, wallet.debt) == (charged, 100 - charged, 0, 0)
    first, second = records()
    assert first["credits"] + second["credits"] == charged
    assert second["credits"] == difference
    assert (second["service"], second["operation"], second["at"]) == ("chat-streaming", "m", LATE)
    assert second["metadata"]["tokens"] == used - reported
    assert second["metadata"]["late"] is True
    assert "late" not in first["metadata"]


def test_late_usage_is_settled_once_and_a_repeat_gets_the_first_answer(user: MakeUser) -> None:
    user()
    open_and_sweep(3_000)
    first = finalize(9_000)

    again = settling.finalize("u1", "s1", 9_000, success=True, now=LATE + HOUR)

    assert (again.replayed, again.session) == (True, first)
    for other in (
        lambda: finalize(9_001),
        lambda: finalize(9_000, success=False),
        lambda: settling.abort("u1", "s1", None, now=LATE),
        lambda: settling.abort("u1", "s1", 9_000, now=LATE),
    ):
        with pytest.raises(SessionNotActive) as refused:
            other()
        assert refused.value.details["outcome"] == "swept"
    assert assert_books_balance("u1").charged == 9


@pytest.mark.parametrize(("tokens", "charged"), [(None, 3), (5_000, 5), (0, 0)])
def test_a_late_abort_settles_the_difference(tokens: int | None, charged: int, user: MakeUser) -> None:
    user()
    open_and_sweep(3_000)

    first = settling.abort("u1", "s1", tokens, now=LATE)
    again = settling.abort("u1", "s1", None, now=LATE + 1)

    assert (first.session.status, first.session.used_credits) == ("failed", charged)
    assert (again.replayed, again.session) == (True, first.session)
    assert assert_books_balance("u1").charged == charged


def test_late_usage_is_accepted_after_a_forced_end(user: MakeUser) -> None:
    user("u1", 100)
    sessions.initialize("u1", "s1", "m", 10_000, now=NOW)
    sessions.heartbeat("u1", "s1", 2_000, now=NOW + 1)

    ended = settling.force_end("u1", "s1", actor="boss", reason="stuck since noon", now=NOW + 2)
    again = settling.force_end("u1", "s1", actor="other", reason="me too", now=NOW + 3)

    assert (ended.session.status, ended.session.outcome, ended.session.used_credits) == ("failed", "swept", 2)
    assert (again.replayed, again.session) == (True, ended.session)
    entries, _ = credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=1)
    assert (entries[0].actor, entries[0].reason, entries[0].session_id) == ("boss", "stuck since noon", "s1")
    assert finalize(7_000).late_credits == 5
    assert assert_books_balance("u1").charged == 7


def test_only_an_active_session_can_be_ended_by_force(user: MakeUser) -> None:
    user("u1", 100)
    with pytest.raises(SessionNotActive):
        settling.force_end("u1", "s1", actor="boss", reason="x", now=NOW)
    sessions.initialize("u1", "s1", "m", 1_000, now=NOW)
    finalize(500, NOW)

    with pytest.raises(SessionNotActive) as refused:
        settling.force_end("u1", "s1", actor="boss", reason="x", now=NOW)

    assert refused.value.details["outcome"] == "finalized"


def test_late_usage_beyond_the_wallets_credits_becomes_debt(user: MakeUser) -> None:
    user()
    open_and_sweep(0, credits_granted=12)

    settled = finalize(50_000).settled

    assert (settled.credits, settled.overrun, settled.debt) == (50, 50, 38)
    assert assert_books_balance("u1").debt == 38


def test_a_late_refund_repays_debt_first(user: MakeUser) -> None:
    user()
    open_and_sweep(9_000, credits_granted=12)
    sessions.initialize("u1", "s2", "m", 1_000, now=STALE)
    settling.finalize("u1", "s2", 5_000, success=True, now=STALE)

    finalize(2_000)

    wallet = assert_books_balance("u1")
    assert (wallet.charged, wallet.debt, wallet.available) == (7, 0, 5)


def test_a_late_refund_gets_grace_only_once(user: MakeUser) -> None:
    """Grace makes refunded credits that have expired valid for some more hours.

    Without the limit, users could extend credits indefinitely by settling swept sessions late.
    """
    user()
    open_and_sweep(9_000, credits_granted=12, days=1)
    finalize(0)
    grace = settings().refund_grace

    (lot,) = credits.balance(ACCOUNT, LATE).lots
    assert (lot.credits, lot.expires_at, lot.grace) == (9, LATE + grace, True)

    sessions.initialize("u1", "s2", "m", 7_000, now=LATE + grace - 1)
    settling.abort("u1", "s2", 0, now=LATE + grace + 1)
    assert credits.balance(ACCOUNT, LATE + grace + 1).available == 0
    assert_books_balance("u1")


def test_late_usage_of_a_deleted_session_is_refused(user: MakeUser, dynamodb: Any, table_name: str) -> None:
    user()
    open_and_sweep(3_000)
    dynamodb.delete_item(TableName=table_name, Key=table.pack(keys.session("u1", "s1")))

    with pytest.raises(SessionNotActive):
        finalize(9_000)


def test_a_swept_session_is_never_opened_again(user: MakeUser) -> None:
    user()
    open_and_sweep(3_000)
    for _ in range(2):
        with pytest.raises(SessionEnded):
            sessions.initialize("u1", "s1", "m", 10_000, now=LATE)
        with pytest.raises(SessionNotActive):
            sessions.heartbeat("u1", "s1", 4_000, now=LATE)
        finalize(9_000)


def test_of_concurrent_late_requests_only_one_settles(user: MakeUser) -> None:
    user()
    open_and_sweep(3_000)

    answers = together(*[lambda n=n: finalize(9_000 + n) for n in range(8)])

    settled = [answer for answer in answers if isinstance(answer, Session)]
    assert len(settled) == 1
    assert all(isinstance(answer, SessionNotActive) for answer in answers if answer not in settled)
    assert assert_books_balance("u1").charged == settled[0].settled.credits


def test_late_usage_takes_2_round_trips_and_at_most_14_write_units(user: MakeUser, calls: Calls) -> None:
    user()
    open_and_sweep(3_000)
    calls.reset()

    finalize(9_000)

    assert (calls.round_trips, calls.write_units <= 14) == (2, True)


def test_negative_sums_of_a_day_are_exact_in_the_systems_statistics(user: MakeUser) -> None:
    user()
    open_and_sweep(9_000)
    finalize(2_000)
    system_usage.count(usage.newest(personal("u1"), NOW, LATE + 1, limit=9))

    whole = system_usage.statistics(NOW, LATE + 1, top=10, now=LATE + 1)
    of_day = system_usage.statistics(LATE, LATE + 1, top=10, now=LATE + 1)

    assert (whole.by_user, whole.sums.credits) == ({"u1": 2}, 2)
    assert (of_day.by_user, of_day.by_day) == ({"u1": -7}, {day(LATE): -7})


@pytest.mark.parametrize(("used", "unsettled"), [(2_000, 7), (9_000, 0), (20_000, 0)])
def test_credits_that_were_reported_but_not_settled_are_recorded_and_counted(
    used: int, unsettled: int, user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[str, int] = {}
    monkeypatch.setattr(settling, "count", lambda name, value=1: counted.update({name: value}))
    user("u1", 100)
    sessions.initialize("u1", "s1", "m", 10_000, now=NOW)
    sessions.heartbeat("u1", "s1", 9_000, now=NOW + 1)

    finalize(used, NOW + 2)

    session = store.get("u1", "s1")
    assert session is not None
    assert (session.tokens, session.settled.tokens, session.unsettled_credits) == (9_000, used, unsettled)
    assert records()[0]["metadata"]["reportedTokens"] == 9_000
    assert counted["CreditsReportedNotSettled"] == unsettled
