"""Budgets and runs: what a hold, a raise, a record and a settlement count, and what a refusal names."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.budgets import Counter, Spender
from accounting.domain.errors import (
    AccountingError,
    AccountNotFound,
    BudgetExceeded,
    Forbidden,
    InsufficientCredits,
    Invalid,
    MemberNotFound,
    OrganizationClosed,
    RunEnded,
    RunExists,
    RunNotFound,
    TooManyBudgets,
    UserDisabled,
)
from accounting.domain.model_usage import Usage
from accounting.domain.organizations import Member
from accounting.operations import api_keys, budgets, closing, credits, runs, sessions, settling, usage
from accounting.operations import users as people
from accounting.operations.budgets import Manager, Wanted
from accounting.operations.credits import Request
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.store import budgets as budget_store
from accounting.store import entries, organizations, prices, table, wallets
from accounting.store.table import transact
from accounting.times import DAY, HOUR, from_iso
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with
from tests.together import together

type MakeUser = Callable[..., str]

ACME = stored("org:acme")
BOSS = Manager("boss", platform=True)


@pytest.fixture(autouse=True)
def _acme(table_name: str) -> None:
    """An organization with a thousand credits, two members and an owner."""
    organization_with(ACME, "u1", "u2", now=NOW)
    transact([organizations.add_member(Member("acme", "owner", "owner", NOW))])
    grant(1_000)


def grant(amount: int, account_id: Any = ACME, now: int = NOW) -> None:
    credits.allocate(Request("boss", "", "", 365, now, account_id=account_id), amount)


def budget(subject: str, limit: int, account_id: Any = ACME, by: Manager = BOSS, now: int = NOW, **more: Any) -> Any:
    return budgets.put(account_id, subject, Wanted(limit, more.pop("window", "total"), **more), by=by, now=now)


def stream(session_id: str, tokens: int = 5_000, user_id: str = "u1", account_id: Any = ACME, **more: Any) -> Any:
    """Open a session that holds 6 credits for 5,000 tokens."""
    now = more.pop("now", NOW)
    return sessions.initialize(user_id, session_id, "m", tokens, now=now, account_id=account_id, **more).session


def finalize(session_id: str, tokens: int, user_id: str = "u1", now: int = NOW) -> Any:
    return settling.finalize(user_id, session_id, tokens, success=True, now=now, account_id=ACME).session


def committed(subject: str, account_id: Any = ACME, user_id: str | None = None, now: int = NOW) -> int:
    found, _ = budgets.page(account_id, by=BOSS, user_id=user_id, after=None, limit=100, now=now)
    (standing,) = [each for each in found if each.budget.subject == subject]
    assert standing.committed is not None
    return standing.committed


def make_key(user_id: str = "u1") -> str:
    made = api_keys.create(user_id, "a key", ("sessions:write",), expires_at=None, now=NOW, idempotency_key=None)
    return made.key.id


def limits(refused: pytest.ExceptionInfo[Any]) -> list[tuple[str, int, int]]:
    said = refused.value.details["limits"]
    return [(each["limit"], each["remainingCredits"], each["requiredCredits"]) for each in said]


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


def test_a_refusal_takes_nothing_and_names_every_limit_that_fails() -> None:
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
def test_each_limit_alone_refuses(tightest: str, user: MakeUser) -> None:
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


def test_a_budget_of_all_members_counts_each_separately_and_limits_no_owner() -> None:
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
    """Held in November, raised and settled in December, and corrected after that."""
    november, december = from_iso("2027-11-30T23:30:00Z"), from_iso("2027-12-01T00:10:00Z")
    grant(1_000, now=november)
    budget("member:u1", 20, window="month", now=november)

    stream("s1", now=november)
    stream("s2", now=november)
    assert committed("member:u1", now=november) == 12
    sessions.heartbeat("u1", "s1", 7_000, now=december)
    assert committed("member:u1", now=november) == 15, "raised to 7 credits and the buffer: 9"
    finalize("s1", 7_000, now=december)
    assert sweep(december + 2 * HOUR, lambda: True).sessions == 1
    assert committed("member:u1", now=november) == 7
    finalize("s2", 4_000, now=december + 3 * HOUR)

    assert committed("member:u1", now=november) == 11
    assert committed("member:u1", now=december) == 0
    stream("s3", 15_000, now=december)
    assert committed("member:u1", now=december) == 18


def test_a_budget_unused_for_a_year_is_right_on_its_first_request() -> None:
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
    assert committed("member:u1") == 6, "a limit below what is committed loses nothing"
    with pytest.raises(BudgetExceeded):
        stream("s2", 1)
    finalize("s1", 3_000)
    assert stream("s2", 1).allocated_credits == 2
    for window, zone in (("week", "UTC"), ("week", "America/Santiago"), ("month", "UTC")):
        budget("member:u1", 5, window=window, zone=zone)
        assert committed("member:u1") == 0
    finalize("s2", 1)
    assert committed("member:u1") == 0, "it settles in the counter that it was held in"


def test_a_change_that_changes_nothing_writes_nothing(calls: Calls) -> None:
    first = budget("member:u1", 10)
    wallet = wallets.get(ACME)

    assert budget("member:u1", 10, now=NOW + 1) == first
    assert wallets.get(ACME) == wallet


def test_deleting_a_budget_lifts_the_limit_and_a_new_one_begins_at_zero() -> None:
    budget("member:u1", 6)
    stream("s1")

    budgets.delete(ACME, "member:u1", by=BOSS)
    stream("s2")
    finalize("s1", 1)
    assert wallets.get(ACME).budgets == 0
    budget("member:u1", 6)

    assert committed("member:u1") == 0


def test_a_raise_is_refused_by_every_limit_and_the_report_is_kept() -> None:
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


def test_a_raise_of_a_session_older_than_the_budget_is_not_limited_by_it() -> None:
    stream("s1")
    budget("member:u1", 1)

    sessions.heartbeat("u1", "s1", 9_000, now=NOW)

    assert committed("member:u1") == 0


def test_a_raise_is_limited_by_the_budget_that_its_session_began_under() -> None:
    """The member got a budget of their own later, but the session does not count in it."""
    budget("members", 8)
    stream("s1")
    budget("member:u1", 100)

    with pytest.raises(BudgetExceeded) as refused:
        sessions.heartbeat("u1", "s1", 9_000, now=NOW)

    assert limits(refused) == [("members", 2, 3)]


def test_with_a_reduced_buffer_a_hold_takes_the_least_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_record_with_a_deduction_counts_at_once() -> None:
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


def test_what_costs_nothing_is_admitted_beyond_every_limit() -> None:
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


def test_a_run_has_the_sums_of_its_sessions_and_records(user: MakeUser) -> None:
    user("u1", 100)
    runs.begin(Spender("u1", ACCOUNT), "r1", 50, expires_at=None, metadata={"task": "t"}, now=NOW)

    for session_id, model, tokens in (("a", "m", 3_000), ("b", "m", 1_000), ("c", "n", 2_000)):
        sessions.initialize("u1", session_id, model, 5_000, now=NOW, run_id="r1")
        settling.finalize("u1", session_id, tokens, success=True, now=NOW)
    stream("swept", account_id=ACCOUNT, run_id="r1")
    sessions.heartbeat("u1", "swept", 4_000, now=NOW)
    sweep(NOW + 2 * HOUR, lambda: True)
    settling.finalize("u1", "swept", 1_000, success=True, now=NOW + 3 * HOUR)
    stream("open", account_id=ACCOUNT, run_id="r1")

    summary = runs.show(ACCOUNT, "r1", by=Manager("u1"))
    run = summary.run
    assert (run.committed, run.spent, run.sessions, run.records) == (7 + 6, 7, 5, 5)
    assert summary.by_model == {"m": 5, "n": 2}
    assert summary.metadata == {"task": "t"}
    found = usage.statistics("u1", None, None).recent
    assert sum(each.credits for each in found if each.run_id == "r1") == run.spent
    kinds = {each.kind for each in entries.page(ACCOUNT, first=1, last=99, limit=99) if each.run_id == "r1"}
    assert kinds == {"hold", "settle"}
    assert_books_balance("u1")


def test_a_stopped_run_admits_nothing_more_and_its_open_sessions_settle() -> None:
    begun = runs.begin(Spender("u1", ACME), "r1", 50, expires_at=None, metadata={}, now=NOW).run
    stream("s1", run_id="r1")

    stopped = runs.stop(ACME, "r1", by=Manager("u1"), now=NOW + 1)
    assert runs.stop(ACME, "r1", by=Manager("u1"), now=NOW + 2) == stopped
    with pytest.raises(RunEnded) as refused:
        stream("s2", run_id="r1")
    assert refused.value.details == {"runId": "r1", "status": "stopped"}
    assert stream("s1", run_id="r1").active, "a repeat gets the first answer"
    finalize("s1", 4_000)

    run = runs.show(ACME, "r1", by=BOSS).run
    assert (run.status(NOW), run.committed, run.spent, run.sessions, run.records) == ("stopped", 4, 4, 1, 1)
    assert begun.status(NOW) == "active"


def test_a_run_expires() -> None:
    runs.begin(Spender("u1", ACME), "r1", 50, expires_at=NOW + HOUR, metadata={}, now=NOW)

    with pytest.raises(RunEnded) as refused:
        stream("s1", run_id="r1", now=NOW + HOUR)

    assert refused.value.details["status"] == "expired"
    for wrong in (NOW, NOW - 1, NOW + 367 * DAY):
        with pytest.raises(Invalid):
            runs.begin(Spender("u1", ACME), "r2", 50, expires_at=wrong, metadata={}, now=NOW)


def test_a_run_is_made_once_and_belongs_to_one_account(user: MakeUser) -> None:
    user("u1", 100)
    spender = Spender("u1", ACME)
    made = runs.begin(spender, "r1", 50, expires_at=None, metadata={}, now=NOW)

    again = runs.begin(spender, "r1", 50, expires_at=None, metadata={}, now=NOW + 5)
    assert (again.run, again.replayed) == (made.run, True)
    for other in ((spender, 51), (Spender("u2", ACME), 50)):
        with pytest.raises(RunExists):
            runs.begin(other[0], "r1", other[1], expires_at=None, metadata={}, now=NOW)
    with pytest.raises(Invalid):
        sessions.initialize("u1", "s1", "m", 5_000, now=NOW, run_id="r1")
    with pytest.raises(AccountNotFound):
        runs.begin(Spender("stranger", ACME), "r2", 50, expires_at=None, metadata={}, now=NOW)
    with pytest.raises(RunNotFound):
        runs.show(ACME, "r1", by=Manager("u2"))
    with pytest.raises(RunNotFound):
        runs.stop(ACME, "none", by=BOSS, now=NOW)
    with pytest.raises(AccountNotFound):
        runs.show(ACME, "r1", by=Manager("stranger"))
    assert runs.show(ACME, "r1", by=Manager("owner")).run == made.run
    stream("s1", run_id="r1", user_id="u2")


def test_a_user_who_is_not_a_member_spends_nothing_from_the_account(user: MakeUser) -> None:
    user("u1")
    stream("s1")
    stream("fits")

    for user_id, account_id in (("stranger", ACME), ("u1", personal("u2")), ("u1", stored("org:none"))):
        with pytest.raises(AccountNotFound):
            stream("s2", user_id=user_id, account_id=account_id)
        for deduct in (False, True):
            with pytest.raises(AccountNotFound):
                usage.record(Event(user_id, "images", "draw", 1, {}, deduct, account_id), now=NOW, key=None)
    transact([organizations.remove_member(Member("acme", "u1", "member", NOW)), organizations.bump_wallet(ACME)])
    with pytest.raises(AccountNotFound):
        stream("s2")
    with pytest.raises(AccountNotFound):
        sessions.heartbeat("u1", "s1", 90_000, now=NOW)
    assert sessions.heartbeat("u1", "fits", 5_000, now=NOW).tokens == 5_000

    assert finalize("s1", 4_000).settled.credits == 4


def test_a_stranger_learns_nothing_about_the_state_of_an_account(user: MakeUser) -> None:
    user("u1", 100)
    user("u2", 100)
    for account_id in (ACME, personal("u2")):
        spender = Spender("u1" if account_id == ACME else "u2", account_id)
        runs.begin(spender, "r1", 50, expires_at=None, metadata={}, now=NOW)
        runs.stop(account_id, "r1", by=BOSS, now=NOW)

    def assert_unseen() -> None:
        for account_id, run_id in ((ACME, None), (ACME, "r1"), (personal("u2"), None), (personal("u2"), "r1")):
            with pytest.raises(AccountNotFound):
                stream("s1", user_id="u3", account_id=account_id, run_id=run_id)
            event = Event("u3", "images", "draw", 1, {}, deduct=True, account_id=account_id, run_id=run_id)
            with pytest.raises(AccountNotFound):
                usage.record(event, now=NOW, key=None)

    assert_unseen()
    people.disable("u2", by="boss", reason="", now=NOW)
    closing.close("acme", None, actor="boss", now=NOW)
    assert_unseen()
    for deduct in (True, False):
        with pytest.raises(OrganizationClosed):
            usage.record(Event("u1", "images", "draw", 1, {}, deduct, ACME), now=NOW, key=None)


def test_a_disabled_member_gets_nothing_new(user: MakeUser) -> None:
    user("u1")
    stream("s1")
    people.disable("u1", by="boss", reason="", now=NOW)

    with pytest.raises(UserDisabled):
        stream("s2")
    with pytest.raises(UserDisabled):
        sessions.heartbeat("u1", "s1", 90_000, now=NOW)
    with pytest.raises(UserDisabled):
        usage.record(Event("u1", "images", "draw", 1, {}, False, ACME), now=NOW, key=None)
    assert finalize("s1", 4_000).settled.credits == 4


def test_a_change_between_reading_and_holding_is_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounting.store import allowances

    read, once = allowances.read, [True]

    def then_changed(spender: Spender) -> Any:
        found = read(spender)
        if once.pop() if once else False:
            budget("member:u1", 5)
        return found

    monkeypatch.setattr(allowances, "read", then_changed)

    with pytest.raises(BudgetExceeded):
        stream("s1")


@pytest.mark.parametrize("account_id", [ACCOUNT, ACME])
def test_a_personal_account_has_budgets_too(account_id: Any, user: MakeUser) -> None:
    user("u1", 100)
    key_id = make_key()
    budget("member:u1", 10, account_id)
    if account_id == ACCOUNT:
        budget(f"key:{key_id}", 7, account_id)
        with pytest.raises(Invalid):
            budget("members", 10, account_id)
        with pytest.raises(Invalid):
            budget("member:u2", 10, account_id)
    stream("s1", account_id=account_id, key_id=key_id)

    with pytest.raises(BudgetExceeded) as refused:
        stream("s2", account_id=account_id, key_id=key_id)

    assert limits(refused)[0] == ("member:u1", 4, 6)
    assert committed("member:u1", account_id) == 6


def test_only_those_who_manage_an_account_change_its_budgets(user: MakeUser) -> None:
    user("u1", 100)
    user("u2")
    with pytest.raises(Forbidden):
        budget("member:u1", 10, by=Manager("u1"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, by=Manager("stranger"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, stored("org:none"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, ACCOUNT, by=Manager("u2"))
    with pytest.raises(MemberNotFound):
        budget("member:stranger", 10)
    budget("member:u1", 10, by=Manager("owner"))
    budget("member:u1", 20, ACCOUNT, by=Manager("u1"))
    budget("member:u1", 15, ACCOUNT)

    for change in (
        lambda: budget("member:u1", 99, ACCOUNT, by=Manager("u1")),
        lambda: budgets.delete(ACCOUNT, "member:u1", by=Manager("u1")),
    ):
        with pytest.raises(Forbidden):
            change()
    budgets.delete(ACCOUNT, "member:u1", by=BOSS)


def test_members_see_only_the_budgets_that_limit_them(user: MakeUser) -> None:
    budget("members", 10)
    budget("member:u2", 10)
    stream("s1")

    def seen(by: Manager, user_id: str | None = None) -> list[tuple[str, int | None]]:
        found, _ = budgets.page(ACME, by=by, user_id=user_id, after=None, limit=9, now=NOW)
        return [(each.budget.subject, each.committed) for each in found]

    assert seen(Manager("u1")) == [("members", 6)]
    assert seen(Manager("u2")) == [("member:u2", 0)]
    assert seen(Manager("owner"), "u1") == [("members", 6)]
    assert seen(Manager("owner"), "owner") == []
    assert seen(Manager("owner")) == [("member:u2", 0), ("members", None)]
    with pytest.raises(Forbidden):
        seen(Manager("u1"), "u2")
    with pytest.raises(AccountNotFound):
        seen(Manager("stranger"))


def test_a_list_of_budgets_has_pages() -> None:
    for user_id in ("u1", "u2", "owner"):
        budget(f"member:{user_id}", 10)
    names, after = list[str](), None
    while True:
        page, after = budgets.page(ACME, by=BOSS, user_id=None, after=after, limit=1, now=NOW)
        names += [each.budget.subject for each in page]
        if after is None:
            break

    assert names == ["member:owner", "member:u1", "member:u2"]


def test_a_counter_outlives_every_session_that_can_commit_to_it() -> None:
    budget("member:u1", 10, window="day")
    session = stream("s1")

    assert session.counters == (Counter("member", 2, "2027-01-15"),)
    item = table.get(budget_store.counter_key(Spender("u1", ACME), *session.counters))
    assert item is not None
    assert item["ttl"] == (from_iso("2027-01-16") + DAY + 90 * DAY + 30 * DAY) // 1000


def test_an_organizations_hold_with_every_limit_keeps_its_budget(user: MakeUser, calls: Calls) -> None:
    """A hold takes 2 round trips and 15 units, its settlement with a hint 2 round trips and 23 units."""
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
    ("run_id", "own", "admitted", "tightest"),
    [
        ("r1", True, 4, ["run:r1"]),
        (None, True, 6, ["member:u1"]),
        (None, False, 10, ["balance"]),
    ],
)
def test_32_callers_get_exactly_what_the_tightest_limit_covers(
    run_id: str | None, own: bool, admitted: int, tightest: list[str]
) -> None:
    """The wallet covers ten sessions, the member's budget six and the run four; a session holds 2 credits."""
    table.client()  # before threads race to create it
    credits.set_available(Request("boss", "", "", 30, NOW, account_id=ACME), 20)
    if own:
        budget("member:u1", 12)
    runs.begin(Spender("u1", ACME), "r1", 8, expires_at=None, metadata={}, now=NOW)

    answers = together(*(partial(stream, f"s{number}", 1_000, run_id=run_id) for number in range(32)))

    refused = [answer for answer in answers if isinstance(answer, AccountingError)]
    assert len(answers) - len(refused) == admitted
    assert {type(each) for each in refused} == {InsufficientCredits if tightest == ["balance"] else BudgetExceeded}
    assert {tuple(each["limit"] for each in refusal.details["limits"]) for refusal in refused} == {tuple(tightest)}
    assert wallets.get(ACME).held == 2 * admitted
    assert runs.show(ACME, "r1", by=BOSS).run.committed == (8 if run_id else 0)
    if own:
        assert committed("member:u1") == 2 * admitted
    assert_books_balance("u1", ACME)


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """The budget and the level in credits of each warning since the last call."""
    lines = [vars(record) for record in caplog.records if "warning level" in record.message]
    caplog.clear()
    return [(line["budget"], line["level_credits"]) for line in lines]


