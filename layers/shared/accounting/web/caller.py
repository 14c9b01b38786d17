"""Who calls: the identity that the authorizer put into the request, checked again where its cache could be late."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from accounting.domain.errors import Forbidden, TokenExpired, TokenRequired

CLOCK_LEEWAY_SECONDS = 30
ROLES = ("user", "supervisor", "admin")


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user with the role that their token gives."""

    user_id: str
    email: str
    role: str

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

    def is_self(self, reference: str) -> bool:
        """Whether an id or e-mail address (URL-encoded or not) means the caller, as far as the token tells."""
        addresses = (reference.lower(), unquote(reference).lower())
        return reference == self.user_id or (bool(self.email) and self.email.lower() in addresses)


def caller_of(authorizer: Mapping[str, Any], now: int) -> Caller:
    """The caller of a request, from the authorizer's context (every value of it is a text) at ``now``.

    The gateway caches the authorizer's answer, so that a token may have expired since. Raises TokenRequired without
    an identity and TokenExpired.
    """
    user_id = authorizer.get("userId")
    if not user_id:
        raise TokenRequired("An access token is required")
    if now // 1000 >= int(authorizer["exp"]) + CLOCK_LEEWAY_SECONDS:
        raise TokenExpired("The access token has expired")
    return Caller(str(user_id), str(authorizer.get("email", "")), str(authorizer.get("role", "user")))
