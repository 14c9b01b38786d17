"""API keys. A program with a user's API key acts for the user, within the permissions of the key."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from http import HTTPStatus
from typing import Annotated, Self, cast

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from accounting.domain.accounts import AccountId
from accounting.domain.api_keys import ApiKey
from accounting.domain.errors import Invalid
from accounting.operations import api_keys as operations
from accounting.store import api_keys, users
from accounting.store.users import ById
from accounting.times import DAY, clock, iso
from accounting.web.access import PLATFORM, SELF_OR_ADMINS, USERS, Access, Arguments, Who
from accounting.web.api import Api, handler_of
from accounting.web.caller import Caller
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import MAX_LIMIT, NEXT_CURSOR_HEADER, PAGE, Cursor, Limit, cursor_of, position_in
from accounting.web.sight import Sight
from accounting.web.types import (
    AccountText,
    ExpiryDays,
    IdentifierInPath,
    Instant,
    KeyName,
    KeyText,
    Permissions,
    QuestionModel,
    RequestModel,
    ResponseModel,
    StrictFlag,
    UserReference,
    left_out,
)

REFUSALS = {
    "USER_DISABLED": "The user of the API key is disabled",
    "NOT_FOUND": "The API key is unknown",
    "DISABLED": "The API key is disabled",
    "EXPIRED": "The API key has expired",
}

VALIDATED: dict[int, OpenAPIResponse] = {
    200: {"description": "The user and the permissions of a valid key"},
    401: {"description": "Why the key is refused"},
}


def _owner_of_key(caller: Caller, arguments: Arguments) -> ById:
    """The key's owner if the caller is an administrator, else the caller.

    Therefore only administrators can find out whether another user's key exists.
    """
    key = api_keys.find(arguments["key_id"]) if caller.role == "admin" else None
    return ById(key.user_id if key else caller.user_id)


KEY_ENDERS = Access(Who.SELF_OR_ADMINS, subject=_owner_of_key)

CREATORS = Access(Who.USERS, sight=Sight("member"))

_FOR = left_out("The only account that the key may use; left out if it may use every account that its user may use")

api = Api()


class Create(RequestModel):
    """A key to create. Without ``expiryDays``, the key does not expire.

    With ``accountId``, the key is for this account only. A key for an organization works as long as the key's user is
    a member.
    """

    name: KeyName
    permissions: Permissions | None = None
    expiry_days: ExpiryDays | None = None
    account_id: AccountText | None = None


class Change(RequestModel):
    """What to change about a key."""

    name: KeyName | None = None
    permissions: Permissions | None = None
    is_active: StrictFlag | None = None


class Validate(QuestionModel):
    """The key to check."""

    key: KeyText


class CreatedView(ResponseModel):
    """A new key. ``key`` is shown only once; a repeat of the request gets an answer without it."""

    id: str
    name: str
    key: str | None = left_out()
    permissions: tuple[str, ...]
    expires_at: Instant | None
    account_id: AccountId | None = _FOR
    message: str


class KeyView(ResponseModel):
    """A key, without its secret."""

    id: str
    name: str
    permissions: tuple[str, ...]
    created_at: Instant
    expires_at: Instant | None
    last_used: Instant | None
    is_active: bool
    account_id: AccountId | None = _FOR

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Build the response from a key."""
        return cls(
            id=key.id,
            name=key.name,
            permissions=key.permissions,
            created_at=iso(key.created_at),
            expires_at=_instant(key.expires_at),
            last_used=_instant(key.last_used_at),
            is_active=key.active,
            account_id=key.account_id,
        )


class ChangedView(ResponseModel):
    """The key after the change."""

    id: str
    name: str
    permissions: tuple[str, ...]
    is_active: bool
    message: str


class MessageView(ResponseModel):
    """A confirmation."""

    message: str


class ValidateView(ResponseModel):
    """A valid key's user and permissions, or why a key is refused."""

    valid: bool
    user_id: str | None = left_out()
    permissions: tuple[str, ...] | None = left_out()
    account_id: AccountId | None = _FOR
    code: str | None = left_out()
    message: str | None = left_out()


