"""Routes that show, list, sync, disable, enable and erase users. Profiles come from tokens and the platform's sync."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from typing import Annotated, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from accounting.domain.users import Description, User
from accounting.operations import erasing
from accounting.operations import users as operations
from accounting.store import users
from accounting.store.erasures import Erasure
from accounting.times import clock, iso
from accounting.web.access import ADMINS, PLATFORM, SELF_OR_ADMINS, USERS
from accounting.web.api import Api, handler_of
from accounting.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_of, position_in, rows_to_skip
from accounting.web.types import (
    EmailAddress,
    Instant,
    Name,
    Notes,
    RequestModel,
    ResponseModel,
    UserId,
    UserInPath,
    left_out,
)

SYNC_RESPONSES: dict[int, OpenAPIResponse] = {
    201: {"description": "The user was created"},
    200: {"description": "The user existed, and is up to date"},
}

ERASE_RESPONSES: dict[int, OpenAPIResponse] = {
    200: {"description": "The user's personal data is gone"},
    202: {"description": "The personal data is being erased. Repeat the request to see whether it is gone"},
}

api = Api()

type Role = Literal["user", "supervisor", "admin"]


class Sync(RequestModel):
    """A user as the platform knows them.

    Without ``role``, a new user gets the role ``user``, and an existing user keeps their role.
    """

    user_id: UserId
    email: EmailAddress
    username: Name
    role: Role | None = None


class Disable(RequestModel):
    """Why the user is disabled. The reason is shown with the user."""

    reason: Notes | None = None


class SyncView(ResponseModel):
    """The user as stored now, and whether this request created them."""

    user_id: str
    email: str
    username: str
    role: str
    created: bool


class UserView(ResponseModel):
    """A user.

    While the user is disabled, ``disabledAt`` is present, and so is ``disabledReason`` if a reason was given.
    ``erasedAt`` is present once the erasure has begun.
    """

    user_id: str
    email: str
    username: str
    role: str
    created_at: Instant
    updated_at: Instant
    disabled: bool
    disabled_at: Instant | None = left_out()
    disabled_reason: str | None = left_out()
    erased_at: Instant | None = left_out()

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(
            user_id=user.id,
            email=user.email,
            username=user.username,
            role=user.role,
            created_at=iso(user.created_at),
            updated_at=iso(user.updated_at),
            disabled=user.disabled,
            disabled_at=None if user.disabled_at is None else iso(user.disabled_at),
            disabled_reason=user.disabled_reason or None,
            erased_at=None if user.erased_at is None else iso(user.erased_at),
        )


class ErasureView(ResponseModel):
    """The erasure of a user's personal data. ``finishedAt`` is present once everything is erased."""

    user_id: str
    erased_at: Instant
    finished_at: Instant | None = left_out()

    @classmethod
    def of(cls, erasure: Erasure) -> Self:
        return cls(
            user_id=erasure.user_id,
            erased_at=iso(erasure.at),
            finished_at=None if erasure.finished_at is None else iso(erasure.finished_at),
        )


class UsersView(ResponseModel):
    """A page of users, newest first."""

    total: int
    page: int
    total_pages: int
    users: list[UserView]
    next_cursor: str | None = left_out()


@api.post("/api/users/sync", access=PLATFORM, responses=SYNC_RESPONSES, codes=("USER_ERASED",))
def sync(body: Sync) -> tuple[SyncView, int]:
    """Create or update a user."""
    now = clock()
    described = Description.by_the_platform(
        body.user_id, email=body.email, username=body.username, role=body.role, now=now
    )
    user, created = users.sync(described, now)
    view = SyncView(user_id=user.id, email=user.email, username=user.username, role=user.role, created=created)
    return view, 201 if created else 200


@api.get("/api/users/me", access=USERS)
def me() -> UserView:
    """Show the caller's profile."""
    return UserView.of(users.resolve(api.subject).user)


@api.get("/api/users", access=ADMINS)
def list_users(
    page: Page = 1,
    limit: Limit = DEFAULT_LIMIT,
    role: Annotated[Role | None, Query()] = None,
    cursor: Cursor = None,
) -> UsersView:
    """List the users, newest first. With ``role``, only the users in this role."""
    before = position_in(cursor)
    skip = 0 if before is not None else rows_to_skip(page, limit)
    found, position = users.newest(role, before=before, skip=skip, limit=limit)
    total = users.total(role)
    return UsersView(
        total=total,
        page=page,
        total_pages=-(-total // limit),
        users=[UserView.of(user) for user in found],
        next_cursor=cursor_of(position) if position else None,
    )


@api.get("/api/users/<user_id>", access=SELF_OR_ADMINS)
def user_of(user_id: UserInPath) -> UserView:
    """Show a user, by id or e-mail address."""
    return UserView.of(users.resolve(api.subject).user)


@api.post("/api/users/<user_id>/disable", access=ADMINS)
def disable(user_id: UserInPath, body: Disable | None = None) -> UserView:
    """Disable a user: refuse all requests of the user and of their API keys, except requests that end open sessions."""
    reason = (body and body.reason) or ""
    return UserView.of(operations.disable(api.subject, by=api.caller.user_id, reason=reason, now=clock()))


@api.post("/api/users/<user_id>/enable", access=ADMINS, codes=("USER_ERASED",))
def enable(user_id: UserInPath) -> UserView:
    """Enable a disabled user again."""
    return UserView.of(operations.enable(api.subject, now=clock()))


@api.post("/api/users/<user_id>/erase", access=ADMINS, responses=ERASE_RESPONSES)
def erase(user_id: UserInPath) -> tuple[ErasureView, int]:
    """Erase a user's personal data, and disable the user for good.

    The name and e-mail address are erased at once. After that, only the id identifies the user. Two minutes later, the
    service also erases notes, reasons, metadata and API keys, without a second request. Once everything is erased, a
    repeat answers 200. Ids, credits, the ledger's chain and statistics stay.
    """
    erasure = erasing.erase(api.subject, by=api.caller.user_id, now=clock())
    return ErasureView.of(erasure), 202 if erasure.finished_at is None else 200


handler = handler_of(api)
