"""Holds, heartbeats and settlements in the table.

Grace is the day for which a refund of expired credits stays valid.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain.errors import InsufficientCredits, SessionNotActive
from accounting.domain.pricing import PriceRule
from accounting.domain.sessions import Session
from accounting.operations import credits, sessions, settling
from accounting.operations import prices as price_rules
from accounting.operations.credits import Request
from accounting.operations.sessions import Answer
from accounting.settings import settings
from accounting.store import keys, prices, table
from accounting.store import sessions as store
from accounting.times import DAY, HOUR
from tests.audit import assert_books_balance
from tests.integration.conftest import ACCOUNT, NOW
from tests.prices import per_thousand

MakeUser = Callable[..., str]


def initialize(tokens: int = 3_000, session_id: str = "s1", now: int = NOW) -> Answer:
    return sessions.initialize("u1", session_id, "m", tokens, now=now)


def heartbeat(tokens: int, now: int = NOW) -> Session:
    return sessions.heartbeat("u1", "s1", tokens, now=now)


def finalize(tokens: int, now: int = NOW, *, success: bool = True) -> Answer:
    return settling.finalize("u1", "s1", tokens, success=success, now=now)


def usage() -> list[dict[str, Any]]:
    return table.query(keys.wallet(ACCOUNT)["pk"], "USAGE#", "USAGE#~", limit=100)


def allocate(count: int, days: int = 30, now: int = NOW) -> credits.CreditChange:
    return credits.allocate(Request("boss", "u1", "", days, now), count)


def test_an_overrun_is_charged(user: MakeUser) -> None:
    user("u1", 100)
    assert initialize().session.allocated_credits == 4

    settled = finalize(60_000).session.settled

    assert (settled.credits, settled.refund, settled.overrun, settled.debt) == (60, 0, 56, 0)
    assert assert_books_balance("u1").available == 40


def test_an_uncovered_overrun_becomes_debt_that_the_next_grant_repays(user: MakeUser) -> None:
    user("u1", 10)
    initialize()

    settled = finalize(60_000).session.settled
    in_debt = credits.balance(ACCOUNT, NOW)
    change = allocate(80)

    assert (settled.credits, settled.overrun, settled.debt) == (60, 56, 50)
    assert (in_debt.available, in_debt.held, in_debt.debt) == (0, 0, 50)
    assert (change.credits, change.available, change.debt, change.remaining) == (80, 30, 0, 30)
    assert assert_books_balance("u1").debt == 0


def test_a_user_in_debt_cannot_open_a_session(user: MakeUser) -> None:
    user("u1", 10)
    initialize()
    finalize(60_000)

    with pytest.raises(InsufficientCredits):
        initialize(1, "s2")


def test_a_refund_keeps_the_expiry_of_its_lot(user: MakeUser) -> None:
    user("u1", 1_000, days=1)

    initialize()
    finalize(1_000, NOW + HOUR)

    (lot,) = credits.balance(ACCOUNT, NOW + HOUR).lots
    assert (lot.credits, lot.expires_at) == (999, NOW + DAY)
    assert credits.balance(ACCOUNT, NOW + DAY).available == 0


def test_credits_that_expired_while_held_get_grace_only_once(user: MakeUser) -> None:
    user("u1", 4, days=1)
    initialize(now=NOW + DAY - 1)

    finalize(0, NOW + 2 * DAY)
    initialize(session_id="s2", now=NOW + 3 * DAY - 1)
    settling.abort("u1", "s2", 0, now=NOW + 3 * DAY)

    wallet = assert_books_balance("u1")
    assert (wallet.available, wallet.expired) == (0, 4)


def test_a_refusal_shows_the_affordable_estimate(user: MakeUser) -> None:
    user("u1", 10)

    with pytest.raises(InsufficientCredits) as refused:
        initialize(10_000)

    assert refused.value.details == {
        "requiredCredits": 12,
        "availableCredits": 10,
        "heldCredits": 0,
        "shortfall": 2,
        "affordableTokens": 8_000,
        "limits": [{"limit": "balance", "remainingCredits": 10, "requiredCredits": 12}],
    }
    assert initialize(8_000).session.allocated_credits == 10


def test_a_session_settles_at_the_price_that_it_was_opened_with(user: MakeUser) -> None:
    user("u1", 1_000)
    price_rules.add(PriceRule("m", per_thousand(20_000), NOW - DAY), now=NOW, key=None)
    initialize(10_000)
    price_rules.add(PriceRule("m", per_thousand(990_000), NOW + 1), now=NOW, key=None)
    prices.forget()

    assert finalize(10_000, NOW + 5).session.settled.credits == 20
    assert initialize(1_000, "s2", NOW + 5).session.estimated_credits == 99


@pytest.mark.parametrize(
    ("end", "service"),
    [
        (lambda: finalize(1_500, NOW + 2_500), "chat-streaming"),
        (lambda: finalize(1_500, NOW + 2_500, success=False), "chat-streaming-failed"),
        (lambda: settling.abort("u1", "s1", 1_500, now=NOW + 2_500), "chat-streaming-aborted"),
    ],
)
def test_settling_writes_one_usage_record(end: Callable[[], object], service: str, user: MakeUser) -> None:
    user("u1", 100)
    initialize()

    end()

    (record,) = usage()
    assert (record["service"], record["operation"], record["credits"]) == (service, "m", 2)
    assert json.loads(record["metadata"]) == {
        "sessionId": "s1",
        "tokens": 1_500,
        "estimatedCredits": 3,
        "duration": 2.5,
    }
    assert_books_balance("u1")


def test_a_heartbeat_within_the_hold_records_progress_and_does_not_change_the_hold(user: MakeUser) -> None:
    user("u1", 100)
    initialize()

    session = heartbeat(4_000, NOW + 7)

    assert (session.tokens, session.last_seen_at, session.allocated_credits) == (4_000, NOW + 7, 4)
    assert assert_books_balance("u1").held == 4


def test_a_heartbeat_beyond_the_hold_raises_the_hold_to_the_new_cost_plus_the_buffer(user: MakeUser) -> None:
    user("u1", 100)
    initialize()

    session = heartbeat(10_000, NOW + 7)

    assert (session.tokens, session.allocated_credits) == (10_000, 12)
    assert assert_books_balance("u1").held == 12
    assert finalize(9_000).session.settled.refund == 3


def test_a_heartbeat_holds_all_that_is_left_if_the_buffer_does_not_fit(user: MakeUser) -> None:
    user("u1", 11)
    initialize()

    assert heartbeat(10_000).allocated_credits == 11
    assert heartbeat(11_000).allocated_credits == 11


def test_a_heartbeat_is_refused_but_recorded_if_the_hold_cannot_be_raised(user: MakeUser) -> None:
    user("u1", 10)
    initialize()

    with pytest.raises(InsufficientCredits):
        heartbeat(20_000, NOW + 7)

    session = store.get("u1", "s1")
    assert session is not None
    assert (session.tokens, session.last_seen_at, session.allocated_credits) == (20_000, NOW + 7, 4)
    for unpaid in (20_000, 15_000):
        with pytest.raises(InsufficientCredits):
            heartbeat(unpaid, NOW + 8)
    assert heartbeat(1_000, NOW + 8).tokens == 20_000, "a heartbeat that fits into the hold should be accepted"
    assert settling.abort("u1", "s1", None, now=NOW + 8).session.settled.credits == 20


def test_a_heartbeat_with_fewer_tokens_is_a_sign_of_life_but_does_not_lower_the_tokens(user: MakeUser) -> None:
    user("u1", 100)
    initialize()
    heartbeat(2_000, NOW + 1)

    session = heartbeat(1_000, NOW + 2)

    assert (session.tokens, session.last_seen_at) == (2_000, NOW + 2)


def test_raising_the_hold_does_not_undo_a_concurrent_later_heartbeat(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 100)
    initialize()
    transact = table.transact

    def heartbeat_first(writes: Any) -> None:
        monkeypatch.setattr(sessions, "transact", transact)
        store.note_tokens("u1", "s1", 30_000, NOW + 2)
        transact(writes)

    monkeypatch.setattr(sessions, "transact", heartbeat_first)
    heartbeat(10_000, NOW + 1)

    session = store.get("u1", "s1")
    assert session is not None
    assert (session.tokens, session.last_seen_at) == (30_000, NOW + 2)


def test_an_abort_without_tokens_charges_the_tokens_of_a_concurrent_heartbeat(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 100)
    initialize()
    transact = table.transact

    def heartbeat_first(writes: Any) -> None:
        monkeypatch.setattr(settling, "transact", transact)
        heartbeat(3_000, NOW + 1)
        transact(writes)

    monkeypatch.setattr(settling, "transact", heartbeat_first)
    settled = settling.abort("u1", "s1", None, now=NOW + 2).session.settled

    assert (settled.tokens, settled.credits) == (3_000, 3)
    assert assert_books_balance("u1").charged == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: heartbeat(1),
        lambda: finalize(1),
        lambda: settling.abort("u1", "s1", 1, now=NOW),
        lambda: settling.abort("u1", "s1", None, now=NOW),
    ],
)
def test_a_command_on_an_unknown_session_is_refused(call: Callable[[], object], user: MakeUser) -> None:
    user("u1", 100)
    sessions.initialize("u1", "other", "m", 1, now=NOW)

    with pytest.raises(SessionNotActive) as refused:
        call()

    assert refused.value.details == {"sessionId": "s1"}


def test_two_users_can_use_the_same_session_id_for_different_sessions(user: MakeUser) -> None:
    user("u1", 100)
    user("u2", 100)
    initialize()

    with pytest.raises(SessionNotActive):
        settling.finalize("u2", "s1", 1, success=True, now=NOW)
    sessions.initialize("u2", "s1", "m", 9_000, now=NOW)

    assert (assert_books_balance("u1").held, assert_books_balance("u2").held) == (4, 11)


def test_an_ended_session_refuses_heartbeats(user: MakeUser) -> None:
    user("u1", 100)
    initialize()
    finalize(1_000)

    for tokens in (0, 500, 2_000, 10**9):
        with pytest.raises(SessionNotActive) as refused:
            heartbeat(tokens)
        assert refused.value.details["status"] == "completed"
    assert_books_balance("u1")


def test_the_largest_possible_session_can_be_settled_and_causes_debt(user: MakeUser) -> None:
    user("u1", 10)
    initialize()

    settled = finalize(10**9).session.settled

    assert settled.debt == 10**6 - 10
    assert_books_balance("u1")


def test_usage_records_and_ended_sessions_have_a_ttl_and_active_sessions_do_not(user: MakeUser) -> None:
    user("u1", 100)
    initialize()
    finalize(0)
    initialize(session_id="s2")

    ended, active = (table.get(keys.session("u1", name)) for name in ("s1", "s2"))

    assert ended is not None
    assert active is not None
    assert ended["ttl"] == (NOW + settings().session_retention) // 1000
    assert "ttl" not in active
    assert usage()[0]["ttl"] == (NOW + settings().usage_retention) // 1000


def test_a_days_sums_are_exact_for_many_models(user: MakeUser) -> None:
    user("u1", 1_000)
    for number in range(53):
        sessions.initialize("u1", f"s{number}", f"model-{number}", 1_000, now=NOW)
        settling.finalize("u1", f"s{number}", 1_000, success=True, now=NOW)

    days = table.query(keys.wallet(ACCOUNT)["pk"], "DAY#", "DAY#~", limit=99)

    assert {day["model"]: (day["records"], day["credits"]) for day in days} == {
        f"model-{number}": (1, 1) for number in range(53)
    }
    assert_books_balance("u1")
