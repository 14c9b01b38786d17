"""What the functions write to their logs: a line for every request, the metrics, and no secret."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from tests.e2e.client import MODEL, new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 10
GROUPS = ("authorizer", "credits", "health", "streaming-sessions")


def _messages(service: Stack, group: str) -> list[str]:
    """Return all that a function has written."""
    pages = (
        service.aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=f"/aws/lambda/{service.stack_name}-{group}")
    )
    return [event["message"] for page in pages for event in page["events"]]


def _lines(service: Stack, group: str, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Return the structured lines that are wanted; the emulator delivers them a moment after the answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = [line for message in _messages(service, group) if wanted(line := _structured(message))]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _structured(message: str) -> dict[str, Any]:
    start = message.find("{")
    try:
        line = json.loads(message[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def test_every_request_has_a_line_with_its_correlation_id(service: Stack, people: People) -> None:
    person = people()
    answer = person.post("credits/check", {"requiredCredits": 0})
    request_id = answer.json()["requestId"]

    (line,) = _lines(service, "credits", lambda line: line.get("correlation_id") == request_id)

    assert {
        "level": "INFO",
        "message": "request",
        "service": "accounting-service",
        "method": "POST",
        "route": "/api/credits/check",
        "status": 400,
        "code": "VALIDATION_ERROR",
    }.items() <= line.items()
    assert line["duration_ms"] >= 0
    assert line["function_request_id"]
    assert line["timestamp"]


def test_one_request_s_keys_do_not_stay_for_the_next(service: Stack, people: People) -> None:
    person = people()
    person.post("credits/check", {"requiredCredits": 0})
    refused = person.post("credits/calculate", {"modelId": MODEL, "tokens": -1}).json()["requestId"]
    person.get("credits/balance")

    ok = _lines(service, "credits", lambda line: line.get("route") == "/api/credits/balance")

    assert all("code" not in line for line in ok if line["status"] == 200)
    assert len({line["correlation_id"] for line in ok}) == len(ok)
    assert refused not in {line["correlation_id"] for line in ok}


def test_the_authorizer_says_whom_it_let_in_and_why_not(service: Stack, http: httpx.Client, people: People) -> None:
    person = people()
    http.get("/api/credits/balance", headers={"Authorization": f"Bearer {new_id('nonsense')}"})

    allowed = _lines(service, "authorizer", lambda line: line.get("user_id") == person.id)
    denied = _lines(service, "authorizer", lambda line: line.get("message") == "denied")

    assert {line["is_new"] for line in allowed} == {True}
    assert "TOKEN_INVALID" in {line["code"] for line in denied}


def _sums_since(service: Stack, group: str, since: int, name: str) -> int:
    """Return the sum of a metric over the lines after the first ``since`` messages."""
    lines = [_structured(message) for message in _messages(service, group)[since:]]
    return sum(_value(line, name) for line in lines if "_aws" in line)


def _value(line: dict[str, Any], name: str) -> int:
    value = line.get(name, 0)
    return int(sum(value) if isinstance(value, list) else value)


def test_credits_are_counted_as_they_move(service: Stack, people: People, admin: Person) -> None:
    person = people()
    before = {group: len(_messages(service, group)) for group in ("credits", "streaming-sessions")}

    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 101})
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 41})
    assert person.finalize(person.open(10_000), 7000).is_success
    assert person.finalize(person.open(10_000), 90_000).is_success

    expected = {
        "credits": {"CreditsGranted": 101, "CreditsRemoved": 41},
        "streaming-sessions": {
            "CreditsHeld": 24,
            "SessionsResolved": 2,
            "CreditsSettled": 97,
            "CreditsRefunded": 5,
            "CreditsOverrun": 78,
            "CreditsDebt": 37,
        },
    }
    for group, metrics in expected.items():
        deadline = time.monotonic() + PATIENCE_SECONDS
        last = list(metrics)[-1]
        while not _sums_since(service, group, before[group], last) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert {name: _sums_since(service, group, before[group], name) for name in metrics} == metrics


def test_a_metric_line_is_in_the_embedded_metric_format(service: Stack, people: People) -> None:
    person = people(credits=10)
    person.open()

    line, *_ = _lines(service, "streaming-sessions", lambda line: "CreditsHeld" in line and "_aws" in line)

    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "AccountingService"
    assert {"Name": "CreditsHeld", "Unit": "Count"} in directive["Metrics"]
    assert directive["Dimensions"] == [["service"]]
    assert line["service"] == "accounting-service"


def test_no_log_has_a_token_a_secret_or_an_idempotency_key(
    service: Stack, http: httpx.Client, people: People, admin: Person
) -> None:
    person, key = people(credits=50), new_id("idempotency-key")
    command = {"userId": person.id, "credits": 5}
    for body in (command, command, {**command, "credits": 6}, {**command, "credits": "5"}):
        admin.post("credits/allocate", body, Idempotency_Key=key)
    broken = f"{person.token}x"
    http.get("/api/credits/balance", headers={"Authorization": f"Bearer {broken}"})
    last = person.post("credits/check", {"requiredCredits": 0}).json()["requestId"]
    assert _lines(service, "credits", lambda line: line.get("correlation_id") == last)

    written = "\n".join(message for group in GROUPS for message in _messages(service, group))

    assert person.id in written
    for secret in (service.jwt_secret, service.internal_api_key, person.token, admin.token, key):
        assert secret not in written
    assert not re.search(r"eyJ[\w-]{10,}", written)
    assert "authorization" not in written.lower()


def test_nothing_failed(service: Stack) -> None:
    """Whatever the tests so far sent, no function met what it did not expect."""
    for group in GROUPS:
        lines = [_structured(message) for message in _messages(service, group)]
        failures = [line for line in lines if line.get("level") in ("ERROR", "CRITICAL") or line.get("exception")]
        assert failures == []
        assert not [message for message in _messages(service, group) if "Traceback" in message]
