"""Decides whether a caller may name an account in a request, in the same way for every route that takes accounts."""

from collections.abc import Callable
from dataclasses import dataclass

from accounting.domain import accounts
from accounting.domain.accounts import AccountId
from accounting.domain.errors import AccountNotFound, Forbidden
from accounting.domain.organizations import Member, Role
from accounting.store import organizations, users
from accounting.web.accounts import Account
from accounting.web.caller import Caller


@dataclass(frozen=True, slots=True)
class Sight:
    """Who may name an account that is not their own.

    A member whose role is ``least`` or higher may name the organization's account. If ``least`` is None, no role is
    high enough. ``others`` checks every other caller, including members with a lower role, and raises Forbidden to
    refuse the caller. If ``others`` is None, every other caller is refused. Another user's account can be named only if
    ``others`` allows it.
    """

    least: Role | None
    others: Callable[[Caller], None] | None = None

    def __call__(self, caller: Caller, asked: AccountId | None) -> Account:
        """The account that a request is about. If it is the caller's own, nothing is read from the database.

        Raises UserDisabled. Raises AccountNotFound if there is no such account, or if the caller may not know of it.
        Raises Forbidden if the caller is a member whose role is too low, or if their API key is for another account.
        """
        account_id = caller.account(asked)
        if account_id == caller.own_account:
            return Account(account_id)
        caller.require_enabled()
        organization_id = accounts.organization_of(account_id)
        member = organizations.member(organization_id, caller.user_id) if organization_id else None
        if member and self._admits(member):
            return Account(account_id, member)
        if self._admits_other(caller) and exists(account_id):
            return Account(account_id)
        if member:
            raise Forbidden("Only the organization's owners and admins may do this")
        raise AccountNotFound

    def _admits(self, member: Member) -> bool:
        return self.least == "member" or (self.least == "admin" and member.manages)

    def _admits_other(self, caller: Caller) -> bool:
        if self.others is None:
            return False
        try:
            self.others(caller)
        except Forbidden:
            return False
        return True


def exists(account_id: AccountId) -> bool:
    """Whether the organization or user that owns the account exists."""
    organization_id = accounts.organization_of(account_id)
    if organization_id is not None:
        return organizations.get(organization_id) is not None
    return users.find(accounts.owner_of(account_id)) is not None
