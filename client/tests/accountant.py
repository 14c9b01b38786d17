"""A stand-in for the service's streaming sessions: one session of one user, at one price."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import httpx

from client.tests.played import ok, refusal

AT = "2026-11-21T09:30:00.000Z"
TOKENS_A_CREDIT = 10


class Accountant:
    """Opens and settles one session.

    A step is the last part of a request's path, such as ``initialize``. ``received`` has the step and the tokens of
    each request, and ``bodies`` has the step and the body of each request. ``trouble`` has answers and exceptions by
    step. Each is used once, instead of carrying out the step. ``afterwards`` has answers and exceptions by step. Each
    is used once, after the step was carried out. A usage object may be in the canonical format, in OpenAI's format or
    in Anthropic's format. Only its output tokens are read.
    """

    def __init__(self, credits: int = 1000) -> None:
        self.received: list[tuple[str, int]] = []
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.trouble: dict[str, list[httpx.Response | BaseException]] = {}
        self.afterwards: dict[str, list[httpx.Response | BaseException]] = {}
        self.session_ids: set[str] = set()
        self.outcome: tuple[str, int] | None = None
        self.expires_at: Callable[[], str] = lambda: AT
        self._credits = credits
        self._held = 0
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        step, body = request.url.path.rpartition("/")[2], json.loads(request.read())
        with self._lock:
            self.session_ids.add(body["sessionId"])
            self.received.append((step, tokens_in(body)))
            self.bodies.append((step, body))
            if self.trouble.get(step):
                return answer_with(self.trouble[step].pop(0))
            answer: httpx.Response = getattr(self, f"_{step}")(body)
            return answer_with(self.afterwards[step].pop(0)) if self.afterwards.get(step) else answer

    def steps(self, but: str = "heartbeat") -> list[str]:
        """The steps received, except those called ``but``."""
        return [step for step, _ in self.received if step != but]

    def tokens_of(self, step: str) -> list[int]:
        """The tokens of every step with this name."""
        return [tokens for name, tokens in self.received if name == step]

    def bodies_of(self, step: str) -> list[dict[str, Any]]:
        """The body of every step with this name, without the session's id."""
        return [
            {name: value for name, value in body.items() if name != "sessionId"}
            for received, body in self.bodies
            if received == step
        ]

    def _initialize(self, body: dict[str, Any]) -> httpx.Response:
        again = {"replayed": True} if self._held else {}
        estimate = -(-tokens_in(body) // TOKENS_A_CREDIT)
        if self._credits < estimate:
            return refusal(402, "INSUFFICIENT_CREDITS", affordableTokens=self._credits * TOKENS_A_CREDIT)
        self._held = -(-estimate * 12 // 10)
        known = {"sessionId": body["sessionId"], "expiresAt": self.expires_at(), "message": "Holding"}
        return ok(known | {"allocatedCredits": self._held, "estimatedCredits": estimate} | again)

    def _heartbeat(self, body: dict[str, Any]) -> httpx.Response:
        tokens = tokens_in(body)
        needed = -(-tokens // TOKENS_A_CREDIT)
        if self._held == 0 or self.outcome:
            return refusal(404, "SESSION_NOT_ACTIVE")
        if needed > self._credits:
            return refusal(402, "INSUFFICIENT_CREDITS", shortfall=needed - self._credits)
        if needed > self._held:
            self._held = min(self._credits, -(-needed * 12 // 10))
        known = {"sessionId": body["sessionId"], "expiresAt": self.expires_at()}
        return ok(known | {"tokensGenerated": tokens, "allocatedCredits": self._held})

    def _finalize(self, body: dict[str, Any]) -> httpx.Response:
        return self._settle(("finalize", tokens_in(body)), body, status="completed", estimatedCredits=1)

    def _abort(self, body: dict[str, Any]) -> httpx.Response:
        return self._settle(("abort", tokens_in(body)), body, status="aborted")

    def _settle(self, outcome: tuple[str, int], body: dict[str, Any], **more: Any) -> httpx.Response:
        again = {"replayed": True} if self.outcome == outcome else {}
        if self._held == 0 or (self.outcome and not again):
            return refusal(404, "SESSION_NOT_ACTIVE")
        self.outcome = outcome
        used = -(-outcome[1] // TOKENS_A_CREDIT)
        numbers = {"refund": self._held - used, "overrun": 0, "debt": 0, "actualCredits": used, "partialCredits": used}
        return ok({"sessionId": body["sessionId"]} | numbers | more | again)


def tokens_in(body: dict[str, Any]) -> int:
    """The largest number of tokens in the body of a request or in its usage object."""
    usage = body.get("usage") or body.get("estimatedUsage") or {}
    counts = {**body, **usage}
    names = ("estimatedTokens", "tokensGenerated", "actualTokens", "outputTokens", "output_tokens", "completion_tokens")
    return max(int(counts[name]) for name in names if name in counts)


def answer_with(trouble: httpx.Response | BaseException) -> httpx.Response:
    """Raise ``trouble`` if it is an exception. Otherwise, return a copy, because a response can be read only once."""
    if isinstance(trouble, BaseException):
        raise trouble
    return httpx.Response(trouble.status_code, content=trouble.content, headers=trouble.headers)
