"""Organizations: members who share one account, and the roles in which they use it."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from typing import Literal, Self

from accounting.domain.accounts import AccountId
from accounting.domain.errors import Forbidden, MemberNotFound, UserNotFound
from accounting.domain.organizations import Member, Organization
from accounting.operations import closing
from accounting.operations import organizations as operations
from accounting.store import organizations, users
from accounting.store.users import ById
from accounting.times import clock, iso
from accounting.web.access import ADMINS, USERS, Access, Who
from accounting.web.api import Api, handler_of
from accounting.web.caller import Caller
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import MAX_LIMIT, Cursor, Limit, after_member, cursor_of, member_in, position_in
from accounting.web.sight import Sight
from accounting.web.types import (
    AccountText,
    IdentifierInPath,
    Instant,
    Name,
    RequestModel,
    ResponseModel,
    UserInPath,
    UserReference,
    left_out,
)

MEMBERS = Access(Who.MEMBERS, sight=Sight("member", Caller.require_admin))
MANAGERS = Access(Who.MANAGERS, sight=Sight("admin", Caller.require_admin))
LEAVERS = Access(Who.MANAGERS_OR_SELF, sight=Sight("member", Caller.require_admin))
CHANGE_CODES = ("LAST_OWNER", "ORGANIZATION_CLOSED")

MemberRole = Literal["owner", "admin", "member"]

api = Api()


class CreateOrganization(RequestModel):
    """An organization to create, and the user who becomes its first owner."""

    name: Name
    owner_id: UserReference


class RenameOrganization(RequestModel):
    """The organization's new name."""

    name: Name


class CloseOrganization(RequestModel):
    """The account that gets the remaining credits. Without ``transferTo``, they are removed."""

    transfer_to: AccountText | None = None


class SetMember(RequestModel):
    """The member's role."""

    role: MemberRole


class OrganizationView(ResponseModel):
    """An organization.

    ``role`` is the caller's role in the organization. It is left out if the caller is not a member. It is also left out
    in the list for administrators, and in the answers to creating and closing an organization.
    """

    organization_id: str
    account_id: AccountId
    name: str
    created_at: Instant
    members: int
    role: MemberRole | None = left_out()
    closed_at: Instant | None = left_out()
    transfer_to: AccountId | None = left_out("The account that gets the credits of the closed organization")

    @classmethod
    def of(cls, organization: Organization, member: Member | None = None) -> Self:
        """Build the response from an organization and the caller's membership."""
        return cls(
            organization_id=organization.id,
            account_id=organization.account_id,
            name=organization.name,
            created_at=iso(organization.created_at),
            members=organization.members,
            role=member.role if member else None,
            closed_at=None if organization.closed_at is None else iso(organization.closed_at),
            transfer_to=organization.transfer_to,
        )


class OrganizationsView(ResponseModel):
    """A page of organizations.

    For administrators, the newest organization comes first. For others, the one that they joined last comes first.
    """

    organizations: list[OrganizationView]
    next_cursor: str | None = left_out()


class ClosedView(OrganizationView):
    """A closed organization.

    This request moved ``movedCredits`` to another account, or removed ``removedCredits``. Open sessions still hold
    ``heldCredits``. The refunds of these sessions are moved or removed within minutes.
    """

    moved_credits: int
    removed_credits: int
    held_credits: int


class MemberView(ResponseModel):
    """A member. ``email`` is left out if the user has no address."""

    user_id: str
    email: str | None = left_out()
    role: MemberRole
    since: Instant

    @classmethod
    def of(cls, member: Member, email: str) -> Self:
        """Build the response from a membership and the user's address."""
        return cls(user_id=member.user_id, email=email or None, role=member.role, since=iso(member.since))


class MembersView(ResponseModel):
    """A page of members, in the order of their ids."""

    members: list[MemberView]
    next_cursor: str | None = left_out()


class MessageView(ResponseModel):
    """A confirmation."""

    message: str


@api.post(
    "/api/organizations",
    status_code=201,
    access=ADMINS,
    idempotency="organizations",
    codes=("USER_NOT_FOUND", "USER_ERASED"),
)
def create(body: CreateOrganization) -> OrganizationView:
    """Create an organization with a new account and one owner."""
    created = operations.create(body.name, body.owner_id, now=clock(), key=key_of(api, body))
    if created.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return OrganizationView.of(created.organization)


