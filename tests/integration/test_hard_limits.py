"""Budgets and runs: how holds, usage records and settlements count in them, and which limits a refusal lists."""

from functools import partial
from typing import Any

import pytest

from accounting.domain.budgets import Counter, Spender
from accounting.domain.errors import (
    AccountingError,
    BudgetExceeded,
    InsufficientCredits,
    Invalid,
    RunEnded,
    TooManyBudgets,
)
from accounting.domain.model_usage import Usage
from accounting.operations import budgets, credits, runs, sessions, settling, usage
from accounting.operations.credits import Request
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.store import budgets as budget_store
from accounting.store import entries, prices, table, wallets
from accounting.store import sessions as session_store
from accounting.store.table import transact
from accounting.times import DAY, HOUR, from_iso
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration import acme
from tests.integration.acme import ACME, BOSS, MakeUser, budget, committed, finalize, grant, limits, make_key, stream
from tests.integration.conftest import ACCOUNT, NOW
from tests.together import together


@pytest.fixture(autouse=True)
def _acme(table_name: str) -> None:
    acme.make_organization()


def test_a_budget_counts_what_is_held_and_then_what_was_spent() -> None:
    budget("member:u1", 10)

    stream("s1")
    assert committed("member:u1") == 6
    finalize("s1", 2_000)
    assert committed("member:u1") == 2
    stream("s2")
    finalize("s2", 9_000)

    assert committed("member:u1") == 11, "an overrun counts in full"
    with pytest.raises(BudgetExceeded) as refused:
        stream("s3", 1)
    assert limits(refused) == [("member:u1", 0, 2)]
    assert assert_books_balance("u1", ACME).charged == 11


def test_a_refusal_takes_nothing_and_names_every_exceeded_limit() -> None:
    budget("member:u1", 5, window="day", zone="Europe/Berlin")
    runs.begin(Spender("u1", ACME), "r1", 4, expires_at=None, metadata={}, now=NOW)
    before = wallets.get(ACME)

    with pytest.raises(BudgetExceeded) as refused:
        stream("s1", run_id="r1")
    assert limits(refused) == [("member:u1", 5, 6), ("run:r1", 4, 6)]
    assert refused.value.details["limits"][0]["resetsAt"] == "2027-01-15T23:00:00.000Z"
    assert "resetsAt" not in refused.value.details["limits"][1]
    assert refused.value.details["affordableTokens"] == 3_000
    with pytest.raises(InsufficientCredits) as short:
        stream("s1", 2_000_000, run_id="r1")
    assert limits(short) == [("balance", 1_000, 2_400), ("member:u1", 5, 2_400), ("run:r1", 4, 2_400)]

    assert wallets.get(ACME) == before
    assert committed("member:u1") == 0
    assert runs.show(ACME, "r1", by=BOSS).run.committed == 0
    assert stream("s1", 3_000, run_id="r1").allocated_credits == 4


@pytest.mark.parametrize("tightest", ["balance", "member:u1", "members", "key:", "run:r1"])
def test_one_exceeded_limit_is_enough_to_refuse_a_hold(tightest: str, user: MakeUser) -> None:
    user("u1")
    key_id = make_key()
    runs.begin(Spender("u1", ACME), "r1", 9 if tightest == "run:r1" else 900, expires_at=None, metadata={}, now=NOW)
    if tightest in ("member:u1", "members"):
        budget(tightest, 9)
    elif tightest == "key:":
        transact([budget_store.put(key_budget(key_id, 9))])
    elif tightest == "balance":
        credits.set_available(Request("boss", "", "", 30, NOW, account_id=ACME), 9)
    stream("s1", run_id="r1", key_id=key_id)

    with pytest.raises((BudgetExceeded, InsufficientCredits)) as refused:
        stream("s2", run_id="r1", key_id=key_id)

    name = f"key:{key_id}" if tightest == "key:" else tightest
    assert limits(refused) == [(name, 3, 6)]


def key_budget(key_id: str, limit: int) -> Any:
    from accounting.domain.budgets import Budget

    return Budget(ACME, f"key:{key_id}", limit, "total", "UTC", 99, NOW, "boss", owner="u1")


