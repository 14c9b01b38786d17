"""Answers of the functions without a resolver; it imports no models, so that they start fast."""

from collections.abc import Mapping
from typing import Any

from accounting.web.headers import headers


def answer(event: Mapping[str, Any], status: int, own_headers: Mapping[str, str], body: str) -> dict[str, Any]:
    """An answer with the headers of every answer; one to ``HEAD`` is that to ``GET`` without its body.

    It has the length of the body that it leaves out: the gateway would say 0.
    """
    sent = {**headers(), **own_headers}
    if event["httpMethod"] == "HEAD":
        return {"statusCode": status, "headers": {**sent, "Content-Length": str(len(body.encode()))}, "body": ""}
    return {"statusCode": status, "headers": sent, "body": body}
