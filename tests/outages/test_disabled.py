"""Disabled users can only end open sessions, or continue them within the credits that are held.

Everything else is refused: some requests at once, the rest after at most 30 seconds.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.books import balanced
from tests.e2e.client import MODEL, Person, assert_refused, new_id, with_key
from tests.outages.late import LATE_SECONDS, sleep_until, until_refused

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import People

AT_ONCE: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "credits/balance", None),
    ("POST", "credits/check", {"requiredCredits": 1}),
    ("POST", "streaming-sessions/initialize", {"sessionId": "new", "modelId": MODEL, "estimatedTokens": 1}),
    ("POST", "usage/record", {"service": "s", "operation": "o", "credits": 1, "deduct": True}),
]
"""Requests that are refused as soon as the user is disabled."""
SOON: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "credits/calculate", {"modelId": MODEL, "tokens": 1}),
    ("GET", "credits/allocations", None),
    ("GET", "credits/allocations/{self}", None),
    ("GET", "credits/ledger", None),
    ("GET", "streaming-sessions/active", None),
    ("GET", "streaming-sessions/active/{self}", None),
    ("POST", "usage/record", {"service": "s", "operation": "o", "credits": 1}),
    ("POST", "usage/record", {"service": "s", "operation": "o", "credits": 0, "deduct": True}),
    ("GET", "usage/stats", None),
    ("GET", "usage/stats/{self}", None),
    ("GET", "users/me", None),
    ("GET", "users/{self}", None),
    ("GET", "users", None),
    ("GET", "api-keys", None),
    ("POST", "api-keys", {"name": "new"}),
    ("PUT", "api-keys/{key}", {"name": "new"}),
    ("POST", "api-keys/{key}/revoke", None),
    ("DELETE", "api-keys/{key}", None),
    ("GET", "pricing", None),
    ("GET", f"pricing/{MODEL}", None),
]
"""Requests that may still succeed for up to 30 seconds, because the functions cache that the user is not disabled."""


@pytest.mark.waits
def test_a_disabled_user_can_only_continue_and_end_open_sessions(
    service: Stack, http: httpx.Client, admin: Person, people: People
) -> None:
    person = people(credits=100)
    key = person.ok("POST", "api-keys", {"name": "ci", "permissions": ["credits:read", "usage:read", "sessions:write"]})
    sessions = [person.open(5000) for _ in range(3)]
    names = {"{self}": person.id, "{key}": key["id"]}
    # Make each function cache that the user is not disabled.
    for method, path, body in SOON:
        if method == "GET":
            person.call(method, _filled_in(path, names), body)

    disabled = admin.ok("POST", f"users/{person.email}/disable", {"reason": "left\nfor good"})
    deadline = time.monotonic() + LATE_SECONDS

    assert (disabled["userId"], disabled["disabled"]) == (person.id, True)
    assert disabled["disabledReason"] == "left\nfor good"
    for method, path, body in AT_ONCE:
        assert_refused(person.call(method, path, body), 403, "USER_DISABLED", "This user is disabled")
    assert_refused(with_key(http, "GET", "credits/balance", key["key"]), 403, "USER_DISABLED")
    assert person.heartbeat(sessions[0], 100).status_code == 200, "the tokens fit the hold"
    assert_refused(person.heartbeat(sessions[0], 90_000), 403, "USER_DISABLED")
    for method, path, body in SOON:
        if method == "GET":
            answer = until_refused(partial(person.call, method, _filled_in(path, names), body), deadline)
            assert_refused(answer, 403, "USER_DISABLED")
    sleep_until(deadline)
    for method, path, body in SOON:
        assert_refused(person.call(method, _filled_in(path, names), body), 403, "USER_DISABLED")
    assert_refused(with_key(http, "GET", "usage/stats", key["key"]), 403, "USER_DISABLED")
    internal = {"X-Internal-Api-Key": service.internal_api_key}
    refused = http.post("/api/api-keys/validate", json={"key": key["key"]}, headers=internal)
    assert (refused.status_code, refused.json()["valid"], refused.json()["code"]) == (401, False, "USER_DISABLED")

    assert person.finalize(sessions[1], 1000).json()["refund"] == 5
    assert person.abort(sessions[2]).json()["partialCredits"] == 0
    assert person.abort(sessions[0]).json()["partialCredits"] == 90
    assert admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 7})["totalCredits"] == 16

    again = admin.ok("POST", f"users/{person.id}/disable")
    assert again == admin.ok("GET", f"users/{person.id}") == disabled
    enabled = admin.ok("POST", f"users/{person.id}/enable")
    deadline = time.monotonic() + LATE_SECONDS
    assert enabled["disabled"] is False
    assert not {"disabledAt", "disabledReason"} & enabled.keys()
    began = time.monotonic()
    while person.get("credits/ledger").status_code == 403:
        assert began < deadline
        time.sleep(1)
        began = time.monotonic()
    sleep_until(deadline)
    assert balanced(service, person).balance["totalCredits"] == 16
    person.ok("POST", "streaming-sessions/initialize", AT_ONCE[2][2])


def test_a_disabled_administrator_is_refused_at_once(admin: Person, people: People) -> None:
    boss, user = people("admin"), people()
    assert boss.get("users").status_code == 200

    admin.ok("POST", f"users/{boss.id}/disable")

    for answer in (
        boss.get("users"),
        boss.get(f"credits/balance/{user.id}"),
        boss.post("credits/allocate", {"userId": user.id, "credits": 5}),
        boss.post(f"users/{boss.id}/enable"),
        boss.post(f"users/{user.id}/disable"),
        boss.post("pricing", {"modelId": new_id("model"), "pricePerThousandTokens": 1}),
    ):
        assert_refused(answer, 403, "USER_DISABLED")
    assert user.balance()["totalCredits"] == 0


def _filled_in(path: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        path = path.replace(name, value)
    return path