def test_a_budget_for_all_members_counts_each_member_separately_and_does_not_limit_the_owner() -> None:
    budget("members", 6)
    budget("member:u2", 100)

    for user_id in ("u1", "u2", "owner"):
        stream("s1", user_id=user_id)

    with pytest.raises(BudgetExceeded) as refused:
        stream("s2", 1)
    assert limits(refused) == [("members", 0, 2)]
    stream("s2", user_id="u2")
    stream("s2", user_id="owner")
    assert committed("members", user_id="u1") == 6
    assert committed("member:u2", user_id="u2") == 12
    found, _ = budgets.page(ACME, by=BOSS, user_id=None, after=None, limit=9, now=NOW)
    assert [(each.budget.subject, each.committed) for each in found] == [("member:u2", 12), ("members", None)]


def test_a_session_counts_in_the_window_of_its_start() -> None:
    """Two sessions begin in November. In December, s1 raises its hold and is settled; s2 is swept and settled late."""
    november, december = from_iso("2027-11-30T23:30:00Z"), from_iso("2027-12-01T00:10:00Z")
    grant(1_000, now=november)
    budget("member:u1", 20, window="month", now=november)

    stream("s1", now=november)
    stream("s2", now=november)
    assert committed("member:u1", now=november) == 12
    sessions.heartbeat("u1", "s1", 7_000, now=december)
    assert committed("member:u1", now=november) == 15, "s1 holds 7 credits and 20 %, rounded up: 9. s2 holds 6"
    finalize("s1", 7_000, now=december)
    assert sweep(december + 2 * HOUR, lambda: True).sessions == 1
    assert committed("member:u1", now=november) == 7
    finalize("s2", 4_000, now=december + 3 * HOUR)

    assert committed("member:u1", now=november) == 11
    assert committed("member:u1", now=december) == 0
    stream("s3", 15_000, now=december)
    assert committed("member:u1", now=december) == 18


def test_a_budget_unused_for_a_year_counts_from_zero() -> None:
    budget("member:u1", 6, window="day", zone="Asia/Kathmandu")
    stream("s1")
    with pytest.raises(BudgetExceeded):
        stream("s2", 1)

    later = NOW + 364 * DAY
    assert stream("s3", now=later).allocated_credits == 6
    with pytest.raises(BudgetExceeded) as refused:
        stream("s4", 1, now=later)
    assert refused.value.details["limits"][0]["resetsAt"] == "2028-01-14T18:15:00.000Z"


def test_a_new_limit_keeps_the_count_and_a_new_window_begins_at_zero() -> None:
    budget("member:u1", 10, window="month")
    stream("s1")

    budget("member:u1", 5, window="month")
    assert committed("member:u1") == 6, "the count may be above the new limit"
    with pytest.raises(BudgetExceeded):
        stream("s2", 1)
    finalize("s1", 3_000)
    assert stream("s2", 1).allocated_credits == 2
    for window, zone in (("week", "UTC"), ("week", "America/Santiago"), ("month", "UTC")):
        budget("member:u1", 5, window=window, zone=zone)
        assert committed("member:u1") == 0
    finalize("s2", 1)
    assert committed("member:u1") == 0, "s2 is settled in the old counter, where its hold was counted"


def test_setting_a_budget_to_the_same_values_writes_nothing(calls: Calls) -> None:
    first = budget("member:u1", 10)
    assert "TransactWriteItems" in calls.operations
    calls.reset()

    assert budget("member:u1", 10, now=NOW + 1) == first
    assert calls.operations
    assert set(calls.operations) <= {"GetItem", "BatchGetItem", "Query"}


def test_deleting_a_budget_lifts_the_limit_and_a_new_one_begins_at_zero() -> None:
    budget("member:u1", 6)
    stream("s1")

    budgets.delete(ACME, "member:u1", by=BOSS)
    stream("s2")
    finalize("s1", 1)
    assert wallets.get(ACME).budgets == 0
    budget("member:u1", 6)

    assert committed("member:u1") == 0


