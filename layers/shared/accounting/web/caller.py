"""Who calls: the identity that the authorizer put into the request. Facts that may be outdated are checked again."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from accounting.domain import addresses
from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import (
    ApiKeyInvalid,
    Forbidden,
    RightMissing,
    ServiceCredentialInvalid,
    TokenExpired,
    TokenRequired,
    UserDisabled,
)
from accounting.domain.service_credentials import Right, ServiceCredential
from accounting.domain.users import DEFAULT_ROLE, effective_role
from accounting.store import api_keys, service_credentials, users
from accounting.web.on_behalf import user_id_in

CLOCK_LEEWAY_SECONDS = 30
SUPERVISORS = ("supervisor", "admin")

type Permission = Literal["credits:read", "sessions:write", "usage:read", "usage:write"]


class Caller(NamedTuple):
    """An authenticated user. ``role`` is the token's role; without a token, it is ``user``.

    ``permissions`` are those of an API key; without an API key, they are None. ``email`` is the address in the token,
    or empty. ``issued_at`` is when the token was issued (epoch seconds). ``service`` is the credential of the service
    that acts for the user, None if the user acts. ``key_id`` is the API key's id. ``key_account`` is the account to
    which the API key is limited, None if it may use every account of its user.
    """

    user_id: str
    email: str
    role: str
    permissions: tuple[str, ...] | None = None
    issued_at: int = 0
    service: ServiceCredential | None = None
    key_id: str | None = None
    key_account: AccountId | None = None

    @property
    def actor(self) -> str:
        """The actor in the ledger: the service that acts for the user, else the user."""
        return self.service.actor if self.service else self.user_id

    @property
    def own_account(self) -> AccountId:
        return personal(self.user_id)

    def account(self, asked: AccountId | None) -> AccountId:
        """The account of a request: ``asked`` if the request names one, else the API key's, else the caller's own.

        Raises Forbidden if the API key is for another account. The user's access to the account is not checked here.
        """
        account_id = asked or self.key_account or self.own_account
        self.require_key_for(account_id)
        return account_id

    def require_key_for(self, account_id: AccountId) -> None:
        """Raise Forbidden if the caller's API key is for another account."""
        if self.key_account not in (None, account_id):
            raise Forbidden("The API key is for another account", accountId=self.key_account)

    def require_supervisor(self) -> None:
        """Raise UserDisabled if the caller is disabled, Forbidden if they are not a supervisor or administrator now."""
        if self._role_now(*SUPERVISORS) not in SUPERVISORS:
            raise Forbidden("Supervisor access required")

    def is_supervisor(self) -> bool:
        """Whether the caller is a supervisor or administrator now.

        If the token has one of these roles, the user is read, and UserDisabled is raised if the user is disabled. If
        the token has a lower role, nothing is read.
        """
        return self.role in SUPERVISORS and self._role_now(*SUPERVISORS) in SUPERVISORS

    def require_admin(self) -> None:
        """Raise UserDisabled if the caller is disabled, Forbidden if they are not an administrator now."""
        if not self.is_admin():
            raise Forbidden("Admin access required")

    def is_admin(self) -> bool:
        """Whether the caller is an administrator now. Raises UserDisabled if they are disabled."""
        return self._role_now("admin") == "admin"

    def require_enabled(self) -> None:
        """Raise UserDisabled if the caller is disabled. Disabling takes effect within 30 seconds."""
        if users.is_disabled(self.user_id):
            raise UserDisabled

    def _role_now(self, *wanted: str) -> str:
        """The token's role or, if that is one of the ``wanted`` roles, the role that the caller has now.

        The gateway may cache a token for minutes. Meanwhile, a newer token or a sync may lower the user's role, so a
        wanted role is checked against the profile. Any other role needs no check: the profile cannot raise it.

        Raises UserDisabled if the caller is disabled.
        """
        if self.role not in wanted:
            self.require_enabled()
            return self.role
        known = users.find(self.user_id)
        if known is not None and known.disabled:
            raise UserDisabled
        return effective_role(self.role, self.issued_at * 1000, known)

    def require_permission(self, permission: Permission | None) -> None:
        """Raise Forbidden for an API key without this permission. If ``permission`` is None, refuse every API key."""
        if self.permissions is None:
            return
        if permission is None:
            raise Forbidden("An access token is required here, not an API key")
        if permission not in self.permissions:
            raise Forbidden(f"The API key lacks the permission {permission}", permission=permission)

    def require_right(self, right: Right | None) -> None:
        """Raise RightMissing for a service without this right. With None, raise Forbidden for every service."""
        if self.service is None:
            return
        if right is None:
            raise Forbidden("No service credential may call this route")
        if right not in self.service.rights:
            raise RightMissing(f"The service credential lacks the right {right}", right=right)

    def is_self(self, reference: str) -> bool:
        """Whether ``reference``, an id or e-mail address (URL-encoded or not), means the caller.

        The caller's address comes from the token. Without a token, or if the token has no address, it comes from the
        profile, which is read only if ``reference`` is an address.
        """
        if reference == self.user_id:
            return True
        named = {addresses.canonical(reference), addresses.canonical(unquote(reference))} - {None}
        if not named:
            return False
        own = addresses.canonical(self.email)
        if own is None:
            known = users.find(self.user_id)
            own = known.address if known else None
        return own in named


def caller_of(authorizer: Mapping[str, Any], now: int, on_behalf_of: Sequence[str] = ()) -> Caller:
    """The caller of a request, from the authorizer's context, in which every value is a text.

    The gateway caches the authorizer's answer. Meanwhile a token may have expired, or a key or secret may have been
    revoked, so they are checked again. ``on_behalf_of`` are the request's ``X-On-Behalf-Of`` headers, which only a
    service's request needs.

    Raises TokenRequired if the context has no identity. Raises TokenExpired, ApiKeyInvalid or ServiceCredentialInvalid
    if a check fails. Raises Invalid if a service does not name exactly one user.
    """
    service_id = authorizer.get("serviceId")
    if service_id:
        service = _service(str(service_id), int(authorizer["generation"]), now)
        return Caller(user_id_in(on_behalf_of), "", DEFAULT_ROLE, service=service)
    user_id = str(authorizer.get("userId") or "")
    if not user_id:
        raise TokenRequired("An access token is required")
    key_id = authorizer.get("apiKeyId")
    if key_id:
        key = api_keys.find_cached(str(key_id))
        if key is None or key.user_id != user_id or key.refusal(now):
            raise ApiKeyInvalid("The API key is invalid")
        return Caller(user_id, "", "user", key.permissions, key_id=key.id, key_account=key.account_id)
    if now // 1000 >= int(authorizer["exp"]) + CLOCK_LEEWAY_SECONDS:
        raise TokenExpired("The access token has expired")
    return Caller(
        user_id,
        email=str(authorizer.get("email", "")),
        role=str(authorizer.get("role", "user")),
        issued_at=int(authorizer.get("iat", 0)),
    )


def _service(service_id: str, generation: int, now: int) -> ServiceCredential:
    """The service's credential. ``generation`` is the number of the secret that the service sent.

    Raises ServiceCredentialInvalid if this secret is not valid. A deletion or rotation takes effect within 30 seconds.
    """
    service = service_credentials.find_cached(service_id, generation)
    if service is None:
        raise ServiceCredentialInvalid("The service credential was deleted")
    if not service.accepts(generation, now):
        raise ServiceCredentialInvalid("The service credential was rotated out")
    return service
