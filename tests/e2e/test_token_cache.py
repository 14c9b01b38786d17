"""Tokens that expire and keys that are revoked while the gateway caches them, and headers of the functions' answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from accounting.web.caller import CLOCK_LEEWAY_SECONDS
from tests.e2e.client import MODEL, SECURITY_HEADERS, Person, assert_refused, described, new_id, with_key
from tests.e2e.test_logs import Line, of_request

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

ATTEMPTS = 5


def _about_to_expire(http: httpx.Client, token: Mint) -> tuple[Person, int]:
    """Return a user whose token was just accepted, and the epoch second from which the token is refused."""
    for _ in range(ATTEMPTS):
        user_id = new_id("late")
        expires_at = int(time.time()) - CLOCK_LEEWAY_SECONDS + 2
        person = Person(http, user_id, token(user_id, exp=expires_at))
        if person.get("credits/balance").is_success:
            return person, expires_at + CLOCK_LEEWAY_SECONDS
    pytest.fail("no token was accepted before it expired")


def test_a_token_that_expires_in_the_gateways_cache_is_refused(
    service: Stack, people: People, http: httpx.Client, token: Mint
) -> None:
    people()  # starts the functions, so that the short-lived token need not wait for them
    since = int(time.time() * 1000)
    person, ends_at = _about_to_expire(http, token)
    time.sleep(max(0.0, ends_at - time.time()) + 0.2)
    opened = {"sessionId": "late", "modelId": MODEL, "estimatedTokens": 1}

    for answer in (person.get("credits/balance"), person.post("streaming-sessions/initialize", opened)):
        assert_refused(answer, 401, "TOKEN_EXPIRED", "The access token has expired")
        assert answer.headers["www-authenticate"] == "Bearer"
        lines, requests = of_request(service, answer, since)
        assert [request["status"] for request in requests] == [401], "the function must refuse the token"
    allowed = [line for line in map(Line.json, lines) if line.get("message") == "allowed"]
    assert [line["user_id"] for line in allowed].count(person.id) == 1, "the gateway must cache the authorizer's answer"


def test_an_expired_token_is_accepted_within_the_clock_leeway_and_refused_after_it(
    people: People, http: httpx.Client, token: Mint
) -> None:
    people()
    _about_to_expire(http, token)
    expired = token(new_id("expired"), exp=int(time.time()) - CLOCK_LEEWAY_SECONDS - 1)

    answer = http.get("/api/credits/balance", headers={"Authorization": f"Bearer {expired}"})
    assert_refused(answer, 401, "TOKEN_EXPIRED")


def test_answers_of_functions_have_the_security_headers(people: People, http: httpx.Client) -> None:
    user, admin = people(), people("admin")
    nobodys = {"sessionId": new_id("session"), "actualTokens": 1}
    answers: dict[int | str, httpx.Response] = {
        200: user.get("credits/balance"),
        201: admin.post("credits/allocate", {"userId": user.id, "credits": 1}),
        400: user.post("credits/check", {}),
        402: admin.call("DELETE", "credits/remove", {"userId": user.id, "credits": 99}),
        403: user.get("credits/ledger/somebody"),
        404: user.post("streaming-sessions/finalize", nobodys),
        413: user.call("POST", "credits/check", b" " * 100_000),
        "health": http.get("/api/health"),
        "bare health": http.get("/health"),
    }
    for status, answer in answers.items():
        assert answer.status_code == (status if isinstance(status, int) else 200), described(answer)
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, described(answer)


def test_a_revoked_key_is_refused_while_the_gateway_still_caches_it(http: httpx.Client, revoked_key: str) -> None:
    deadline = time.monotonic() + 60
    while with_key(http, "GET", "credits/balance", revoked_key).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(1)

    assert_refused(with_key(http, "GET", "credits/balance", revoked_key), 401, "API_KEY_INVALID")
