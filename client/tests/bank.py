"""A stand-in for the service, for many users. Served over HTTP, it can lose requests and answers."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from client.tests.accountant import AT, answer_with
from client.tests.played import ok, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

UNAVAILABLE = refusal(503, "UNAVAILABLE")
LOST = httpx.ReadError("the answer was lost")


@dataclass
class KnownSession:
    """A session, with the bodies of the requests that opened and settled it. ``beats`` has the bodies of heartbeats."""

    user: str
    opened: dict[str, Any]
    settled: dict[str, Any] | None = None
    outcome: str | None = None
    charges: int = 0
    beats: list[dict[str, Any]] = field(default_factory=list)


class Bank:
    """Opens and settles sessions, and returns prices. While ``is_down``, it answers 503.

    A step is the last part of a request's path, such as ``initialize``. ``asked`` counts the requests by step; requests
    for prices count as ``price``. ``limits`` has the maximum output of each model.

    ``trouble`` has a list of answers and exceptions for each step. A request for a step removes the first of them and
    gets it as its answer. Once the list is empty, requests are carried out. A session that estimates more output tokens
    than ``credits`` is refused.
    """

    def __init__(self, credits: int = 10**6) -> None:
        self.sessions: dict[str, KnownSession] = {}
        self.asked: Counter[str] = Counter()
        self.is_down = False
        self.trouble: dict[str, list[httpx.Response | BaseException]] = {}
        self.rejects_usage = False
        self.credits = credits
        self.limits: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        user = request.headers.get("X-On-Behalf-Of", "")
        return self.answer(request.url.path, request.read(), user)

    def answer(self, path: str, content: bytes, user: str) -> httpx.Response:
        if "/pricing/" in path:
            with self._lock:
                self.asked["price"] += 1
                return self._price(path.rpartition("/")[2])
        step, body = path.rpartition("/")[2], json.loads(content)
        with self._lock:
            self.asked[step] += 1
            if self.is_down:
                return answer_with(UNAVAILABLE)
            if self.trouble.get(step):
                return answer_with(self.trouble[step].pop(0))
            answer: httpx.Response = getattr(self, f"_{step}")(body, user)
            return answer

    def only(self) -> KnownSession:
        (session,) = self.sessions.values()
        return session

    @property
    def open(self) -> set[str]:
        """The ids of the sessions that are not settled."""
        return {session_id for session_id, session in self.sessions.items() if session.outcome is None}

    def _price(self, model: str) -> httpx.Response:
        if self.is_down:
            return answer_with(UNAVAILABLE)
        limit = {"maxOutputTokens": self.limits[model]} if model in self.limits else {}
        return ok({"modelId": model, "pricePerThousandTokens": 1, "history": []} | limit)

    def _initialize(self, body: dict[str, Any], user: str) -> httpx.Response:
        session_id = body["sessionId"]
        known = self.sessions.get(session_id)
        if known is not None and known.outcome is not None:
            return refusal(409, "SESSION_ENDED")
        estimate = body["estimatedTokens"] if "estimatedTokens" in body else body["estimatedUsage"]["outputTokens"]
        if estimate > self.credits:
            return refusal(402, "INSUFFICIENT_CREDITS", affordableOutputTokens=self.credits)
        self.sessions.setdefault(session_id, KnownSession(user, body))
        held = {"allocatedCredits": -(-estimate * 12 // 10), "estimatedCredits": estimate}
        return ok(
            {"sessionId": session_id, "expiresAt": AT, "message": "Holding", "replayed": known is not None} | held
        )

    def _heartbeat(self, body: dict[str, Any], _user: str) -> httpx.Response:
        session = self.sessions.get(body["sessionId"])
        if session is None or session.outcome:
            return refusal(404, "SESSION_NOT_ACTIVE")
        session.beats.append(body)
        tokens = body.get("tokensGenerated", 0)
        return ok(
            {"sessionId": body["sessionId"], "expiresAt": AT, "tokensGenerated": tokens, "allocatedCredits": 10**9}
        )

    def _finalize(self, body: dict[str, Any], user: str) -> httpx.Response:
        return self._settle("finalize", body, user)

    def _abort(self, body: dict[str, Any], user: str) -> httpx.Response:
        return self._settle("abort", body, user)

    def _settle(self, outcome: str, body: dict[str, Any], user: str) -> httpx.Response:
        session = self.sessions.get(body["sessionId"])
        if session is None or session.user != user or session.outcome not in (None, outcome):
            return refusal(404, "SESSION_NOT_ACTIVE")
        if self.rejects_usage and "usage" in body:
            return refusal(400, "VALIDATION_ERROR", errors=[{"field": "usage.total", "problem": "is wrong"}])
        if session.outcome is None:
            session.outcome, session.settled, session.charges = outcome, body, session.charges + 1
        elif session.settled != body:
            return refusal(404, "SESSION_NOT_ACTIVE")
        numbers = {"refund": 0, "overrun": 0, "debt": 0, "actualCredits": 1, "partialCredits": 1, "estimatedCredits": 1}
        return ok({"sessionId": body["sessionId"], "status": "completed"} | numbers)


@contextmanager
def serving(bank: Bank, *, loses: float = 0.0) -> Iterator[str]:
    """Serve a bank on a port of this machine. ``loses`` is the share of requests, and of answers, that gets lost."""
    chance = random.Random(7)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if chance.random() < loses:
                self.close_connection = True
                return
            answer = bank.answer(urlsplit(self.path).path, content, self.headers.get("X-On-Behalf-Of", ""))
            if chance.random() < loses:
                self.close_connection = True
                return
            self.send_response_only(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do  # noqa: N815 - http.server looks for these names

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Print no traceback of a broken connection: some tests kill their client."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