def test_a_budget_and_an_ended_run_refuse_to_raise_a_hold_but_the_reported_tokens_are_stored() -> None:
    budget("member:u1", 8)
    runs.begin(Spender("u1", ACME), "r1", 100, expires_at=None, metadata={}, now=NOW)
    stream("s1", run_id="r1")

    sessions.heartbeat("u1", "s1", 7_000, now=NOW)
    assert committed("member:u1") == 8, "the buffer is reduced to what is left"
    with pytest.raises(BudgetExceeded) as refused:
        sessions.heartbeat("u1", "s1", 9_000, now=NOW)
    assert limits(refused) == [("member:u1", 0, 1)]
    runs.stop(ACME, "r1", by=BOSS, now=NOW)
    budget("member:u1", 100)
    with pytest.raises(RunEnded):
        sessions.heartbeat("u1", "s1", 10_000, now=NOW)

    ended = settling.abort("u1", "s1", None, now=NOW).session
    assert ended.settled.tokens == 10_000
    assert committed("member:u1") == 10
    assert runs.show(ACME, "r1", by=BOSS).run.committed == 10


def test_a_budget_does_not_limit_sessions_that_began_before_it() -> None:
    stream("s1")
    budget("member:u1", 1)

    sessions.heartbeat("u1", "s1", 9_000, now=NOW)

    assert committed("member:u1") == 0


def test_raising_a_hold_is_limited_by_the_budget_under_which_the_session_began() -> None:
    """The member got a budget of their own later, but the session does not count in it."""
    budget("members", 8)
    stream("s1")
    budget("member:u1", 100)

    with pytest.raises(BudgetExceeded) as refused:
        sessions.heartbeat("u1", "s1", 9_000, now=NOW)

    assert limits(refused) == [("members", 2, 3)]


def test_a_hold_with_a_reducible_buffer_takes_at_most_what_the_tightest_limit_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accounting import settings as settings_module

    monkeypatch.setenv("HOLD_BUFFER_WHEN_SHORT", "reduce")
    settings_module.settings.cache_clear()
    budget("member:u1", 16)
    stream("s1", 10_000)

    with pytest.raises(BudgetExceeded) as refused:
        stream("s2")
    assert limits(refused) == [("member:u1", 4, 5)]
    assert refused.value.details["affordableTokens"] == 4_000
    assert stream("s3", 4_000).allocated_credits == 4


def test_a_usage_record_that_is_charged_counts_at_once() -> None:
    budget("member:u1", 10)
    runs.begin(Spender("u1", ACME), "r1", 8, expires_at=None, metadata={}, now=NOW)

    def record(cost: int, *, deduct: bool = True, run_id: str | None = "r1", account_id: Any = ACME) -> Any:
        event = Event("u1", "images", "draw", cost, {}, deduct, account_id, run_id=run_id)
        return usage.record(event, now=NOW, key=None)

    record(5)
    record(0)
    with pytest.raises(BudgetExceeded) as refused:
        record(6)
    assert limits(refused) == [("member:u1", 5, 6), ("run:r1", 3, 6)]
    record(100, deduct=False, run_id=None)
    with pytest.raises(Invalid):
        record(1, deduct=False)
    with pytest.raises(Invalid):
        record(1, run_id="none")

    run = runs.show(ACME, "r1", by=BOSS).run
    assert (run.committed, run.spent, run.records, run.sessions) == (5, 5, 2, 0)
    assert committed("member:u1") == 5
    newest = entries.page(ACME, first=1, last=wallets.get(ACME).entry_seq, limit=1)[0]
    assert (newest.kind, newest.run_id) == ("charge", "r1")
    assert_books_balance("u1", ACME)


def test_a_usage_record_that_costs_nothing_is_accepted_even_if_every_limit_is_exceeded() -> None:
    budget("member:u1", 10)
    runs.begin(Spender("u1", ACME), "r1", 10, expires_at=None, metadata={}, now=NOW)
    stream("s1", run_id="r1")
    finalize("s1", 20_000)
    assert committed("member:u1") == 20

    usage.record(Event("u1", "images", "draw", 0, {}, deduct=True, account_id=ACME, run_id="r1"), now=NOW, key=None)

    run = runs.show(ACME, "r1", by=BOSS).run
    assert (run.committed, run.records, committed("member:u1")) == (20, 2, 20)
    with pytest.raises(BudgetExceeded):
        stream("s2", 1)


