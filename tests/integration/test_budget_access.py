"""Who may spend from an account, and who may see and change the budgets that limit its spending."""

from typing import Any

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.budgets import Spender
from accounting.domain.errors import (
    AccountNotFound,
    BudgetExceeded,
    Forbidden,
    Invalid,
    MemberNotFound,
    OrganizationClosed,
    UserDisabled,
)
from accounting.domain.organizations import Member
from accounting.operations import budgets, closing, runs, sessions, usage
from accounting.operations import users as people
from accounting.operations.budgets import Requester
from accounting.operations.usage import Event
from accounting.store import organizations
from accounting.store.table import transact
from tests.integration import acme
from tests.integration.acme import ACME, BOSS, MakeUser, budget, committed, finalize, limits, make_key, stream
from tests.integration.conftest import ACCOUNT, NOW


@pytest.fixture(autouse=True)
def _acme(table_name: str) -> None:
    acme.make_organization()


def test_a_user_who_is_not_a_member_can_only_spend_credits_that_are_already_held(user: MakeUser) -> None:
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


def test_a_disabled_member_can_only_spend_credits_that_are_already_held(user: MakeUser) -> None:
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


def test_a_hold_is_decided_again_if_a_budget_is_set_after_the_limits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from accounting.store import allowances

    read, once = allowances.read, [True]

    def read_then_change(spender: Spender) -> Any:
        found = read(spender)
        if once.pop() if once else False:
            budget("member:u1", 5)
        return found

    monkeypatch.setattr(allowances, "read", read_then_change)

    with pytest.raises(BudgetExceeded):
        stream("s1")


@pytest.mark.parametrize("account_id", [ACCOUNT, ACME])
def test_budgets_limit_spending_from_personal_and_shared_accounts(account_id: Any, user: MakeUser) -> None:
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
        budget("member:u1", 10, by=Requester("u1"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, by=Requester("stranger"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, stored("org:none"))
    with pytest.raises(AccountNotFound):
        budget("member:u1", 10, ACCOUNT, by=Requester("u2"))
    with pytest.raises(MemberNotFound):
        budget("member:stranger", 10)
    budget("member:u1", 10, by=Requester("owner"))
    budget("member:u1", 20, ACCOUNT, by=Requester("u1"))
    budget("member:u1", 15, ACCOUNT)

    for change in (
        lambda: budget("member:u1", 99, ACCOUNT, by=Requester("u1")),
        lambda: budgets.delete(ACCOUNT, "member:u1", by=Requester("u1")),
    ):
        with pytest.raises(Forbidden):
            change()
    budgets.delete(ACCOUNT, "member:u1", by=BOSS)


def test_members_see_only_the_budgets_that_limit_them() -> None:
    budget("members", 10)
    budget("member:u2", 10)
    stream("s1")

    def seen(by: Requester, user_id: str | None = None) -> list[tuple[str, int | None]]:
        found, _ = budgets.page(ACME, by=by, user_id=user_id, after=None, limit=9, now=NOW)
        return [(each.budget.subject, each.committed) for each in found]

    assert seen(Requester("u1")) == [("members", 6)]
    assert seen(Requester("u2")) == [("member:u2", 0)]
    assert seen(Requester("owner"), "u1") == [("members", 6)]
    assert seen(Requester("owner"), "owner") == []
    assert seen(Requester("owner")) == [("member:u2", 0), ("members", None)]
    with pytest.raises(Forbidden):
        seen(Requester("u1"), "u2")
    with pytest.raises(AccountNotFound):
        seen(Requester("stranger"))


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
