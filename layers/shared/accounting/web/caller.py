"""Who calls: the identity that the authorizer put into the request, checked again where its cache could be late."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from accounting.domain.errors import ApiKeyInvalid, Forbidden, TokenExpired, TokenRequired
from accounting.store import api_keys

CLOCK_LEEWAY_SECONDS = 30

type Permission = Literal["credits:read", "sessions:write", "usage:read", "usage:write"]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user with the role that their token gives; ``permissions`` are an API key's, None of a token."""

    user_id: str
    email: str
    role: str
    permissions: tuple[str, ...] | None = None

    @property
    def supervises(self) -> bool:
        """Whether the caller is a supervisor or an administrator."""
        return self.role in ("supervisor", "admin")

    def require_supervisor(self) -> None:
        """Raise Forbidden unless the caller supervises."""
        if not self.supervises:
            raise Forbidden("Supervisor access required")

    def require_admin(self) -> None:
        """Raise Forbidden unless the caller is an administrator."""
        if self.role != "admin":
            raise Forbidden("Admin access required")

    def require_permission(self, permission: Permission | None) -> None:
        """Raise Forbidden unless the caller has a token, or an API key with this permission."""
        if self.permissions is None:
            return
        if permission is None:
            raise Forbidden("An access token is required here, not an API key")
        if permission not in self.permissions:
            raise Forbidden(f"The API key lacks the permission {permission}", permission=permission)

    def is_self(self, reference: str) -> bool:
        """Whether an id or e-mail address (URL-encoded or not) means the caller, as far as the token tells."""
        addresses = (reference.lower(), unquote(reference).lower())
        return reference == self.user_id or (bool(self.email) and self.email.lower() in addresses)


def caller_of(authorizer: Mapping[str, Any], now: int) -> Caller:
    """The caller of a request, from the authorizer's context (every value of it is a text) at ``now``.

    The gateway caches the authorizer's answer, so that a token may have expired since, and a key been revoked.
    Raises TokenRequired without an identity, TokenExpired and ApiKeyInvalid.
    """
    user_id = str(authorizer.get("userId") or "")
    if not user_id:
        raise TokenRequired("An access token is required")
    key_id = authorizer.get("apiKeyId")
    if key_id:
        key = api_keys.find_cached(str(key_id))
        if key is None or key.user_id != user_id or key.refusal(now):
            raise ApiKeyInvalid("The API key is invalid")
        return Caller(user_id, "", "user", key.permissions)
    if now // 1000 >= int(authorizer["exp"]) + CLOCK_LEEWAY_SECONDS:
        raise TokenExpired("The access token has expired")
    return Caller(user_id, str(authorizer.get("email", "")), str(authorizer.get("role", "user")))