def test_a_counter_outlives_every_session_that_can_count_in_it() -> None:
    budget("member:u1", 10, window="day")
    session = stream("s1")

    assert session.counters == (Counter("member", 2, "2027-01-15"),)
    item = table.get(budget_store.counter_key(Spender("u1", ACME), *session.counters))
    assert item is not None
    assert item["ttl"] == (from_iso("2027-01-16") + DAY + 90 * DAY + 30 * DAY) // 1000


@pytest.mark.parametrize("window", ["day", "total"])
def test_settling_a_session_whose_counter_is_gone_creates_a_counter_with_all_attributes(
    window: str, dynamodb: Any, table_name: str
) -> None:
    budget("member:u1", 10, window=window)
    stream("s1")
    session = session_store.get("u1", "s1")
    assert session is not None
    (counter,) = session.counters
    key = budget_store.counter_key(session.spender, counter)
    before = table.get(key)
    assert before is not None
    dynamodb.delete_item(TableName=table_name, Key=table.pack(key))

    finalize("s1", 2_000)

    item = table.get(key)
    assert item is not None
    assert (item["committed"], item["format"]) == (-4, 1)
    assert item.keys() == before.keys()
    assert ("ttl" in item) == (window == "day")


def test_the_data_model_page_states_the_cost_of_a_hold_and_of_a_settlement_with_limits(
    user: MakeUser, calls: Calls
) -> None:
    """The figures are those of docs/data-model.md for a caller who names the organization's account."""
    user("u1")
    key_id = make_key()
    budget("member:u1", 500, window="month")
    transact([budget_store.put(key_budget(key_id, 500))])
    runs.begin(Spender("u1", ACME), "r1", 500, expires_at=None, metadata={}, now=NOW)
    prices.card_at("m", NOW)
    used = Usage(900, 300, cached_input=100)
    calls.reset()

    stream("s1", 300, run_id="r1", key_id=key_id, estimated_usage=used)
    assert calls.round_trips == 2
    assert calls.write_units <= 15
    calls.reset()
    finalize("s1", 400)
    assert calls.round_trips == 2
    assert calls.write_units <= 23


def test_a_personal_hold_without_limits_reads_only_its_wallet(user: MakeUser, calls: Calls) -> None:
    user("u1", 100)
    prices.card_at("m", NOW)
    calls.reset()

    stream("s1", account_id=ACCOUNT, key_id="k")

    assert calls.operations == ["GetItem", "TransactWriteItems"]


@pytest.mark.parametrize(
    ("run_id", "has_budget", "admitted", "tightest"),
    [
        ("r1", True, 4, ["run:r1"]),
        (None, True, 6, ["member:u1"]),
        (None, False, 10, ["balance"]),
    ],
)
def test_32_callers_get_exactly_what_the_tightest_limit_covers(
    run_id: str | None, has_budget: bool, admitted: int, tightest: list[str]
) -> None:
    """The wallet covers ten sessions, the member's budget six and the run four; a session holds 2 credits."""
    table.client()  # before threads race to create it
    credits.set_available(Request("boss", "", "", 30, NOW, account_id=ACME), 20)
    if has_budget:
        budget("member:u1", 12)
    runs.begin(Spender("u1", ACME), "r1", 8, expires_at=None, metadata={}, now=NOW)

    answers = together(*(partial(stream, f"s{number}", 1_000, run_id=run_id) for number in range(32)))

    refused = [answer for answer in answers if isinstance(answer, AccountingError)]
    assert len(answers) - len(refused) == admitted
    assert {type(each) for each in refused} == {InsufficientCredits if tightest == ["balance"] else BudgetExceeded}
    assert {tuple(each["limit"] for each in refusal.details["limits"]) for refusal in refused} == {tuple(tightest)}
    assert wallets.get(ACME).held == 2 * admitted
    assert runs.show(ACME, "r1", by=BOSS).run.committed == (8 if run_id else 0)
    if has_budget:
        assert committed("member:u1") == 2 * admitted
    assert_books_balance("u1", ACME)


def test_the_number_of_budgets_of_an_account_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounting.operations.budgets.MAX_BUDGETS", 2)
    budget("member:u1", 10)
    budget("member:u2", 10)

    with pytest.raises(TooManyBudgets):
        budget("members", 10)
    budget("member:u1", 20)
