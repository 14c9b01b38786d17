"""Answers of the Lambda functions ``health`` and ``docs``. Imports no pydantic, so that these functions start fast."""

from collections.abc import Mapping
from typing import Any

from accounting.web.headers import headers


def answer(event: Mapping[str, Any], status: int, own_headers: Mapping[str, str], body: str) -> dict[str, Any]:
    """An answer with the common headers and ``own_headers``.

    The answer to ``HEAD`` has no body. Its ``Content-Length`` is the length of the body that ``GET`` gets. Without this
    header, the gateway would send 0.
    """
    sent = {**headers(), **own_headers}
    if event["httpMethod"] == "HEAD":
        return {"statusCode": status, "headers": {**sent, "Content-Length": str(len(body.encode()))}, "body": ""}
    return {"statusCode": status, "headers": sent, "body": body}
