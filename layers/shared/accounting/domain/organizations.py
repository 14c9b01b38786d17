"""Organizations: who is a member, and in which role."""

from dataclasses import dataclass
from typing import Literal, get_args

from accounting.domain import accounts
from accounting.domain.accounts import AccountId

type Role = Literal["owner", "admin", "member"]
ROLES: tuple[Role, ...] = get_args(Role.__value__)


@dataclass(frozen=True, slots=True)
class Member:
    """A user who may spend from an organization's account. ``since`` is when they joined, in epoch milliseconds."""

    organization_id: str
    user_id: str
    role: Role
    since: int

    @property
    def manages(self) -> bool:
        """Whether the member manages the other members and budgets, and sees the organization's ledger."""
        return self.role != "member"


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization with the number of its ``members`` and how many of them are ``owners``.

    ``revision`` counts the changes of its members. ``closed_at`` is None while it is open. What a closed organization
    has left goes to the account ``transfer_to``, or is removed without one.
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
        """The organization's account."""
        return accounts.organization(self.id)
