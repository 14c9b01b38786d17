"""A caller of the service, and helpers for many concurrent requests."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

# A model without a price rule: the default price of 1 credit for 1,000 tokens applies.
MODEL = "plain-model"
PLAIN = False
"""The ``verify`` argument of an httpx client that uses only HTTP. By default, httpx loads certificates, which takes
longer than several requests."""

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
}
"""The headers of every answer. Only a file with a version in its address has another ``cache-control``."""


@dataclass(frozen=True)
class Person:
    """A user with a token. Paths are relative to ``/api/``."""

    http: httpx.Client
    id: str
    token: str

    @property
    def email(self) -> str:
        return f"{self.id}@example.com"

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Send ``body`` as JSON, or unchanged if it is bytes. ``options`` are passed to httpx."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if isinstance(body, bytes):
            options["content"] = body
        elif body is not None:
            options["json"] = body
        return self.http.request(method, f"/api/{path}", headers=headers, **options)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.call("GET", path, params=params)

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a POST request. In the names of ``headers``, write _ for -, as in ``Idempotency_Key``."""
        return self.call("POST", path, body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Return the JSON of an answer that must be a success."""
        answer = self.call(method, path, body, **options)
        assert answer.is_success, described(answer)
        return answer.json()

    def balance(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("GET", "credits/balance")
        return found

    def open(self, tokens: int = 1000, model: str = MODEL, session_id: str | None = None) -> str:
        session_id = session_id or new_id("session")
        body = {"sessionId": session_id, "modelId": model, "estimatedTokens": tokens}
        self.ok("POST", "streaming-sessions/initialize", body)
        return session_id

    def finalize(self, session_id: str, tokens: int, **more: Any) -> httpx.Response:
        return self.post("streaming-sessions/finalize", {"sessionId": session_id, "actualTokens": tokens, **more})

    def abort(self, session_id: str, **more: Any) -> httpx.Response:
        return self.post("streaming-sessions/abort", {"sessionId": session_id, **more})

    def heartbeat(self, session_id: str, tokens: int) -> httpx.Response:
        return self.post("streaming-sessions/heartbeat", {"sessionId": session_id, "tokensGenerated": tokens})


def with_key(http: httpx.Client, method: str, path: str, key: str, body: Any = None, **headers: str) -> httpx.Response:
    """Send a request with an API key instead of a token. ``headers`` are given as in `Person.post`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.request(method, f"/api/{path}", json=body, headers={"Authorization": f"ApiKey {key}", **named})


@dataclass(frozen=True)
class Service(Person):
    """A service that acts for a user, or for nobody. ``token`` is its credential."""

    subject: str | None = None

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        acting = {} if self.subject is None else {"X-On-Behalf-Of": quote(self.subject, safe="")}
        headers = {"Authorization": f"Service {self.token}", **acting, **options.pop("headers", {})}
        return super().call(method, path, body, headers=headers, **options)


def as_service(http: httpx.Client, credential: str, user_id: str | None) -> Service:
    return Service(http, user_id or "", credential, user_id)


RIGHTS_OF_A_PROXY = ("sessions", "read", "usage", "users:sync")


def issue_credential(admin: Person, *rights: str) -> dict[str, str]:
    """Return a new service credential with these rights, and its id."""
    made: dict[str, str] = admin.ok("POST", "service-credentials", {"name": "a service", "rights": rights})
    return made


def new_service(admin: Person, *rights: str) -> str:
    """Return a new service credential with these rights."""
    return issue_credential(admin, *rights)["credential"]


def new_id(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:12]}"


def references(person: Person) -> dict[str, str]:
    """Return the ways to name a user in a body or a path."""
    return {
        "id": person.id,
        "e-mail address": person.email,
        "encoded e-mail address": quote(person.email, safe=""),
        "e-mail address in capitals": person.email.upper(),
    }


def path_references(person: Person) -> dict[str, str]:
    """Return the ways to name a user in a path: those of `references`, and an address that is encoded twice.

    A gateway decodes a path at most once, so a function gets this address still encoded.
    """
    return references(person) | {"twice encoded e-mail address": quote(quote(person.email, safe=""), safe="")}


def described(answer: httpx.Response) -> str:
    """Describe a request and its answer, for the message of a failed assertion."""
    request = answer.request
    return f"{request.method} {request.url.path} -> {answer.status_code} {answer.text[:500]}"


def assert_refused(answer: httpx.Response, status: int, code: str, message: str | None = None) -> dict[str, Any]:
    """Assert that an answer is this refusal in the common error form; return its details."""
    assert answer.status_code == status, described(answer)
    assert answer.headers["content-type"].split(";")[0] == "application/json", described(answer)
    error = answer.json()
    assert set(error) == {"message", "code", "details", "requestId"}, described(answer)
    assert error["code"] == code, described(answer)
    assert isinstance(error["message"], str), described(answer)
    assert error["message"], described(answer)
    assert isinstance(error["requestId"], str), described(answer)
    assert error["requestId"], described(answer)
    if message is not None:
        assert error["message"] == message
    details: dict[str, Any] = error["details"]
    assert isinstance(details, dict)
    return details


def at_once(count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Let ``count`` clients send ``call(number)`` at the same moment. No answer may be a server error."""
    answers = together(count, call)
    faults = [f"after {seconds:.1f} s: {described(answer)}" for answer, seconds in answers if answer.is_server_error]
    assert not faults, faults
    return [answer for answer, _ in answers]


def together(count: int, call: Callable[[int], httpx.Response]) -> list[tuple[httpx.Response, float]]:
    """Let ``count`` clients send ``call(number)`` at the same moment. Return each answer and its time in seconds."""
    start = threading.Barrier(count)

    def client(number: int) -> tuple[httpx.Response, float]:
        start.wait()
        began = time.monotonic()
        return call(number), time.monotonic() - began

    with ThreadPoolExecutor(count) as clients:
        return list(clients.map(client, range(count)))


def statuses(answers: list[httpx.Response]) -> dict[int, int]:
    return dict(Counter(answer.status_code for answer in answers))
