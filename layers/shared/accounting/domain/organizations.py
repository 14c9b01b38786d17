"""Organizations: who is a member, in which role, and which changes of members are refused."""

from typing import Literal, NamedTuple

from accounting.domain import accounts
from accounting.domain.accounts import AccountId
from accounting.domain.errors import Forbidden, LastOwner, OrganizationClosed, TooManyMembers

type Role = Literal["owner", "admin", "member"]

MAX_MEMBERS = 10_000


class Member(NamedTuple):
    """A user who may spend from an organization's account. ``since`` is when they joined, in epoch milliseconds."""

    organization_id: str
    user_id: str
    role: Role
    since: int

    @property
    def manages(self) -> bool:
        """Whether the member manages the other members and budgets, and sees the organization's ledger."""
        return self.role != "member"


class Organization(NamedTuple):
    """An organization with the number of its ``members`` and how many of them are ``owners``.

    ``revision`` grows by 1 whenever a member is added, changed or removed, and when the organization is closed.
    ``closed_at`` is None while the organization is open. The credits of a closed organization go to the account
    ``transfer_to``. If ``transfer_to`` is None, they are removed.
    """

    id: str
    name: str
    created_at: int
    members: int = 0
    owners: int = 0
    revision: int = 0
    closed_at: int | None = None
    transfer_to: AccountId | None = None

    @property
    def account_id(self) -> AccountId:
        return accounts.organization(self.id)

    def closed(self, transfer_to: AccountId | None, now: int) -> "Organization":
        return self._replace(closed_at=now, transfer_to=transfer_to, revision=self.revision + 1)

    def recounted(self, before: Role | None, after: Role | None) -> "Organization":
        """The organization after a member's role changed from ``before`` to ``after``; None means not a member.

        Raises OrganizationClosed, LastOwner, TooManyMembers.
        """
        if self.closed_at is not None:
            raise OrganizationClosed
        members = self.members + (after is not None) - (before is not None)
        owners = self.owners + (after == "owner") - (before == "owner")
        if owners < 1:
            raise LastOwner("The organization needs an owner; make another member an owner first")
        if members > max(MAX_MEMBERS, self.members):
            raise TooManyMembers(f"An organization may have at most {MAX_MEMBERS} members", limit=MAX_MEMBERS)
        return self._replace(members=members, owners=owners, revision=self.revision + 1)


def require_may_change(by: Member | None, before: Role | None, after: Role | None) -> None:
    """Raise Forbidden unless ``by`` may change a user's role from ``before`` to ``after``.

    If a role is None, the user is not a member. If ``by`` is None, an administrator of the platform makes the change,
    and may change every role. Among the members, only owners may make a user an owner, or change or remove an owner.
    A user with the role ``member`` may only leave. This function does not check that; the code that calls it must.
    """
    if by is not None and by.role != "owner" and "owner" in (before, after):
        raise Forbidden("Only the organization's owners may do this")
