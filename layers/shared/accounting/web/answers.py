"""Answers of the functions without a resolver. This module imports no models, so that they start fast."""

from collections.abc import Mapping
from typing import Any

from accounting.web.headers import headers


def answer(event: Mapping[str, Any], status: int, own_headers: Mapping[str, str], body: str) -> dict[str, Any]:
    """An answer with the common headers. The answer to ``HEAD`` is the answer to ``GET`` without the body.

    It states the length of the body that it leaves out; otherwise the gateway would state 0.
    """
    sent = {**headers(), **own_headers}
    if event["httpMethod"] == "HEAD":
        return {"statusCode": status, "headers": {**sent, "Content-Length": str(len(body.encode()))}, "body": ""}
    return {"statusCode": status, "headers": sent, "body": body}
