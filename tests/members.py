"""Stores an organization and its members for a test, without calling `accounting.operations`."""

from accounting.domain.accounts import AccountId, organization_of
from accounting.domain.organizations import Member, Organization, Role
from accounting.domain.wallet import Wallet, with_new_terms
from accounting.store import organizations, wallets
from accounting.store.table import transact


def organization_with(account_id: AccountId, *user_ids: str, role: Role = "member", now: int = 0) -> None:
    """Store an organization with these members and an empty wallet."""
    organization_id = organization_of(account_id)
    assert organization_id is not None
    made = Organization(
        organization_id, organization_id, now, members=len(user_ids), owners=len(user_ids) if role == "owner" else 0
    )
    members = [organizations.add_member(Member(organization_id, user_id, role, now)) for user_id in user_ids]
    empty = Wallet(account_id)
    transact([organizations.put(made), wallets.put(empty, with_new_terms(empty)), *members])
