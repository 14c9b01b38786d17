"""What the gateway does by itself: who may not come in, how many may, and what pages of other origins may read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.api import CONTRACT, INTERNAL, PUBLIC, Route
from tests.e2e.client import assert_refused, described
from tests.e2e.conftest import ORIGIN
from tests.template import template

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import People

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
}
ADMITTED = "3"


@pytest.mark.parametrize("route", sorted(CONTRACT.keys() - PUBLIC), ids=" ".join)
def test_nobody_comes_in_without_saying_who_they_are(http: httpx.Client, route: Route) -> None:
    method, path = route
    answer = http.request(method, re.sub("{}", "someone", path))

    assert_refused(answer, 401, "TOKEN_REQUIRED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("route", sorted(INTERNAL), ids=" ".join)
def test_an_internal_route_takes_no_key_but_the_internal_one(http: httpx.Client, route: Route) -> None:
    answer = http.request(*route, json={}, headers={"X-Internal-Api-Key": "wrong"})

    assert_refused(answer, 401, "API_KEY_INVALID")


def test_pages_of_the_allowed_origin_may_read_every_answer(http: httpx.Client, people: People) -> None:
    """Answers of a function, of the gateway before any function, and of an authorizer that refuses."""
    fine, unknown = people().get("credits/balance"), http.get("/api/nothing")
    nobody, forged = (http.get("/api/users/me", headers=headers) for headers in ({}, {"Authorization": "Bearer x"}))

    for answer in (fine, unknown, nobody, forged):
        assert answer.headers["access-control-allow-origin"] == ORIGIN, described(answer)
        assert answer.headers["access-control-expose-headers"] == "Idempotency-Replayed, Retry-After, X-Next-Cursor"
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


def test_a_preflight_asks_for_no_token(http: httpx.Client) -> None:
    """The emulator leaves the headers of its answer out: the template's test holds them."""
    answer = http.options("/api/credits/balance", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "GET"})

    assert answer.status_code == 200


@pytest.fixture
def few_admitted(service: Stack) -> Iterator[None]:
    """Have the stage admit few requests, by the two settings that the template's parameters make."""
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
    admit("1", ADMITTED)
    try:
        yield
    finally:
        admit(str(rate), str(burst))


@pytest.mark.usefixtures("few_admitted")
def test_more_requests_than_the_stage_admits_are_told_to_come_again(http: httpx.Client) -> None:
    answers = [http.get("/api/health") for _ in range(20)]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert len(answers) - len(refused) >= int(ADMITTED)
    for answer in refused:
        assert_refused(answer, 429, "RATE_LIMITED", "Too many requests")
        assert answer.headers["retry-after"] == "1"
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
