"""The gateway: authentication, throttling, CORS, security headers, and HEAD."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from functions.docs.app import console_version
from tests.api import CONTRACT, HEADS, INTERNAL, PUBLIC, Route
from tests.e2e.client import SECURITY_HEADERS, assert_refused, described
from tests.e2e.conftest import ORIGIN
from tests.template import template

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import People

ADMITTED_AT_ONCE = "3"
FILE_OF = {"/api/docs/{}": "page.js", "/api/console/{}/{}": "app.js", "/api/console/{}/screens/{}": "overview.js"}
"""The name of one file for each route that returns files."""


@pytest.mark.parametrize("route", sorted(CONTRACT.keys() - PUBLIC), ids=" ".join)
def test_every_protected_route_refuses_requests_without_identity(http: httpx.Client, route: Route) -> None:
    method, path = route
    answer = http.request(method, re.sub("{}", "someone", path))

    assert_refused(answer, 401, "TOKEN_REQUIRED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("route", sorted(INTERNAL), ids=" ".join)
def test_an_internal_route_refuses_a_wrong_internal_key(http: httpx.Client, route: Route) -> None:
    answer = http.request(*route, json={}, headers={"X-Internal-Api-Key": "wrong"})

    assert_refused(answer, 401, "API_KEY_INVALID")


def test_pages_of_the_allowed_origin_may_read_every_answer(http: httpx.Client, people: People) -> None:
    from_function = people().get("credits/balance")
    from_gateway = http.get("/api/nothing"), http.get("/api/users/me")
    from_authorizer = http.get("/api/users/me", headers={"Authorization": "Bearer x"})

    for answer in (from_function, *from_gateway, from_authorizer):
        assert answer.headers["access-control-allow-origin"] == ORIGIN, described(answer)
        assert answer.headers["access-control-expose-headers"] == "Idempotency-Replayed, Retry-After, X-Next-Cursor"
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


def test_every_kind_of_answer_has_the_security_headers(http: httpx.Client, people: People) -> None:
    person = people(credits=5)
    opening = {"sessionId": "s", "modelId": "m", "estimatedTokens": 10**8}
    kinds = {
        "200": person.get("credits/balance"),
        "308": http.get("/api/docs/"),
        "308 of the console": http.get("/api/console/"),
        "400": person.post("credits/check", {}),
        "401 of the gateway": http.get("/api/users/me"),
        "401 of the authorizer": http.get("/api/users/me", headers={"Authorization": "Bearer x"}),
        "402": person.post("streaming-sessions/initialize", opening),
        "403": person.get("users"),
        "404 of a function": http.get("/api/docs/nothing"),
        "404 of the gateway": http.get("/api/nothing"),
        "404 of the stage": http.get("/"),
        # The gateway answers 404, not 405, if a path does not have the method.
        "404 of another method": http.post("/api/health"),
        "404 of another method with a token": person.call("PATCH", "credits/balance"),
        "404 of another method without a body": http.head("/api/users/me"),
        "413": person.post("credits/check", b"{" + b" " * 70_000 + b"}"),
        "any status for XML": person.call("POST", "credits/check", b"<x/>", headers={"Content-Type": "text/xml"}),
    }

    for kind, answer in kinds.items():
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items(), f"{kind}: {described(answer)} {answer.headers}"
        assert kind.startswith(("any status", str(answer.status_code))), f"{kind}: {described(answer)}"


@pytest.mark.parametrize("route", sorted(HEADS), ids=" ".join)
def test_head_returns_the_status_and_headers_of_get_and_no_body(http: httpx.Client, route: Route) -> None:
    path = route[1].replace("console/{}", f"console/{console_version()}").replace("/{}", f"/{FILE_OF.get(route[1])}")
    whole, head = http.get(path), http.head(path)

    assert (head.status_code, head.content) == (200, b"")
    varying = {"date", "x-amzn-requestid", "x-amz-request-id", "x-amz-id-2"}
    of_get, of_head = (
        {name: value for name, value in each.headers.items() if name not in varying} for each in (whole, head)
    )
    assert of_get == of_head
    assert SECURITY_HEADERS.keys() <= of_head.keys()


def test_head_of_an_unknown_file_returns_404_and_no_body(http: httpx.Client) -> None:
    answer = http.head("/api/docs/nothing")

    assert (answer.status_code, answer.content) == (404, b"")


def test_a_preflight_request_needs_no_token(http: httpx.Client) -> None:
    """The emulator's answer lacks the CORS headers. Tests of the template check them."""
    answer = http.options("/api/credits/balance", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})

    assert answer.status_code == 200


@pytest.fixture
def few_admitted(service: Stack) -> Iterator[None]:
    """Lower the stage's rate limit and burst limit. Assert that they were the template's defaults before."""
    gateway = service.aws.client("apigateway")
    api_id, stage = service.base_url.split("/")[-2:]

    def admit(rate: str, burst: str) -> None:
        changes = (("rateLimit", rate), ("burstLimit", burst))
        patch = [{"op": "replace", "path": f"/*/*/throttling/{name}", "value": value} for name, value in changes]
        gateway.update_stage(restApiId=api_id, stageName=stage, patchOperations=patch)

    parameters = template()["Parameters"]
    rate, burst = (parameters[f"Throttling{name}Limit"]["Default"] for name in ("Rate", "Burst"))
    settings = gateway.get_stage(restApiId=api_id, stageName=stage)["methodSettings"]["*/*"]
    assert (settings["throttlingRateLimit"], settings["throttlingBurstLimit"]) == (rate, burst)
    admit("1", ADMITTED_AT_ONCE)
    try:
        yield
    finally:
        admit(str(rate), str(burst))


@pytest.mark.usefixtures("few_admitted")
def test_requests_above_the_stages_limit_are_answered_with_retry_after(http: httpx.Client) -> None:
    answers = [http.get("/api/health") for _ in range(20)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(answers) - len(refused) >= int(ADMITTED_AT_ONCE)
    for answer in refused:
        assert_refused(answer, 429, "RATE_LIMITED", "Too many requests")
        assert answer.headers["retry-after"] == "1"
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
