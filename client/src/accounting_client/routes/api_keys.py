"""API keys: a program with a user's key acts for the user, within the key's permissions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from accounting_client.call import (
    Access,
    Call,
    Done,
    Listing,
    Page,
    as_,
    as_page,
    command,
    identifier,
    json_fields,
    path,
)


@dataclass(frozen=True)
class CreatedApiKey:
    """A new key. ``key`` is its secret, or None if the request was a repeat: the secret is shown only once.

    ``account_id`` is the only account that the key may use. If it is None, the key may use every account of its user.
    """

    id: str
    name: str
    permissions: tuple[str, ...]
    expires_at: datetime | None
    message: str
    key: str | None = None
    account_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class ApiKeyInfo:
    """A key, without its secret. ``account_id`` has the same meaning as in ``CreatedApiKey``."""

    id: str
    name: str
    permissions: tuple[str, ...]
    created_at: datetime
    is_active: bool
    expires_at: datetime | None = None
    last_used: datetime | None = None
    account_id: str | None = None


@dataclass(frozen=True)
class ChangedApiKey:
    """A key after a change."""

    id: str
    name: str
    permissions: tuple[str, ...]
    is_active: bool
    message: str


@dataclass(frozen=True)
class ApiKeyValidity:
    """The owner and the permissions of a valid key, or why a key is refused.

    ``code`` of a refused key is ``NOT_FOUND``, ``DISABLED``, ``EXPIRED`` or ``USER_DISABLED``.
    """

    valid: bool
    user_id: str | None = None
    permissions: tuple[str, ...] = ()
    account_id: str | None = None
    code: str | None = None
    message: str | None = None


def create_api_key(
    name: str,
    *,
    permissions: Sequence[str] | None = None,
    expiry_days: int | None = None,
    account_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[CreatedApiKey]:
    """Make a key for the caller. Without ``expiry_days``, the key does not expire.

    With ``account_id``, the key may use only this account. The caller must be able to spend from the account. If the
    answer is lost, a repeat returns the key without its secret: ``key`` is None. Then delete this key and make another.

    Raises AccountNotFound, TooManyApiKeys, IdempotencyConflict.
    """
    body = json_fields(name=name, permissions=_array(permissions), expiry_days=expiry_days, account_id=account_id)
    return command("POST", "/api/api-keys", CreatedApiKey, body, idempotency_key)


def api_keys_page(
    user_id: str | None = None, *, limit: int | None = None, cursor: str | None = None
) -> Call[Page[ApiKeyInfo]]:
    """A page of the caller's API keys, newest first. An administrator can name another user.

    ``limit`` is 1 to 100, by default 100. Raises UserNotFound.
    """
    query = json_fields(user_id=user_id, limit=limit, cursor=cursor)
    return Call("GET", "/api/api-keys", as_page(ApiKeyInfo), query=query, repeatable=True)


def api_keys(user_id: str | None = None, *, page_size: int = 100) -> Listing[ApiKeyInfo]:
    """The caller's API keys, newest first. An administrator can name another user.

    Raises UserNotFound.
    """
    return lambda cursor: api_keys_page(user_id, limit=page_size, cursor=cursor)


def change_api_key(
    key_id: str,
    *,
    name: str | None = None,
    permissions: Sequence[str] | None = None,
    is_active: bool | None = None,
) -> Call[ChangedApiKey]:
    """Change a key's name or permissions, or switch the key off or on. Raises ApiKeyNotFound."""
    body = json_fields(name=name, permissions=_array(permissions), is_active=is_active)
    return Call("PUT", path("/api/api-keys/{}", identifier(key_id)), as_(ChangedApiKey), body=body)


def revoke_api_key(key_id: str) -> Call[Done]:
    """Revoke a key for good; it stays in the list. Administrators can revoke any key. Raises ApiKeyNotFound."""
    return Call("POST", path("/api/api-keys/{}/revoke", identifier(key_id)), as_(Done))


def delete_api_key(key_id: str) -> Call[Done]:
    """Delete a key. Administrators can delete any key. Raises ApiKeyNotFound."""
    return Call("DELETE", path("/api/api-keys/{}", identifier(key_id)), as_(Done))


def validate_api_key(key: str) -> Call[ApiKeyValidity]:
    """Check whether a key is valid, and whose it is. A refused key raises no error.

    Internal: the request sends the service key instead of a token.
    """
    return Call(
        "POST",
        "/api/api-keys/validate",
        as_(ApiKeyValidity),
        body=json_fields(key=key),
        access=Access.INTERNAL,
        repeatable=True,
        answer_field="valid",
    )


def _array(permissions: Sequence[str] | None) -> list[str] | None:
    return None if permissions is None else list(permissions)
