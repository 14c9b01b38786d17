"""The check of the platform's internal key, which the stack's parameter ``RequireServiceKey`` turns on."""

from collections.abc import Mapping

from accounting.domain.errors import Forbidden
from accounting.secrets import is_internal_key
from accounting.settings import settings

HEADER = "X-Internal-Api-Key"


def require_service_key(headers: Mapping[str, str]) -> None:
    """Raise Forbidden if the stack requires the platform's internal key and the request lacks it.

    Raises Unavailable if the key can't be read.
    """
    if settings().require_service_key and not is_internal_key(headers.get(HEADER) or ""):
        raise Forbidden("The platform's internal key is required", header=HEADER)