def test_each_warning_level_is_logged_once_in_a_window(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 40, window="day", warn_at=(50, 80))
    said = []
    for number in range(6):
        stream(f"s{number}")
        said.append(warnings(caplog))

    assert said == [[], [], [], [("member:u1", 20)], [], [("member:u1", 32)]]
    stream("tomorrow", now=NOW + DAY)
    assert warnings(caplog) == []
    stream("much", 16_000, now=NOW + DAY)
    assert warnings(caplog) == [("member:u1", 20)]


def test_a_record_and_a_raise_reach_warning_levels_too(caplog: pytest.LogCaptureFixture) -> None:
    budget("members", 40, warn_at=(25, 100))
    usage.record(Event("u1", "s", "o", 12, {}, True, account_id=ACME), now=NOW, key=None)
    assert warnings(caplog) == [("members", 10)]

    stream("s1")
    sessions.heartbeat("u1", "s1", 23_000, now=NOW)
    assert warnings(caplog) == [("members", 40)]


def test_a_level_of_another_limit_is_reported_again(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 10, warn_at=(50,))
    stream("s1")
    assert warnings(caplog) == [("member:u1", 5)]

    budget("member:u1", 20, warn_at=(50,))
    stream("s2")
    assert warnings(caplog) == [("member:u1", 10)]


def test_a_level_that_only_an_overrun_reached_is_reported_by_the_next_hold(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 100, warn_at=(50,))
    stream("s1")
    finalize("s1", 60_000)
    assert warnings(caplog) == []

    stream("s2")
    assert warnings(caplog) == [("member:u1", 50)]


def test_callers_that_reach_a_level_at_once_report_it_once(caplog: pytest.LogCaptureFixture) -> None:
    table.client()  # before threads race to create it
    budget("member:u1", 100, warn_at=(10,))

    together(*(partial(stream, f"s{number}") for number in range(8)))

    assert [level for _, level in warnings(caplog)] == [10]
    assert committed("member:u1") == 48


def test_an_account_has_at_most_so_many_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounting.operations.budgets.MAX_BUDGETS", 2)
    budget("member:u1", 10)
    budget("member:u2", 10)

    with pytest.raises(TooManyBudgets):
        budget("members", 10)
    budget("member:u1", 20)
