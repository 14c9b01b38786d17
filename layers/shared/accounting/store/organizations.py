"""Organizations and their members. If members change, the organization's wallet gets a new ``version``.

A hold is decided from the wallet and the membership, which are read together. Its write requires that the wallet's
version is still the same. If the membership changes before the write, the write is refused, and the hold is decided
again.
"""

from collections.abc import Iterator

from accounting.domain.accounts import AccountId, stored
from accounting.domain.errors import AccountNotFound
from accounting.domain.organizations import Member, Organization, Role
from accounting.store import keys, table
from accounting.store.table import Conflict, Item, Write

type MemberPage = tuple[list[Member], str | None]
"""Members, and the next page's ``after`` (None on the last page)."""


def get(organization_id: str) -> Organization | None:
    """The organization, strongly consistent."""
    item = table.get(keys.organization(organization_id))
    return from_item(item) if item else None


def require(organization_id: str) -> Organization:
    """The organization, strongly consistent. Raises AccountNotFound."""
    organization = get(organization_id)
    if organization is None:
        raise AccountNotFound
    return organization


def member(organization_id: str, user_id: str) -> Member | None:
    """The user's membership, strongly consistent; None if the user is not a member."""
    item = table.get(keys.member(organization_id, user_id))
    return member_from_item(item) if item else None


def with_member(organization_id: str, user_id: str) -> tuple[Organization | None, Member | None]:
    """The organization and the user's membership, strongly consistent, in one call."""
    wanted = [keys.organization(organization_id), keys.member(organization_id, user_id)]
    organization, member = table.get_many(wanted)
    return (from_item(organization) if organization else None), (member_from_item(member) if member else None)


def members(organization_id: str, *, after: str | None, limit: int) -> MemberPage:
    """A page of the members, in the order of their ids."""
    first = keys.member(organization_id, after or "")
    found = table.query_all(first["pk"], first["sk"], keys.end_of_members(), forward=True)
    page = list[Member]()
    for item in found:
        if item["user_id"] == after:
            continue
        if len(page) == limit:
            return page, page[-1].user_id
        page.append(member_from_item(item))
    return page, None


def of_user(user_id: str, *, before: str | None, limit: int) -> tuple[list[tuple[Organization, Member]], str | None]:
    """A page of the user's organizations with the user's memberships, newest membership first.

    The second value is the next page's ``before`` (None on the last page).
    """
    found, position = table.newest(keys.BY_OWNER, keys.organizations_of_owner(user_id), before=before, limit=limit)
    ids = [keys.organization_in(key) for key in found]
    wanted = [key for each in ids for key in (keys.organization(each), keys.member(each, user_id))]
    items = iter(table.get_many(wanted))
    return [(from_item(each), member_from_item(mine)) for each, mine in _both(items)], position


