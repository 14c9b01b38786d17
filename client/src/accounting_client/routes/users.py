"""The profiles of users, which come from their tokens and from `sync_user`, and commands on users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from accounting_client.call import Access, Call, Listing, Page, as_, get, json_fields, paged, path

Role = Literal["user", "supervisor", "admin"]


@dataclass(frozen=True)
class User:
    """A user.

    If ``disabled``, the user's requests raise UserDisabled, except finalize, abort, and heartbeats that fit the hold.
    """

    user_id: str
    email: str
    username: str
    role: str
    created_at: datetime
    updated_at: datetime
    disabled: bool = False
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    erased_at: datetime | None = None


@dataclass(frozen=True)
class Erasure:
    """The erasure of a user's personal data. ``finished_at`` is None until everything is erased."""

    user_id: str
    erased_at: datetime
    finished_at: datetime | None = None


@dataclass(frozen=True)
class SyncedUser:
    """A user as stored now, and whether this call created them."""

    user_id: str
    email: str
    username: str
    role: str
    created: bool


@dataclass(frozen=True)
class _Users:
    total: int
    total_pages: int
    users: tuple[User, ...]
    next_cursor: str | None = None


def me() -> Call[User]:
    """Return the caller's profile."""
    return get("/api/users/me", User)


def user(user_id: str) -> Call[User]:
    """Return a user by id or e-mail address. Only administrators can read other users. Raises UserNotFound."""
    return get(path("/api/users/{}", user_id), User)


def users_page(
    *, page: int | None = None, limit: int | None = None, role: Role | None = None, cursor: str | None = None
) -> Call[Page[User]]:
    """As an administrator, a page of the users, newest first. With ``role``, only the users in this role.

    ``limit`` is 1 to 100, by default 20. ``page`` counts from 1. ``cursor`` is the ``next_cursor`` of the page before.
    """
    query = json_fields(page=page, limit=limit, role=role, cursor=cursor)
    return Call("GET", "/api/users", paged(_Users, lambda found: found.users), query=query, repeatable=True)


def users(*, role: Role | None = None, page_size: int = 100) -> Listing[User]:
    """As an administrator, all users, newest first. With ``role``, only the users in this role."""
    return lambda cursor: users_page(limit=page_size, role=role, cursor=cursor)


def sync_user(user_id: str, email: str, username: str, role: Role | None = None) -> Call[SyncedUser]:
    """Create or update a user. Raises UserErased.

    Without ``role``, a new user gets the role ``user``, and an existing user keeps their role. The call sends the
    service key, and no token.
    """
    body = json_fields(user_id=user_id, email=email, username=username, role=role)
    return Call("POST", "/api/users/sync", as_(SyncedUser), body=body, access=Access.INTERNAL)


def disable_user(user_id: str, reason: str | None = None) -> Call[User]:
    """As an administrator, refuse everything new from a user. Raises UserNotFound.

    This takes effect within 30 seconds. Finalizing and aborting the user's open sessions still works. A repeat changes
    nothing.
    """
    body = json_fields(reason=reason)
    return Call("POST", path("/api/users/{}/disable", user_id), as_(User), body=body, repeatable=True)


def enable_user(user_id: str) -> Call[User]:
    """As an administrator, accept a disabled user's requests again. A repeat changes nothing.

    Raises UserNotFound, UserErased.
    """
    return Call("POST", path("/api/users/{}/enable", user_id), as_(User), body={}, repeatable=True)


def erase_user(user_id: str) -> Call[Erasure]:
    """As an administrator, erase a user's personal data and disable them for good. Raises UserNotFound.

    Name and address are erased at once. The rest is erased at least two minutes later, without another call. To see
    whether everything is erased, repeat the call with the user's id, and read ``finished_at``.
    """
    return Call("POST", path("/api/users/{}/erase", user_id), as_(Erasure), body={}, repeatable=True)
