"""Users: as their tokens describe them, and as the platform's own sign-up announces them."""

from typing import Annotated, Literal, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from accounting.store import users
from accounting.store.users import User
from accounting.times import clock, iso
from accounting.web.api import Api, handler_of
from accounting.web.paging import DEFAULT_LIMIT, Cursor, Limit, Page, cursor_of, position_in, rows_to_skip
from accounting.web.types import (
    EmailAddress,
    Instant,
    Name,
    RequestModel,
    ResponseModel,
    UserId,
    UserInPath,
    left_out,
)

SYNCED: dict[int, OpenAPIResponse] = {
    201: {"description": "The user is known from now on"},
    200: {"description": "The user was known, and is up to date"},
}

api = Api()

type Role = Literal["user", "supervisor", "admin"]


class Sync(RequestModel):
    """A user as the platform knows them."""

    user_id: UserId
    email: EmailAddress
    username: Name
    role: Role = "user"


class SyncView(ResponseModel):
    """The user as they are known now, and whether they are new."""

    user_id: str
    email: str
    username: str
    role: str
    created: bool


class UserView(ResponseModel):
    """A user."""

    user_id: str
    email: str
    username: str
    role: str
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of(cls, user: User) -> Self:
        """The view of a user."""
        return cls(
            user_id=user.id,
            email=user.email,
            username=user.username,
            role=user.role,
            created_at=iso(user.created_at),
            updated_at=iso(user.updated_at),
        )


class UsersView(ResponseModel):
    """A page of users, newest first."""

    total: int
    page: int
    total_pages: int
    users: list[UserView]
    next_cursor: str | None = left_out()


@api.post("/api/users/sync", responses=SYNCED)
def sync(body: Sync) -> tuple[SyncView, int]:
    """Make a user known, or bring them up to date. An internal route: the gateway checks its key."""
    now = clock()
    # The platform's own word counts as a token issued at this moment.
    described = User(body.user_id, body.email, body.username, body.role, issued_at=now // 1000)
    user, created = users.sync(described, now)
    view = SyncView(user_id=user.id, email=user.email, username=user.username, role=user.role, created=created)
    return view, 201 if created else 200


@api.get("/api/users/me")
def me() -> UserView:
    """The caller."""
    return UserView.of(users.resolve(api.caller().user_id)[0])


@api.get("/api/users")
def list_users(
    page: Page = 1,
    limit: Limit = DEFAULT_LIMIT,
    role: Annotated[Role | None, Query()] = None,
    cursor: Cursor = None,
) -> UsersView:
    """The users, newest first, of all roles or one."""
    api.caller().require_admin()
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


@api.get("/api/users/<user_id>")
def user_of(user_id: UserInPath) -> UserView:
    """A user by id or e-mail address."""
    caller = api.caller()
    if not caller.is_self(user_id):
        caller.require_admin()
    return UserView.of(users.resolve(user_id)[0])


handler = handler_of(api)
