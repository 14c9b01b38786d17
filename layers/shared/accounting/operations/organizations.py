"""Create organizations and change their members. The members of an organization share its account.

A change of the members also changes the version of the organization's wallet, in the same transaction. If another
command, such as a hold, has already read the old members, its write fails and the command decides again.
"""

import json
from typing import NamedTuple

from accounting.domain.errors import AccountNotFound, MemberNotFound, UserErased
from accounting.domain.organizations import Member, Organization, Role, require_may_change
from accounting.domain.wallet import Wallet
from accounting.operations.commit import replay, retry_conflicts
from accounting.operations.ids import new_id
from accounting.store import idempotency, organizations, users, wallets
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact
from accounting.store.users import Reference


class CreatedOrganization(NamedTuple):
    """A new organization, and whether the request is a repeat."""

    organization: Organization
    replayed: bool = False


def create(name: str, owner: Reference, *, now: int, key: IdempotencyKey | None) -> CreatedOrganization:
    """Make an organization with one owner and an empty wallet.

    Raises UserNotFound, UserErased, IdempotencyConflict, Contention.
    """
    made = Organization(new_id(now), name, now, members=1, owners=1)

    def write() -> CreatedOrganization:
        if key and (record := idempotency.find(key, now)):
            return _replayed(key, record)
        user = users.resolve(owner).user
        if user.erased:
            raise UserErased
        empty = Wallet(made.account_id)
        writes = [
            organizations.put(made),
            organizations.add_member(Member(made.id, user.id, "owner", now)),
            wallets.put(empty, empty._replace(version=1)),
        ]
        if key:
            writes.insert(0, idempotency.put(key, json.dumps(made._asdict()), now))
        try:
            transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        return CreatedOrganization(made)

    return retry_conflicts(write)


def _replayed(key: IdempotencyKey, record: idempotency.Record) -> CreatedOrganization:
    return CreatedOrganization(Organization(**replay(key, record)), replayed=True)


def set_role(organization_id: str, reference: Reference, role: Role, *, by: Member | None, now: int) -> Member:
    """Add a user to an organization, or give a member another role. A repeat changes nothing.

    ``by`` is the member who makes the change, or None for an administrator of the platform. Raises UserNotFound,
    UserErased, Forbidden, LastOwner, TooManyMembers, OrganizationClosed, AccountNotFound, Contention.
    """
    user = users.resolve(reference).user

    def write() -> Member:
        organization, known = organizations.with_member(organization_id, user.id)
        if organization is None:
            raise AccountNotFound
        if known and known.role == role:
            return known
        if known is None and user.erased:
            raise UserErased
        before = known.role if known else None
        require_may_change(by, before, role)
        after = organization.recounted(before, role)
        member = known._replace(role=role) if known else Member(organization_id, user.id, role, now)
        change = organizations.change_member(known, role) if known else organizations.add_member(member)
        transact([change, organizations.recount(organization, after), organizations.bump_wallet(after.account_id)])
        return member

    return retry_conflicts(write)


def remove(organization_id: str, user_id: str, *, by: Member | None) -> None:
    """Remove a member. The organization still pays for the member's open sessions. ``by`` is as in ``set_role``.

    Raises MemberNotFound, Forbidden, LastOwner, OrganizationClosed, AccountNotFound, Contention.
    """

    def write() -> None:
        organization, known = organizations.with_member(organization_id, user_id)
        if organization is None:
            raise AccountNotFound
        if known is None:
            raise MemberNotFound("Member not found", userId=user_id)
        require_may_change(by, known.role, None)
        after = organization.recounted(known.role, None)
        removed = organizations.remove_member(known)
        transact([removed, organizations.recount(organization, after), organizations.bump_wallet(after.account_id)])

    retry_conflicts(write)
