"""Organizations: admins cannot appoint, demote or remove owners, and closing an organization loses no credits.

The sweep runs every few minutes. It finishes interrupted closings, and moves or removes refunds that arrive later.
"""

from collections.abc import Callable

import pytest

from accounting import telemetry
from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import (
    AccountNotFound,
    Forbidden,
    IdempotencyConflict,
    Invalid,
    LastOwner,
    MemberNotFound,
    OrganizationClosed,
    UserErased,
    UserNotFound,
)
from accounting.domain.organizations import Member, Organization
from accounting.operations import closing, credits, erasing, sessions, settling
from accounting.operations import organizations as operations
from accounting.operations.audit import audit
from accounting.operations.credits import Request
from accounting.operations.sweep import sweep
from accounting.store import allocations, entries, organizations, users, wallets
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, MINUTE
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import NOW
from tests.metrics import Counted
from tests.together import together

type MakeUser = Callable[..., str]


@pytest.fixture
def acme(user: MakeUser) -> Organization:
    """An organization with the owner ``boss``, and three users who are not members yet."""
    for name in ("boss", "u1", "u2", "u3"):
        user(name)
    return operations.create("Acme", "boss", now=NOW, key=None).organization


def grant(account_id: AccountId, number: int, days: int = 30) -> None:
    credits.allocate(Request("admin", None, "bought", days, NOW, account_id=account_id), number)


def role(organization: Organization, user_id: str) -> str | None:
    found = organizations.member(organization.id, user_id)
    return found.role if found else None


def member(organization: Organization, user_id: str) -> Member:
    found = organizations.member(organization.id, user_id)
    assert found
    return found


def always() -> bool:
    return True


def test_an_organization_begins_with_its_owner_and_an_empty_wallet(acme: Organization) -> None:
    assert organizations.require(acme.id) == acme
    assert (role(acme, "boss"), acme.members, acme.owners) == ("owner", 1, 1)
    assert assert_books_balance("boss", acme.account_id).available == 0
    assert audit(acme.account_id, NOW)[0].intact


def test_a_repeated_creation_makes_one_organization(user: MakeUser) -> None:
    user("boss")
    key = IdempotencyKey("admin", "organizations", "k", "fingerprint")

    first = operations.create("Acme", "boss@example.com", now=NOW, key=key)
    again = operations.create("Acme", "boss@example.com", now=NOW, key=key)

    assert (again.organization, again.replayed) == (first.organization, True)
    assert len(organizations.of_all(before=None, limit=9)[0]) == 1
    with pytest.raises(IdempotencyConflict):
        operations.create("B", "boss", now=NOW, key=IdempotencyKey("admin", "organizations", "k", "another"))


def test_only_known_users_who_are_not_erased_become_members(acme: Organization) -> None:
    erasing.erase("u3", by="admin", now=NOW)
    with pytest.raises(UserNotFound):
        operations.create("B", "nobody", now=NOW, key=None)
    with pytest.raises(UserNotFound):
        operations.set_role(acme.id, "nobody", "member", by=None, now=NOW)
    for attempt in (
        lambda: operations.create("B", "u3", now=NOW, key=None),
        lambda: operations.set_role(acme.id, "u3", "member", by=None, now=NOW),
    ):
        with pytest.raises(UserErased):
            attempt()
    with pytest.raises(AccountNotFound):
        operations.set_role("NONE", "u1", "member", by=None, now=NOW)


def test_members_are_added_changed_and_removed(acme: Organization) -> None:
    boss = member(acme, "boss")
    operations.set_role(acme.id, "u1@example.com", "member", by=boss, now=NOW + 5)
    before = wallets.get(acme.account_id).version

    assert operations.set_role(acme.id, "u1", "member", by=boss, now=NOW + 9) == member(acme, "u1")
    assert wallets.get(acme.account_id).version == before, "a repeat changes nothing"
    operations.set_role(acme.id, "u1", "admin", by=boss, now=NOW + 9)
    assert member(acme, "u1") == Member(acme.id, "u1", "admin", NOW + 5)
    assert wallets.get(acme.account_id).version == before + 1
    operations.remove(acme.id, "u1", by=boss)
    assert role(acme, "u1") is None
    assert organizations.require(acme.id).members == 1
    with pytest.raises(MemberNotFound):
        operations.remove(acme.id, "u1", by=boss)


