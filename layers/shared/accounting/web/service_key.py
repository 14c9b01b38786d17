"""The check of ``RequireServiceKey``: an end user's token alone can't open or settle a session, or report usage."""

from collections.abc import Mapping

from accounting.domain.errors import Forbidden
from accounting.secrets import is_internal_key
from accounting.settings import settings

HEADER = "X-Internal-Api-Key"


def require_service_key(headers: Mapping[str, str]) -> None:
    """Raise Forbidden if the stack requires the platform's key and the request lacks it. Also raises Unavailable."""
    if settings().require_service_key and not is_internal_key(headers.get(HEADER) or ""):
        raise Forbidden("The key of one of the platform's services is required", header=HEADER)