@api.get("/api/organizations", access=USERS)
def list_organizations(limit: Limit = MAX_LIMIT, cursor: Cursor = None) -> OrganizationsView:
    """List the organizations of which the caller is a member; administrators get all organizations."""
    before = position_in(cursor)
    if api.caller.is_admin():
        found, position = organizations.of_all(before=before, limit=limit)
        views = [OrganizationView.of(organization) for organization in found]
    else:
        own, position = organizations.of_user(api.caller.user_id, before=before, limit=limit)
        views = [OrganizationView.of(organization, member) for organization, member in own]
    return OrganizationsView(organizations=views, next_cursor=cursor_of(position) if position else None)


@api.get("/api/organizations/<organization_id>", access=MEMBERS)
def get(organization_id: IdentifierInPath) -> OrganizationView:
    """Show an organization."""
    return OrganizationView.of(organizations.require(organization_id), api.account.member)


@api.put("/api/organizations/<organization_id>", access=MANAGERS)
def rename(organization_id: IdentifierInPath, body: RenameOrganization) -> OrganizationView:
    """Rename an organization."""
    return OrganizationView.of(organizations.rename(organization_id, body.name), api.account.member)


@api.post(
    "/api/organizations/<organization_id>/close", access=ADMINS, codes=("ACCOUNT_NOT_FOUND", "ORGANIZATION_CLOSED")
)
def close(organization_id: IdentifierInPath, body: CloseOrganization | None = None) -> ClosedView:
    """Close an organization. Nothing new is paid from its account; open sessions still settle.

    Its credits move to the account ``transferTo`` and keep their expiry. Without ``transferTo``, they are removed.
    Later refunds of open sessions are moved or removed within minutes. Repeat the request to move or remove them at
    once.
    """
    transfer_to = body.transfer_to if body else None
    closed = closing.close(organization_id, transfer_to, actor=api.caller.actor, now=clock())
    view = OrganizationView.of(closed.organization)
    return ClosedView(
        **view.model_dump(),
        moved_credits=closed.moved,
        removed_credits=closed.removed,
        held_credits=closed.held,
    )


@api.get("/api/organizations/<organization_id>/members", access=MEMBERS)
def list_members(organization_id: IdentifierInPath, limit: Limit = MAX_LIMIT, cursor: Cursor = None) -> MembersView:
    """List the members. Members who are neither owner nor admin see only themselves."""
    account, after = api.account, member_in(cursor)
    if account.member and not account.manages:
        found, last = [account.member], None
    else:
        found, last = organizations.members(organization_id, after=after, limit=limit)
    emails = users.emails_of([member.user_id for member in found])
    return MembersView(
        members=[MemberView.of(member, email) for member, email in zip(found, emails, strict=True)],
        next_cursor=after_member(last) if last else None,
    )


@api.put(
    "/api/organizations/<organization_id>/members/<user_id>",
    access=MANAGERS,
    codes=(*CHANGE_CODES, "USER_ERASED", "TOO_MANY_MEMBERS"),
)
def set_role(organization_id: IdentifierInPath, user_id: UserInPath, body: SetMember) -> MemberView:
    """Add a user to an organization, or change a member's role.

    Only the organization's owners and the platform's administrators may make a member an owner, or take the role of
    owner away.
    """
    by = api.account.member
    member = operations.set_role(organization_id, api.subject, body.role, by=by, now=clock())
    return MemberView.of(member, *users.emails_of([member.user_id]))


@api.delete(
    "/api/organizations/<organization_id>/members/<user_id>",
    access=LEAVERS,
    codes=(*CHANGE_CODES, "MEMBER_NOT_FOUND"),
)
def remove_member(organization_id: IdentifierInPath, user_id: UserInPath) -> MessageView:
    """Remove a member. They can no longer spend from the account, but their open sessions still settle."""
    own = api.subject == ById(api.caller.user_id)
    if not own and not api.account.manages:
        raise Forbidden("Only the organization's owners and admins may do this")
    operations.remove(organization_id, _member_id(user_id), by=api.account.member)
    return MessageView(message="Member removed")


def _member_id(reference: str) -> str:
    """The id of the user whom the request is about. Raises MemberNotFound if there is no such user."""
    try:
        return users.resolve(api.subject).user.id
    except UserNotFound:
        raise MemberNotFound("Member not found", userId=reference) from None


handler = handler_of(api)