def test_admins_cannot_appoint_demote_or_remove_owners(acme: Organization) -> None:
    operations.set_role(acme.id, "u1", "admin", by=None, now=NOW)
    operations.set_role(acme.id, "u2", "owner", by=member(acme, "boss"), now=NOW)
    admin = member(acme, "u1")

    for attempt in (
        lambda: operations.set_role(acme.id, "u1", "owner", by=admin, now=NOW),
        lambda: operations.set_role(acme.id, "u3", "owner", by=admin, now=NOW),
        lambda: operations.set_role(acme.id, "u2", "member", by=admin, now=NOW),
        lambda: operations.remove(acme.id, "u2", by=admin),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert (role(acme, "u1"), role(acme, "u2"), role(acme, "u3")) == ("admin", "owner", None)
    operations.set_role(acme.id, "u3", "admin", by=admin, now=NOW)


def test_one_owner_stays_if_two_owners_remove_each_other_at_once(acme: Organization) -> None:
    operations.set_role(acme.id, "u1", "owner", by=None, now=NOW)
    boss, other = member(acme, "boss"), member(acme, "u1")

    outcomes = together(
        lambda: operations.remove(acme.id, "u1", by=boss),
        lambda: operations.remove(acme.id, "boss", by=other),
    )

    assert sorted(type(each).__name__ for each in outcomes) == ["LastOwner", "NoneType"]
    (left,) = organizations.members(acme.id, after=None, limit=9)[0]
    assert left.role == "owner"
    with pytest.raises(LastOwner):
        operations.set_role(acme.id, left.user_id, "member", by=None, now=NOW)


def test_closing_moves_every_lot_with_its_expiry(acme: Organization) -> None:
    for days in range(1, 46):
        grant(acme.account_id, days, days)
    total = sum(range(1, 46))
    lots = [(lot.credits, lot.expires_at) for lot in wallets.get(acme.account_id).lots]
    target = personal("u1")

    closed = closing.close(acme.id, target, actor="admin", now=NOW)

    assert (closed.moved, closed.removed, closed.held) == (total, 0, 0)
    assert (closed.organization.closed_at, closed.organization.transfer_to) == (NOW, target)
    assert [(lot.credits, lot.expires_at) for lot in wallets.get(target).lots] == lots
    source = assert_books_balance("boss", acme.account_id)
    assert (source.available, source.removed, source.due_at) == (0, total, None)
    assert assert_books_balance("u1").granted == total
    assert len(allocations.page(target, last=45, limit=100)) == 45
    assert audit(target, NOW)[0].intact
    assert audit(acme.account_id, NOW)[0].intact
    newest = entries.page(target, first=1, last=45, limit=1)[0]
    assert (newest.kind, newest.actor, newest.reason) == ("grant", "admin", f"From {acme.account_id}, which was closed")


def test_closing_without_a_target_removes_the_remaining_credits(acme: Organization) -> None:
    grant(acme.account_id, 50)

    assert closing.close(acme.id, None, actor="admin", now=NOW).removed == 50
    assert assert_books_balance("boss", acme.account_id).removed == 50


def test_closing_counts_the_expired_credits_of_both_accounts(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = personal("u1")
    for account_id, amount in ((acme.account_id, 50), (target, 7)):
        grant(account_id, amount, days=1)
        grant(account_id, 100)
    counted = Counted()
    monkeypatch.setattr(telemetry, "metrics", counted)

    closing.close(acme.id, target, actor="admin", now=NOW + 2 * DAY)

    assert (wallets.get(acme.account_id).expired, wallets.get(target).expired) == (50, 7)
    assert counted.counts["CreditsExpired"] == 57


def test_a_closed_organization_refuses_new_credits_new_holds_and_changes_of_members(acme: Organization) -> None:
    grant(acme.account_id, 50)
    operations.set_role(acme.id, "u1", "member", by=None, now=NOW)
    closing.close(acme.id, None, actor="admin", now=NOW)

    for attempt in (
        lambda: grant(acme.account_id, 5),
        lambda: credits.set_available(Request("admin", None, "", 30, NOW, account_id=acme.account_id), 5),
        lambda: sessions.initialize("u1", "s1", "m", 1_000, now=NOW, account_id=acme.account_id),
        lambda: operations.set_role(acme.id, "u2", "member", by=None, now=NOW),
        lambda: operations.remove(acme.id, "u1", by=None),
    ):
        with pytest.raises(OrganizationClosed):
            attempt()
    assert assert_books_balance("boss", acme.account_id).available == 0


@pytest.mark.parametrize("transfer", [True, False])
def test_a_refund_after_the_closing_is_moved_or_removed_by_the_sweep(acme: Organization, transfer: bool) -> None:
    operations.set_role(acme.id, "u1", "member", by=None, now=NOW)
    grant(acme.account_id, 50)
    sessions.initialize("u1", "s1", "m", 20_000, now=NOW, account_id=acme.account_id)
    target = personal("u2") if transfer else None

    closed = closing.close(acme.id, target, actor="admin", now=NOW)
    assert (closed.moved + closed.removed, closed.held) == (26, 24)
    settling.finalize("u1", "s1", 20_000, success=True, now=NOW + MINUTE)
    assert wallets.get(acme.account_id).available == 4
    swept = sweep(NOW + 2 * MINUTE, always)

    assert (swept.failures, swept.complete) == (0, True)
    source = wallets.get(acme.account_id)
    assert (source.available, source.held, source.charged, source.due_at) == (0, 0, 20, None)
    assert_books_balance("u1", acme.account_id)
    assert wallets.get(personal("u2")).available == (30 if transfer else 0)
    assert sweep(NOW + 3 * MINUTE, always).failures == 0
    again = closing.close(acme.id, target, actor="admin", now=NOW + 4 * MINUTE)
    assert (again.moved, again.removed, again.held, again.organization) == (0, 0, 0, closed.organization)


def test_an_interrupted_closing_is_finished_by_the_sweep(acme: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    grant(acme.account_id, 50)
    with monkeypatch.context() as patched:
        patched.setattr(closing, "_empty_some", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            closing.close(acme.id, personal("u2"), actor="admin", now=NOW)
    assert wallets.get(acme.account_id).available == 50

    sweep(NOW + MINUTE, always)

    assert wallets.get(acme.account_id).available == 0
    assert assert_books_balance("u2").available == 50


def test_credits_move_once_even_if_an_organization_is_closed_many_times_at_once(acme: Organization) -> None:
    for days in range(1, 46):
        grant(acme.account_id, 1, days)

    together(*[lambda: closing.close(acme.id, personal("u2"), actor="admin", now=NOW)] * 4)

    assert (wallets.get(acme.account_id).available, wallets.get(personal("u2")).available) == (0, 45)
    assert_books_balance("u2")


def test_closing_moves_credits_only_to_another_open_account(acme: Organization) -> None:
    other = operations.create("Other", "boss", now=NOW, key=None).organization
    closed = operations.create("Gone", "boss", now=NOW, key=None).organization
    closing.close(closed.id, None, actor="admin", now=NOW)

    erasing.erase("u1", by="admin", now=NOW)

    for target in (acme.account_id, closed.account_id, personal("nobody"), AccountId("org:NONE"), personal("u1")):
        with pytest.raises(Invalid):
            closing.close(acme.id, target, actor="admin", now=NOW)
    assert organizations.require(acme.id).closed_at is None
    closing.close(acme.id, other.account_id, actor="admin", now=NOW)
    with pytest.raises(Invalid):
        closing.close(other.id, acme.account_id, actor="admin", now=NOW)
    with pytest.raises(OrganizationClosed):
        closing.close(acme.id, None, actor="admin", now=NOW)
    with pytest.raises(AccountNotFound):
        closing.close("NONE", None, actor="admin", now=NOW)


def test_if_two_organizations_are_closed_into_each_other_at_once_only_one_is_closed(acme: Organization) -> None:
    other = operations.create("Other", "boss", now=NOW, key=None).organization
    grant(acme.account_id, 5)
    grant(other.account_id, 7)

    together(
        lambda: closing.close(acme.id, other.account_id, actor="admin", now=NOW),
        lambda: closing.close(other.id, acme.account_id, actor="admin", now=NOW),
    )

    closed = [each for each in organizations.of_all(before=None, limit=9)[0] if each.closed_at is not None]
    assert len(closed) == 1
    assert sum(wallets.get(each.account_id).available for each in (acme, other)) == 12


def test_an_organization_outlives_the_erasure_of_its_members(acme: Organization) -> None:
    operations.set_role(acme.id, "u1", "member", by=None, now=NOW)
    erasing.erase("u1", by="admin", now=NOW)
    sweep(NOW + DAY, always)

    found = organizations.members(acme.id, after=None, limit=9)[0]
    assert [each.user_id for each in found] == ["boss", "u1"]
    assert users.emails_of(["boss", "u1"]) == ["boss@example.com", ""]
    operations.remove(acme.id, "u1", by=None)


def test_calls_and_write_units_of_changes_of_members_match_the_data_model_page(
    acme: Organization, calls: Calls
) -> None:
    changes: dict[str, Callable[[], object]] = {
        "add": lambda: operations.set_role(acme.id, "u1", "member", by=None, now=NOW),
        "change": lambda: operations.set_role(acme.id, "u1", "admin", by=None, now=NOW),
        "remove": lambda: operations.remove(acme.id, "u1", by=None),
    }
    spent = {}
    for name, change in changes.items():
        calls.reset()
        change()
        spent[name] = (calls.round_trips, calls.write_units)

    assert spent == {"add": (3, 7), "change": (3, 6), "remove": (2, 7)}, "adding and changing also read the user"
