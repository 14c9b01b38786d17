"""Health: shows that the service is running. It needs neither the table nor a token."""

import json
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.settings import service_version
from accounting.times import clock, iso
from accounting.web.answers import answer

logger = Logger()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer ``GET`` and ``HEAD`` of ``/health`` and ``/api/health``, the only routes that the gateway sends here."""
    logger.info("request", method=event["httpMethod"], route=event.get("resource"), status=200)
    body = {
        "status": "ok",
        "service": "accounting-service",
        "version": service_version(),
        "timestamp": iso(clock()),
    }
    return answer(event, 200, {"Content-Type": "application/json"}, json.dumps(body))
