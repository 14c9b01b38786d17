"""With ``RequireServiceKey``, end users cannot report usage: a report needs the platform's internal key.

These tests call it the service key. A service credential replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.books import items_of
from tests.e2e.changes import with_environment
from tests.e2e.client import MODEL, Person, as_service, assert_refused, described, new_id, new_service, with_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import People

REPORTS: list[tuple[str, dict[str, Any], int]] = [
    ("streaming-sessions/initialize", {"sessionId": "{new}", "modelId": MODEL, "estimatedTokens": 10}, 201),
    ("streaming-sessions/heartbeat", {"sessionId": "{open}", "tokensGenerated": 5}, 200),
    ("streaming-sessions/finalize", {"sessionId": "{open}", "actualTokens": 0}, 200),
    ("streaming-sessions/abort", {"sessionId": "{open}", "tokensGenerated": 0}, 200),
    ("usage/record", {"service": "images", "operation": "render", "credits": 1}, 201),
]


@pytest.fixture(scope="module", autouse=True)
def _required(service: Stack) -> Iterator[None]:
    with (
        with_environment(service, "streaming-sessions", REQUIRE_SERVICE_KEY="true"),
        with_environment(service, "usage", REQUIRE_SERVICE_KEY="true"),
    ):
        yield


@pytest.mark.parametrize(("path", "body", "status"), REPORTS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("identity", ["token", "API key"])
def test_reporting_usage_needs_the_service_key_in_addition_to_a_token_or_api_key(
    service: Stack, people: People, http: httpx.Client, path: str, body: dict[str, Any], status: int, identity: str
) -> None:
    person = people(credits=100)
    open_id, key = new_id("session"), service.internal_api_key
    to_open = {"sessionId": open_id, "modelId": MODEL, "estimatedTokens": 1000}
    assert person.post("streaming-sessions/initialize", to_open, X_Internal_Api_Key=key).status_code == 201
    names = {"{new}": new_id("session"), "{open}": open_id}
    sent = {field: names.get(value, value) for field, value in body.items()}
    api_key = person.ok("POST", "api-keys", {"name": "all", "permissions": ["sessions:write", "usage:write"]})["key"]
    before = items_of(service, person.id)

    def report(**headers: str) -> httpx.Response:
        if identity == "token":
            return person.post(path, sent, **headers)
        return with_key(http, "POST", path, api_key, sent, **headers)

    for headers in ({}, *({"X_Internal_Api_Key": wrong} for wrong in ("", "x", key[:-1], f"{key}x"))):
        required = "The platform's internal key is required"
        assert_refused(report(**headers), 403, "FORBIDDEN", required)
    assert items_of(service, person.id) == before
    answer = report(X_Internal_Api_Key=key)
    assert answer.status_code == status, described(answer)


def test_a_service_credential_needs_no_service_key(people: People, admin: Person, http: httpx.Client) -> None:
    acting = as_service(http, new_service(admin, "sessions"), people(credits=5).id)

    assert acting.finalize(acting.open(1000), 500).status_code == 200
    assert_refused(acting.post("usage/record", REPORTS[-1][1]), 403, "RIGHT_MISSING")


def test_the_service_key_alone_does_not_authenticate_a_caller(http: httpx.Client, service: Stack) -> None:
    headers = {"X-Internal-Api-Key": service.internal_api_key}

    assert_refused(http.post("/api/usage/record", json={}, headers=headers), 401, "TOKEN_REQUIRED")


def test_reading_needs_no_service_key(people: People) -> None:
    person: Person = people(credits=5)

    for path in ("streaming-sessions/active", "usage/stats", "credits/balance"):
        assert person.get(path).status_code == 200
