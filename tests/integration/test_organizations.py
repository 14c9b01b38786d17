"""Organizations and their members in the table: lookups by organization and by user, pages, and refused changes."""

import pytest

from accounting.domain.organizations import Member, Organization
from accounting.domain.wallet import Wallet
from accounting.store import organizations, wallets
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, transact
from tests.integration.conftest import NOW

ACME = Organization("ACME", "Acme", NOW, members=1, owners=1)


def store_with_members(*user_ids: str, organization: Organization = ACME) -> None:
    empty = Wallet(organization.account_id)
    members = [Member(organization.id, user_id, "member", NOW + at) for at, user_id in enumerate(user_ids)]
    added = [organizations.add_member(member) for member in members]
    transact([organizations.put(organization), wallets.put(empty, empty._replace(version=1)), *added])


def test_members_are_found_by_organization_and_organizations_by_member() -> None:
    other = ACME._replace(id="OTHER", created_at=NOW + 1)
    store_with_members("u1", "u2")
    store_with_members("u1", organization=other)

    assert organizations.get("ACME") == ACME
    assert organizations.with_member("ACME", "u2") == (ACME, Member("ACME", "u2", "member", NOW + 1))
    assert organizations.with_member("NONE", "u2") == (None, None)
    assert organizations.member("OTHER", "u2") is None
    assert [each.user_id for each in organizations.members("ACME", after=None, limit=9)[0]] == ["u1", "u2"]
    found, position = organizations.of_user("u1", before=None, limit=9)
    assert ({each.id for each, _ in found}, position) == ({"ACME", "OTHER"}, None)
    assert [each.id for each in organizations.of_all(before=None, limit=9)[0]] == ["OTHER", "ACME"]


def test_the_pages_of_members_leave_nobody_out() -> None:
    store_with_members(*(f"u{number}" for number in range(5)))
    names, after = list[str](), None

    for _ in range(3):
        page, after = organizations.members("ACME", after=after, limit=2)
        names += [each.user_id for each in page]

    assert (names, after) == ([f"u{number}" for number in range(5)], None)


def test_a_change_of_members_that_is_based_on_outdated_data_is_refused() -> None:
    store_with_members("u1")
    member, after = Member("ACME", "u1", "member", NOW), ACME.recounted("member", "owner")

    transact([organizations.change_member(member, "owner"), organizations.recount(ACME, after)])

    assert organizations.with_member("ACME", "u1") == (after, member._replace(role="owner"))
    for write in (
        organizations.change_member(member, "admin"),
        organizations.remove_member(member),
        organizations.add_member(member),
        organizations.recount(ACME, after),
    ):
        with pytest.raises(Conflict):
            transact([write])
    transact([organizations.remove_member(member._replace(role="owner"))])
    assert organizations.of_user("u1", before=None, limit=9) == ([], None)


def test_a_change_of_members_makes_an_earlier_read_of_the_wallet_stale() -> None:
    store_with_members("u1")
    before = wallets.get(ACME.account_id)

    transact([organizations.bump_wallet(ACME.account_id)])

    with pytest.raises(StaleRead):
        transact([wallets.put(before, before._replace(version=2))])
