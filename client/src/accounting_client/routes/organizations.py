"""Organizations: members who share one account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from accounting_client.call import Call, Done, Listing, Page, as_, command, get, identifier, json_fields, paged, path

Role = Literal["owner", "admin", "member"]


@dataclass(frozen=True)
class Organization:
    """An organization. ``role`` is the caller's role, or None if the caller is not a member.

    ``closed_at`` is None while the organization is open. ``transfer_to`` is the account that gets a closed
    organization's credits.
    """

    organization_id: str
    account_id: str
    name: str
    created_at: datetime
    members: int
    role: str | None = None
    closed_at: datetime | None = None
    transfer_to: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class ClosedOrganization:
    """A closed organization, and what one call of ``close_organization`` did.

    The call moved ``moved_credits`` to another account, or removed ``removed_credits``. Open sessions still hold
    ``held_credits``.
    """

    organization_id: str
    account_id: str
    name: str
    created_at: datetime
    closed_at: datetime
    members: int
    moved_credits: int
    removed_credits: int
    held_credits: int
    transfer_to: str | None = None


@dataclass(frozen=True)
class Member:
    """A member of an organization. ``email`` is None if the user has no address."""

    user_id: str
    role: str
    since: datetime
    email: str | None = None


@dataclass(frozen=True)
class _Organizations:
    organizations: tuple[Organization, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class _Members:
    members: tuple[Member, ...]
    next_cursor: str | None = None


def create_organization(name: str, owner_id: str, *, idempotency_key: str | None = None) -> Call[Organization]:
    """As an administrator, make an organization with an account of its own. ``owner_id`` is its first owner.

    Raises UserNotFound, UserErased, IdempotencyConflict.
    """
    body = json_fields(name=name, owner_id=owner_id)
    return command("POST", "/api/organizations", Organization, body, idempotency_key)


def organizations_page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page[Organization]]:
    """A page of the caller's organizations. The one that the caller joined last comes first.

    An administrator gets all organizations, newest first. ``limit`` is 1 to 100, by default 100.
    """
    reads = paged(_Organizations, lambda page: page.organizations)
    return Call("GET", "/api/organizations", reads, query=json_fields(limit=limit, cursor=cursor), repeatable=True)


def organizations(*, page_size: int = 100) -> Listing[Organization]:
    """The caller's organizations. The one that the caller joined last comes first.

    An administrator gets all organizations, newest first.
    """
    return lambda cursor: organizations_page(limit=page_size, cursor=cursor)


def organization(organization_id: str) -> Call[Organization]:
    """An organization. Raises AccountNotFound."""
    return get(path("/api/organizations/{}", identifier(organization_id)), Organization)


def rename_organization(organization_id: str, name: str) -> Call[Organization]:
    """Rename an organization, as its owner or admin, or as an administrator of the platform. Raises AccountNotFound."""
    target = path("/api/organizations/{}", identifier(organization_id))
    return Call("PUT", target, as_(Organization), body=json_fields(name=name), repeatable=True)


def close_organization(organization_id: str, *, transfer_to: str | None = None) -> Call[ClosedOrganization]:
    """As an administrator, close an organization. Its credits go to the account ``transfer_to``, or are removed.

    Raises AccountNotFound. Raises OrganizationClosed if it was already closed with another ``transfer_to``.
    """
    target = path("/api/organizations/{}/close", identifier(organization_id))
    return Call("POST", target, as_(ClosedOrganization), body=json_fields(transfer_to=transfer_to), repeatable=True)


def members_page(organization_id: str, *, limit: int | None = None, cursor: str | None = None) -> Call[Page[Member]]:
    """A page of an organization's members. Members who are not owners or admins see only themselves.

    ``limit`` is 1 to 100, by default 100. Raises AccountNotFound.
    """
    target = path("/api/organizations/{}/members", identifier(organization_id))
    reads = paged(_Members, lambda page: page.members)
    return Call("GET", target, reads, query=json_fields(limit=limit, cursor=cursor), repeatable=True)


def members(organization_id: str, *, page_size: int = 100) -> Listing[Member]:
    """An organization's members. Members who are not owners or admins see only themselves. Raises AccountNotFound."""
    return lambda cursor: members_page(organization_id, limit=page_size, cursor=cursor)


def set_member(organization_id: str, user_id: str, role: Role) -> Call[Member]:
    """Add a user to an organization, or change a member's role.

    Owners, admins and the platform's administrators may do this. Admins can't make a member an owner, or take the
    role of owner away.

    Raises AccountNotFound, UserNotFound, UserErased, LastOwner, TooManyMembers, OrganizationClosed.
    """
    target = path("/api/organizations/{}/members/{}", identifier(organization_id), user_id)
    return Call("PUT", target, as_(Member), body=json_fields(role=role), repeatable=True)


def remove_member(organization_id: str, user_id: str) -> Call[Done]:
    """Remove a member from an organization.

    Owners, admins and the platform's administrators may do this. Every member may remove themselves.

    Raises AccountNotFound, MemberNotFound, LastOwner, OrganizationClosed.
    """
    return Call("DELETE", path("/api/organizations/{}/members/{}", identifier(organization_id), user_id), as_(Done))