def of_all(*, before: str | None, limit: int) -> tuple[list[Organization], str | None]:
    """A page of all organizations, newest first, and the next page's ``before`` (None on the last page)."""
    found, position = table.newest(keys.BY_KIND, keys.organizations_of_all(), before=before, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position


def _both(items: Iterator[Item | None]) -> Iterator[tuple[Item, Item]]:
    """Pair each organization in ``items`` with the user's membership, which follows it.

    If the organization or the membership is None, the pair is left out.
    """
    for organization in items:
        member = next(items)
        if organization and member:
            yield organization, member


def put(organization: Organization) -> Write:
    """Add an organization with a new id."""
    return Write(table.put(to_item(organization), condition="attribute_not_exists(pk)"))


def recount(before: Organization, after: Organization) -> Write:
    """Store the new numbers of members and owners. Refused with Conflict if the ``revision`` has changed."""
    return Write(
        table.update(
            keys.organization(before.id),
            "SET members = :members, owners = :owners, revision = :after",
            condition="revision = :seen",
            values={
                ":members": after.members,
                ":owners": after.owners,
                ":after": after.revision,
                ":seen": before.revision,
            },
        ),
        refused=lambda _: Conflict(),
    )


def close(before: Organization, after: Organization) -> Write:
    """Store that the organization is closed. Refused with Conflict if the ``revision`` has changed."""
    transfer = ", transfer_to = :transfer_to" if after.transfer_to else ""
    values = {":closed_at": after.closed_at, ":after": after.revision, ":seen": before.revision}
    return Write(
        table.update(
            keys.organization(before.id),
            f"SET closed_at = :closed_at, revision = :after{transfer}",
            condition="revision = :seen",
            values=values | ({":transfer_to": after.transfer_to} if after.transfer_to else {}),
        ),
        refused=lambda _: Conflict(),
    )


def stays_open(organization_id: str) -> Write:
    """The condition that the organization is open. Refused with Conflict if it is closed."""
    key = keys.organization(organization_id)
    return Write(table.check(key, condition="attribute_not_exists(closed_at)"), refused=lambda _: Conflict())


def rename(organization_id: str, name: str) -> Organization:
    """Give an organization another name. Raises AccountNotFound."""
    done, item = table.update_one(
        keys.organization(organization_id),
        "SET #name = :name",
        condition="attribute_exists(#pk)",
        values={":name": name},
        names={"#name": "name", "#pk": "pk"},
    )
    if not done or item is None:
        raise AccountNotFound
    return from_item(item)


def add_member(member: Member) -> Write:
    """Add a member. Refused with Conflict if the user is a member already."""
    action = table.put(member_to_item(member), condition="attribute_not_exists(pk)")
    return Write(action, refused=lambda _: Conflict())


def change_member(before: Member, role: Role) -> Write:
    """Give a member another role. Refused with Conflict if the membership has changed since it was read."""
    action = table.update(
        keys.member(before.organization_id, before.user_id),
        "SET #role = :role",
        condition="#role = :seen AND since = :since",
        values={":role": role, ":seen": before.role, ":since": before.since},
        names={"#role": "role"},
    )
    return Write(action, refused=lambda _: Conflict())


def remove_member(before: Member) -> Write:
    """Remove a member. Refused with Conflict if the membership has changed since it was read."""
    action = table.delete(
        keys.member(before.organization_id, before.user_id),
        condition="#role = :seen AND since = :since",
        values={":seen": before.role, ":since": before.since},
        names={"#role": "role"},
    )
    return Write(action, refused=lambda _: Conflict())


def bump_wallet(account_id: AccountId) -> Write:
    """Add 1 to the wallet's version and to ``terms``, the number of changes to members and budgets.

    If a hold was decided before this change, the new version makes the database refuse the hold's write. The new
    ``terms`` then make the service read the membership again before it decides the hold again.

    This change is never refused, because the wallet was created with the organization and is never deleted.
    """
    return Write(
        table.update(
            keys.wallet(account_id),
            "ADD version :one, terms :one",
            condition="attribute_exists(pk)",
            values={":one": 1},
        )
    )


def to_item(organization: Organization) -> Item:
    return {
        **keys.organization(organization.id),
        **keys.organization_of_all(organization.id, organization.created_at),
        "id": organization.id,
        "name": organization.name,
        "created_at": organization.created_at,
        "members": organization.members,
        "owners": organization.owners,
        "revision": organization.revision,
        "closed_at": organization.closed_at,
        "transfer_to": organization.transfer_to,
    }


def from_item(item: Item) -> Organization:
    return Organization(
        id=item["id"],
        name=item["name"],
        created_at=item["created_at"],
        members=item["members"],
        owners=item["owners"],
        revision=item["revision"],
        closed_at=item.get("closed_at"),
        transfer_to=stored(item["transfer_to"]) if "transfer_to" in item else None,
    )


def member_to_item(member: Member) -> Item:
    """Convert a membership to an item, with the key under which the user's organizations are found."""
    return {
        **keys.member(member.organization_id, member.user_id),
        **keys.member_of_owner(member.organization_id, member.user_id, member.since),
        "organization_id": member.organization_id,
        "user_id": member.user_id,
        "role": member.role,
        "since": member.since,
    }


def member_from_item(item: Item) -> Member:
    return Member(item["organization_id"], item["user_id"], item["role"], item["since"])
