"""The authorizer of the internal routes, which only the other services of the platform may call."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.domain.errors import ApiKeyInvalid
from accounting.secrets import is_internal_key
from accounting.web.policy import allow, deny

logger = Logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return the IAM policy for a TOKEN authorizer event, whose token is the header ``X-Internal-Api-Key``.

    If the correct key cannot be read, the handler raises. The gateway then answers 503 and caches nothing.
    """
    if is_internal_key(event.get("authorizationToken", "")):
        return allow(event, "internal", {})
    logger.info("denied", code=ApiKeyInvalid.code)
    return deny(event, ApiKeyInvalid("The internal API key is invalid"))
