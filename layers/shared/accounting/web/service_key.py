"""Settling is the service's business: with ``RequireServiceKey`` an end user's token alone reports no usage."""

from accounting.domain.errors import Forbidden
from accounting.secrets import is_internal_key
from accounting.settings import settings
from accounting.web.api import Api
from accounting.web.caller import Caller, Permission

HEADER = "X-Internal-Api-Key"


def caller_of_service(api: Api, permission: Permission) -> Caller:
    """Who the request is for, sent by a service of the platform if that is required; they may be disabled.

    Raises as ``api.even_disabled_caller`` does, Forbidden without the platform's internal key, and Unavailable.
    """
    caller = api.even_disabled_caller(permission)
    if settings().require_service_key and not is_internal_key(api.current_event.headers.get(HEADER) or ""):
        raise Forbidden("The key of one of the platform's services is required", header=HEADER)
    return caller
