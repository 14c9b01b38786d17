"""A stand-in for the service that gives the answers that a test chose, and records the requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

type Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]

BALANCE = {"userId": "u", "totalCredits": 7, "heldCredits": 2, "debt": 0, "activeAllocations": []}
GRANTED = {
    "id": "a",
    "userId": "u",
    "credits": 5,
    "remainingCredits": 5,
    "totalCredits": 12,
    "debt": 0,
    "expiresAt": "2026-12-21T08:30:00.000Z",
    "message": "Allocated 5 credits",
}


class Played:
    """Gives each of the ``replies`` once, in order, and then repeats the last one."""

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[httpx.Request] = []
        self._replies = list(replies)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):  # a new copy, because a response can be read only once
            return httpx.Response(reply.status_code, content=reply.content, headers=reply.headers)
        return reply(request)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The method and the last part of the path of every request."""
        return [(request.method, request.url.path.rpartition("/")[2]) for request in self.requests]

    def headers(self, name: str) -> list[str | None]:
        """The values of a header in all requests."""
        return [request.headers.get(name) for request in self.requests]

    @property
    def bodies(self) -> list[Any]:
        """The JSON bodies of all requests."""
        return [json.loads(request.content) for request in self.requests]


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def refusal(status: int, code: str, retry_after: str | None = None, /, **details: Any) -> httpx.Response:
    """A refusal in the service's common form."""
    body = {"message": f"It is {code}", "code": code, "details": details, "requestId": "r-1"}
    return httpx.Response(status, json=body, headers={} if retry_after is None else {"Retry-After": retry_after})
