"""Who may call a route. The route's decorator declares it, and ``Api`` enforces it before the handler runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from accounting.store.users import Reference
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
    PLATFORM = "the platform's own services, with the internal key"


WITHOUT_CALLER = (Who.ANYBODY, Who.PLATFORM)
SELF_OR_OTHERS = {
    Who.SELF_OR_SUPERVISORS: Caller.require_supervisor,
    Who.SELF_OR_ADMINS: Caller.require_admin,
}


class Disabled(Enum):
    """What a route does for a disabled user."""

    REFUSED = auto()
    OPERATION_DECIDES = auto()
    """The operation refuses them: it reads the wallet anyway, which says who is disabled, and it answers repeats."""
    SERVED = auto()


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route.

    ``permission`` is what an API key needs; if it is None, the route takes only tokens. ``service_key`` checks the
    headers for the platform's key. ``subject`` finds the user that a request is about.
    """

    who: Who
    permission: Permission | None = None
    disabled: Disabled = Disabled.REFUSED
    service_key: Callable[[Mapping[str, str]], None] | None = None
    subject: Callable[[Caller, Arguments], Reference] = named_user

    def admit(self, caller: Caller, event: APIGatewayProxyEvent, arguments: Arguments) -> Reference:
        """Return the user that the request is about. Raises Forbidden or UserDisabled if the caller may not send it."""
        caller.require_permission(self.permission)
        if self.service_key:
            self.service_key(event.headers)
        if self.who in SELF_OR_OTHERS:
            return self_or(SELF_OR_OTHERS[self.who], caller, self.subject(caller, arguments))
        if self.who is Who.SUPERVISORS:
            caller.require_supervisor()
        elif self.who is Who.ADMINS:
            caller.require_admin()
        elif self.disabled is Disabled.REFUSED:
            caller.require_enabled()
        return self.subject(caller, arguments)

    @property
    def security(self) -> Security | None:
        """The OpenAPI security of a route; None means the document's default: a token or an API key."""
        if self.who in WITHOUT_CALLER:
            return [{"internalKey": []}] if self.who is Who.PLATFORM else []
        if not self.service_key:
            return None if self.permission else [{"token": []}]
        either: Security = [{"token": []}, {"apiKey": []}]
        return [*either, *({**each, "internalKey": []} for each in either)]


USERS = Access(Who.USERS)
SUPERVISORS = Access(Who.SUPERVISORS)
ADMINS = Access(Who.ADMINS)
SELF_OR_ADMINS = Access(Who.SELF_OR_ADMINS)
PLATFORM = Access(Who.PLATFORM)
"""Access without API keys. The gateway enforces PLATFORM: the template names the authorizer for the internal key."""
