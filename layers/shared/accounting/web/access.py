"""Who may call a route. The route's decorator declares it, and ``Api`` enforces it before the handler runs."""

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from accounting.domain.accounts import AccountId
from accounting.domain.service_credentials import Right
from accounting.store import users
from accounting.store.users import Reference
from accounting.times import clock
from accounting.web.accounts import Account, named_in
from accounting.web.caller import Caller, Permission
from accounting.web.subject import named_user, self_or

type Arguments = Mapping[str, Any]
"""A handler's arguments by name: the validated parameters and the body."""
type Security = list[dict[str, list[str]]]


class Who(StrEnum):
    """Who may call a route, in the words of the API document."""

    ANYBODY = "anybody, without a token"
    USERS = "every user, about themselves"
    SUPERVISORS = "supervisors and administrators"
    ADMINS = "administrators"
    SELF_OR_SUPERVISORS = "users about themselves; supervisors and administrators about anybody"
    SELF_OR_ADMINS = "users about themselves; administrators about anybody"
    ACCOUNTS = (
        "users about their own account, and about an organization's account as their role there permits; "
        "administrators about any account"
    )
    SPENDERS = (
        "users about themselves; an organization's owners and admins about its members; supervisors and administrators "
        "about anybody"
    )
    MEMBERS = "members of the organization, and administrators"
    MANAGERS = "the organization's owners and admins, and administrators"
    MANAGERS_OR_SELF = (
        "the organization's owners and admins, and administrators, about any member; members about themselves"
    )
    PLATFORM = "the platform's own services, with the internal key"


WITHOUT_CALLER = (Who.ANYBODY, Who.PLATFORM)
SELF_OR_OTHERS = {
    Who.SELF_OR_SUPERVISORS: Caller.require_supervisor,
    Who.SELF_OR_ADMINS: Caller.require_admin,
}


RIGHTS: dict[Permission, Right] = {
    "credits:read": "read",
    "sessions:write": "sessions",
    "usage:read": "read",
    "usage:write": "usage",
}
"""For each permission of API keys: the right with which a service may call the same routes for a user."""


class Disabled(Enum):
    """What a route does for a disabled user."""

    REFUSED = auto()
    OPERATION_DECIDES = auto()
    """The operation refuses a new request, but still answers a repeated one. The wallet that the
    operation reads says whether the user is disabled, so no extra read is needed."""
    SERVED = auto()


class Access(NamedTuple):
    """Who may call a route.

    ``permission`` is what an API key needs; if it is None, the route takes no API key. ``service_key`` checks the
    headers for the platform's key. ``subject`` finds the user that a request is about. A service needs the right
    ``service_right`` or, if that is None, the right that ``RIGHTS`` has for ``permission``. ``introduce`` creates the
    user for whom a service acts, if this user is not stored yet. ``sight`` decides whether the caller may name the
    account in the request (see ``web/sight.py``).
    """

    who: Who
    permission: Permission | None = None
    disabled: Disabled = Disabled.REFUSED
    service_key: Callable[[Mapping[str, str]], None] | None = None
    subject: Callable[[Caller, Arguments], Reference] = named_user
    service_right: Right | None = None
    introduce: Callable[[str, int], None] | None = None
    sight: Callable[[Caller, AccountId | None], Account] | None = None

    @property
    def right(self) -> Right | None:
        """The right that a service needs to call the route for a user; None if no service may call it."""
        return self.service_right or (RIGHTS[self.permission] if self.permission else None)

    def admit(self, caller: Caller, event: APIGatewayProxyEvent, arguments: Arguments) -> Reference:
        """Return the user that the request is about.

        Raises Forbidden, RightMissing and UserDisabled if the caller may not send the request.
        """
        if caller.service:
            return self._admit_service(caller, arguments)
        caller.require_permission(self.permission)
        if self.service_key:
            self.service_key(event.headers)
        if self.who in SELF_OR_OTHERS:
            caller.require_key_for(caller.own_account)
            return self_or(SELF_OR_OTHERS[self.who], caller, self.subject(caller, arguments))
        if self.who is Who.SUPERVISORS:
            caller.require_supervisor()
        elif self.who is Who.ADMINS:
            caller.require_admin()
        elif self.disabled is Disabled.REFUSED:
            caller.require_enabled()
        return self.subject(caller, arguments)

    def _admit_service(self, caller: Caller, arguments: Arguments) -> Reference:
        """Like ``admit``, for a service that acts for a user. Its requests can only be about that user."""
        caller.require_right(self.right)
        if self.disabled is Disabled.REFUSED:
            caller.require_enabled()
        if self.disabled is not Disabled.SERVED and not users.is_known(caller.user_id):
            caller.require_right("users:sync")
            if self.introduce:
                self.introduce(caller.user_id, clock())
        if self.who is Who.USERS:
            return self.subject(caller, arguments)
        return self_or(SELF_OR_OTHERS.get(self.who, Caller.require_supervisor), caller, self.subject(caller, arguments))

    def account(self, caller: Caller, arguments: Arguments) -> Account | None:
        """The account that the request is about; None if the route takes no account.

        Raises AccountNotFound and Forbidden if the caller may not name the account.
        """
        return self.sight(caller, named_in(arguments)) if self.sight else None

    @property
    def security(self) -> Security | None:
        """The OpenAPI security of a route; None means the default: a token, an API key or a service."""
        if self.who in WITHOUT_CALLER:
            return [{"internalKey": []}] if self.who is Who.PLATFORM else []
        service: Security = [{"service": [], "onBehalfOf": []}] if self.right else []
        if not self.service_key:
            return None if self.permission else [{"token": []}, *service]
        either: Security = [{"token": []}, {"apiKey": []}]
        return [*either, *service, *({**each, "internalKey": []} for each in either)]


USERS = Access(Who.USERS)
SUPERVISORS = Access(Who.SUPERVISORS)
ADMINS = Access(Who.ADMINS)
SELF_OR_ADMINS = Access(Who.SELF_OR_ADMINS)
PLATFORM = Access(Who.PLATFORM)
"""For the platform's own services. ``Api`` checks no caller: the gateway's authorizer has checked the internal key."""
