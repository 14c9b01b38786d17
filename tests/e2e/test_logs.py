"""The functions' logs: one line for each request, metrics, no secrets, and nothing forged by callers."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.e2e.client import MODEL, assert_refused, new_id, with_key
from tests.e2e.logged import events, groups

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

PATIENCE_SECONDS = 15
WEEK_SECONDS = 7 * 24 * 3600
INITIALIZE = "/api/streaming-sessions/initialize"


class Line(NamedTuple):
    """One event of a log group."""

    group: str
    stream: str
    message: str

    def json(self) -> dict[str, Any]:
        """Return the line's JSON object, or an empty one if the line is not a JSON object."""
        try:
            read = json.loads(self.message)
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}


@pytest.fixture
def began() -> int:
    """Return when the test began, in epoch milliseconds."""
    return int(time.time() * 1000)


def lines_since(service: Stack, since: int = 0) -> list[Line]:
    """Return every line of every log group since a time."""
    return [
        Line(group, event["logStreamName"], event["message"])
        for group in groups(service)
        for event in events(service, group, since)
    ]


def lines_with(service: Stack, wanted: Callable[[Line], bool], since: int) -> list[Line]:
    """Wait until there is a line that is ``wanted``, then return every line since a time.

    A request's line can appear some time after its answer.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        lines = lines_since(service, since)
        if any(wanted(line) for line in lines):
            return lines
        assert time.monotonic() < deadline, "the line never came"
        time.sleep(0.2)


def requests(lines: list[Line]) -> list[dict[str, Any]]:
    return [found for line in lines if (found := line.json()).get("message") == "request"]


def of_request(service: Stack, answer: httpx.Response, since: int) -> tuple[list[Line], list[dict[str, Any]]]:
    """Return every line since a time and, of these, the ``request`` lines of one request.

    ``answer`` is the answer to this request. It must be a refusal, because only refusals contain the request's id.
    """
    request_id = answer.json()["requestId"]
    lines = lines_with(service, lambda line: line.json().get("correlation_id") == request_id, since)
    return lines, [found for found in requests(lines) if found.get("correlation_id") == request_id]


def test_no_log_contains_a_token_or_a_secret(service: Stack, people: People, http: httpx.Client, token: Mint) -> None:
    person = people(credits=100)
    person.open()
    expired = token(person.id, exp=int(time.time()) - WEEK_SECONDS)
    of_another_type = token(person.id, type="refresh")
    forged = token(person.id)[:-6] + "AAAAAA"
    odd = f"made-up-{new_id('token')}"
    for bad in (expired, of_another_type, forged, odd):
        assert http.get("/api/credits/balance", headers={"Authorization": f"Bearer {bad}"}).status_code == 401
    key = person.ok("POST", "api-keys", {"name": "a key", "permissions": ["credits:read"]})["key"]
    assert with_key(http, "GET", "credits/balance", key).is_success
    validated = http.post(
        "/api/api-keys/validate", json={"key": key}, headers={"X-Internal-Api-Key": service.internal_api_key}
    )
    assert validated.json()["valid"] is True
    basic = f"Basic {new_id('password')}"
    assert http.get("/api/credits/balance", headers={"Authorization": basic}).status_code == 401
    last = person.post("streaming-sessions/heartbeat", {"sessionId": "nobody's"})
    lines, _ = of_request(service, last, since=0)

    groups = {line.group.removeprefix("/aws/lambda/accounting-service-") for line in lines}
    assert {"authorizer", "internal-authorizer", "api-keys", "credits", "streaming-sessions"} <= groups, (
        "the log groups of these functions must be searched"
    )
    denials = [line for line in lines if line.json().get("message") == "denied"]
    assert len(denials) >= 5, "the refused tokens must leave lines"
    text = "\n".join(line.message for line in lines)
    tokens = [person.token, expired, of_another_type, forged, odd]
    secrets = [*tokens, *(each.rpartition(".")[2] for each in tokens), service.jwt_secret, service.internal_api_key]
    secrets += [key, key.split("_", 2)[2]]
    assert not [secret for secret in (*secrets, basic.removeprefix("Basic ")) if secret in text]
    assert "Bearer " not in text
    assert "eyJ" not in text, "every JWT begins with eyJ"


def test_a_refused_request_leaves_one_line_with_its_id_route_and_status(
    service: Stack, people: People, began: int
) -> None:
    person = people()
    cases = [
        (person.get("credits/balance/somebody"), "GET", "/api/credits/balance/{userId}", 403, "FORBIDDEN"),
        (person.post("credits/check", {"requiredCredits": -1}), "POST", "/api/credits/check", 400, "VALIDATION_ERROR"),
        (
            person.post("streaming-sessions/initialize", {"sessionId": "x", "modelId": MODEL, "estimatedTokens": 1}),
            *("POST", INITIALIZE, 402, "INSUFFICIENT_CREDITS"),
        ),
        (
            person.finalize(new_id("session"), 1),
            *("POST", "/api/streaming-sessions/finalize", 404, "SESSION_NOT_ACTIVE"),
        ),
    ]
    for answer, method, route, status, code in cases:
        assert_refused(answer, status, code)
        _, found = of_request(service, answer, began)
        assert len(found) == 1, "the request must leave exactly one line"
        assert {key: found[0][key] for key in ("level", "service", "method", "route", "status", "code")} == {
            "level": "INFO",
            "service": "accounting-service",
            "method": method,
            "route": route,
            "status": status,
            "code": code,
        }


def test_every_answered_request_leaves_one_line(service: Stack, people: People, began: int) -> None:
    person = people(credits=100)
    lines, _ = of_request(service, person.post("credits/check", {}), began)
    known = {each["function_request_id"] for each in requests(lines)}
    person.open()
    person.balance()
    person.balance()
    last = person.post("credits/check", {})
    lines, _ = of_request(service, last, began)

    found = [each for each in requests(lines) if each["function_request_id"] not in known]
    assert sorted((each["method"], each["route"], each["status"]) for each in found) == [
        ("GET", "/api/credits/balance", 200),
        ("GET", "/api/credits/balance", 200),
        ("POST", "/api/credits/check", 400),
        ("POST", INITIALIZE, 201),
    ]
    ids = [UUID(each["correlation_id"]) for each in found]
    assert len(set(ids)) == len(ids), "each request must have its own id"
    assert all(each["duration_ms"] > 0 for each in found)


def test_a_health_check_leaves_a_line_with_its_request_id(service: Stack, http: httpx.Client, began: int) -> None:
    assert http.get("/health").is_success
    lines = lines_with(service, lambda line: line.json().get("route") == "/health", began)

    assert all("correlation_id" in each for each in requests(lines) if each["route"] == "/health")


def test_a_hold_is_counted_in_a_metric(service: Stack, people: People, began: int) -> None:
    person = people(credits=10_000)
    tokens = 3_456_000  # they cost 3,456 credits; the hold is 20 % higher
    person.open(tokens)
    lines = lines_with(service, lambda line: line.json().get("CreditsHeld") == [4148.0], began)

    (metric,) = [found for line in lines if (found := line.json()).get("CreditsHeld") == [4148.0]]
    (directive,) = metric["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "AccountingService"
    assert {"Name": "CreditsHeld", "Unit": "Count"} in directive["Metrics"]
    assert [sorted(names) for names in directive["Dimensions"]] == [["service", "stack"]]
    assert metric["service"] == "accounting-service"


def test_text_from_a_caller_cannot_forge_a_log_line(service: Stack, people: People, began: int) -> None:
    admin = people("admin", credits=100)
    mark = new_id("forged")
    line = json.dumps({"level": "INFO", "message": "request", "status": 200, "correlation_id": mark, mark: 1})
    for newline in ("\n", "\r\n", "\r", "\u2028", "\x85"):
        text = f"x{newline}{line}{newline}"
        notes = {"userId": admin.id, "credits": 1, "notes": text}
        # Notes may have line breaks, but no other control characters, such as U+0085. A user id may have no control
        # character at all. U+2028 is not a control character, so the text is a valid user id, but no user has it.
        assert admin.post("credits/allocate", notes, User_Agent=mark).status_code == (400 if newline == "\x85" else 201)
        bad = {"sessionId": text, "modelId": MODEL, "estimatedTokens": 1}
        assert_refused(admin.post("streaming-sessions/initialize", bad), 400, "VALIDATION_ERROR")
        expected = (404, "USER_NOT_FOUND") if newline == "\u2028" else (400, "VALIDATION_ERROR")
        assert_refused(admin.post("credits/allocate", {**notes, "userId": text, "notes": ""}), *expected)
    assert admin.get("credits/ledger", cursor=f"\n{line}").status_code == 400
    last = admin.get("credits/allocations", page=f"\n{line}")
    assert_refused(last, 400, "VALIDATION_ERROR")
    lines, _ = of_request(service, last, began)

    assert not [each for each in lines if mark in each.json() or each.json().get("correlation_id") == mark]
    assert not [each for each in lines if mark in each.message], "no part of the forged line may be logged"


def test_text_from_a_caller_cannot_begin_a_log_line(service: Stack, people: People, began: int) -> None:
    """Each line that the service logs is one JSON object, and a caller's text stays inside a JSON string."""
    person = people("admin", credits=5)
    forged = f"forged-{new_id('line')}"
    line = f'x\n{{"level": "ERROR", "message": "{forged}"}}\r\n{{"message": "{forged}"}}'
    person.post("credits/allocate", {"userId": person.id, "credits": 1, "notes": line})
    person.post("credits/allocate", {"userId": line, "credits": 1})
    person.get(f"credits/balance/{quote(line, safe='')}")
    person.get("credits/ledger", cursor=line, startDate=line)
    person.call("GET", "credits/balance", headers={"User-Agent": f'", "message": "{forged}', "X-Forwarded-For": forged})
    person.post("streaming-sessions/initialize", {"sessionId": line, "modelId": line, "estimatedTokens": 1})
    last = person.post("credits/check", {})
    lines, _ = of_request(service, last, began)

    assert not [found for found in lines if found.json().get("message") == forged]
    assert not [found for found in lines if found.message.lstrip().startswith(("x\n", '{"message": "forged'))]
    assert all(found.json() for found in lines if forged in found.message), (
        "each line with the forged text must be a JSON object"
    )
