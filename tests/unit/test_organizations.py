"""The rules of organizations for changing members, for keeping an owner, and for closing."""

import pytest

from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import Forbidden, LastOwner, OrganizationClosed, TooManyMembers
from accounting.domain.organizations import MAX_MEMBERS, Member, Organization, Role, require_may_change

OPEN = Organization("o1", "Acme", 1, members=3, owners=1)
PLATFORM_ADMINISTRATOR = None
"""For an administrator of the platform, ``require_may_change`` gets None in place of a member."""


def test_an_organization_pays_from_its_own_account() -> None:
    assert OPEN.account_id == "org:o1"


@pytest.mark.parametrize(
    ("before", "after", "members", "owners"),
    [
        (None, "member", 4, 1),
        (None, "owner", 4, 2),
        ("member", None, 2, 1),
        ("member", "owner", 3, 2),
        ("admin", "member", 3, 1),
    ],
)
def test_members_and_owners_are_counted(before: Role | None, after: Role | None, members: int, owners: int) -> None:
    changed = OPEN.recounted(before, after)

    assert (changed.members, changed.owners, changed.revision) == (members, owners, OPEN.revision + 1)


@pytest.mark.parametrize("after", [None, "admin", "member"])
def test_the_last_owner_cannot_leave_or_get_another_role(after: Role | None) -> None:
    with pytest.raises(LastOwner) as refused:
        OPEN.recounted("owner", after)
    assert str(refused.value) == "The organization needs an owner; make another member an owner first"

    assert OPEN._replace(owners=2).recounted("owner", after).owners == 1


def test_the_number_of_members_is_limited() -> None:
    full = OPEN._replace(members=MAX_MEMBERS)

    with pytest.raises(TooManyMembers) as refused:
        full.recounted(None, "member")
    assert str(refused.value) == "An organization may have at most 10000 members"
    assert refused.value.details == {"limit": 10_000}
    assert full.recounted("member", "admin").members == MAX_MEMBERS
    assert full.recounted("member", None).recounted(None, "member").members == MAX_MEMBERS


def test_members_of_a_closed_organization_do_not_change() -> None:
    with pytest.raises(OrganizationClosed):
        OPEN._replace(closed_at=2).recounted(None, "member")


@pytest.mark.parametrize("transfer_to", [personal("u1"), None])
def test_a_closed_organization_stores_when_it_closed_and_who_gets_its_credits(transfer_to: AccountId | None) -> None:
    closed = OPEN.closed(transfer_to, 7)

    assert closed == OPEN._replace(closed_at=7, transfer_to=transfer_to, revision=OPEN.revision + 1)


@pytest.mark.parametrize(
    ("before", "after"), [(None, "owner"), ("member", "owner"), ("owner", "admin"), ("owner", None), ("owner", "owner")]
)
def test_only_owners_and_platform_administrators_can_change_who_is_an_owner(
    before: Role | None, after: Role | None
) -> None:
    for role in ("admin", "member"):
        with pytest.raises(Forbidden) as refused:
            require_may_change(Member("o1", "u1", role, 1), before, after)
        assert str(refused.value) == "Only the organization's owners may do this"
    require_may_change(Member("o1", "u1", "owner", 1), before, after)
    require_may_change(PLATFORM_ADMINISTRATOR, before, after)


@pytest.mark.parametrize(
    ("before", "after"), [(None, "admin"), ("member", "admin"), ("admin", "member"), ("admin", None)]
)
def test_an_admin_can_change_all_members_except_owners(before: Role | None, after: Role | None) -> None:
    require_may_change(Member("o1", "u1", "admin", 1), before, after)


@pytest.mark.parametrize(("role", "manages"), [("owner", True), ("admin", True), ("member", False)])
def test_only_owners_and_admins_manage_an_organization(role: Role, manages: bool) -> None:
    assert Member("o1", "u1", role, 1).manages is manages