@api.post(
    "/api/api-keys",
    status_code=201,
    access=CREATORS,
    idempotency="api-keys",
    codes=("TOO_MANY_API_KEYS",),
)
def create(body: Create) -> CreatedView:
    """Create an API key."""
    now = clock()
    created = operations.create(
        api.caller.user_id,
        body.name,
        body.permissions or (),
        expires_at=now + body.expiry_days * DAY if body.expiry_days else None,
        now=now,
        idempotency_key=key_of(api, body),
        account_id=body.account_id,
    )
    if created.text is None:
        api.add_header(REPLAYED_HEADER, "true")
    return CreatedView(
        id=created.key.id,
        name=created.key.name,
        key=created.text,
        permissions=created.key.permissions,
        expires_at=_instant(created.key.expires_at),
        account_id=created.key.account_id,
        message="Keep the key: it is not shown again" if created.text else "The key was shown when it was created",
    )


@api.get("/api/api-keys", access=SELF_OR_ADMINS, responses=PAGE)
def list_keys(
    user_id: Annotated[UserReference | None, Query(alias="userId", description="An id or e-mail address")] = None,
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
) -> list[KeyView]:
    """List the API keys of the caller or of the user in ``userId``, newest first.

    The header ``X-Next-Cursor`` has the next page's cursor.
    """
    owner = api.caller.user_id if user_id is None else users.resolve(api.subject).user.id
    found, position = api_keys.of_owner(owner, before=position_in(cursor), limit=limit)
    if position:
        api.add_header(NEXT_CURSOR_HEADER, cursor_of(position))
    return [KeyView.of(key) for key in found]


@api.put("/api/api-keys/<key_id>", access=USERS, codes=("API_KEY_NOT_FOUND",))
def change(key_id: IdentifierInPath, body: Change) -> ChangedView:
    """Change an API key's name or permissions, or switch the key off or on."""
    if body.name is None and body.permissions is None and body.is_active is None:
        raise Invalid("Nothing to change: send name, permissions or isActive")
    key = api_keys.change(
        key_id, api.caller.user_id, name=body.name, permissions=body.permissions, enabled=body.is_active
    )
    return ChangedView(
        id=key.id, name=key.name, permissions=key.permissions, is_active=key.active, message="API key updated"
    )


@api.post("/api/api-keys/<key_id>/revoke", access=KEY_ENDERS, codes=("API_KEY_NOT_FOUND",))
def revoke(key_id: IdentifierInPath) -> MessageView:
    """Revoke an API key permanently. It stays in the list."""
    api_keys.change(key_id, _owner(), revoked=True)
    return MessageView(message="API key revoked")


@api.delete("/api/api-keys/<key_id>", access=KEY_ENDERS, codes=("API_KEY_NOT_FOUND",))
def delete(key_id: IdentifierInPath) -> MessageView:
    """Delete an API key."""
    operations.delete(key_id, _owner())
    return MessageView(message="API key deleted")


@api.post("/api/api-keys/validate", access=PLATFORM, any_query=True, responses=VALIDATED)
def validate(body: Validate) -> tuple[ValidateView, int]:
    """Check an API key: which user it acts for, and what it permits."""
    now = clock()
    key, refusal = api_keys.verify(body.key, now)
    if key is None or refusal or users.is_disabled(key.user_id):
        code = refusal or ("NOT_FOUND" if key is None else "USER_DISABLED")
        return ValidateView(valid=False, code=code, message=REFUSALS[code]), HTTPStatus.UNAUTHORIZED
    api_keys.note_use(key, now)
    view = ValidateView(valid=True, user_id=key.user_id, permissions=key.permissions, account_id=key.account_id)
    return view, HTTPStatus.OK


def _owner() -> str:
    """The id of the user whose key the caller revokes or deletes."""
    return cast("ById", api.subject).user_id


def _instant(at: int | None) -> str | None:
    return None if at is None else iso(at)


handler = handler_of(api)
