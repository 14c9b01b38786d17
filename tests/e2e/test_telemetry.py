"""The functions' metrics, and what their logs must not have: an earlier request's fields, idempotency keys, errors."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.e2e.client import MODEL, new_id
from tests.e2e.logged import events, group_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 10
GROUPS = ("authorizer", "credits", "health", "streaming-sessions")


def _messages(service: Stack, group: str) -> list[str]:
    return [event["message"] for event in events(service, group_of(service, group))]


def _lines(
    service: Stack, group: str, wanted: Callable[[dict[str, Any]], bool], since: int = 0
) -> list[dict[str, Any]]:
    """Skip the first ``since`` messages, wait for structured lines that are ``wanted``, and return them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = [line for message in _messages(service, group)[since:] if wanted(line := _structured(message))]
        if found:
            return found
        assert time.monotonic() < deadline, f"{group} never logged the line"
        time.sleep(0.2)


def _structured(message: str) -> dict[str, Any]:
    start = message.find("{")
    try:
        line = json.loads(message[start:]) if start >= 0 else {}
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def test_a_log_line_has_no_fields_of_an_earlier_request(service: Stack, people: People) -> None:
    person = people()
    person.post("credits/check", {"requiredCredits": 0})
    refused = person.post("credits/calculate", {"modelId": MODEL, "tokens": -1}).json()["requestId"]
    (logged,) = _lines(service, "credits", lambda line: line.get("correlation_id") == refused)
    before = len(_messages(service, "credits"))
    person.ok("GET", "credits/balance")

    ok = _lines(service, "credits", lambda line: line.get("route") == "/api/credits/balance", before)

    assert logged["code"] == "VALIDATION_ERROR"
    assert {line["status"] for line in ok} == {200}
    assert all("code" not in line for line in ok)
    assert len({line["correlation_id"] for line in ok}) == len(ok)
    assert refused not in {line["correlation_id"] for line in ok}


def _sums_since(service: Stack, group: str, since: int, name: str) -> int:
    """Return the sum of a metric over the lines after the first ``since`` messages."""
    lines = [_structured(message) for message in _messages(service, group)[since:]]
    return sum(_value(line, name) for line in lines if "_aws" in line)


def _value(line: dict[str, Any], name: str) -> int:
    value = line.get(name, 0)
    return int(sum(value) if isinstance(value, list) else value)


def test_metrics_count_the_credits_that_move(service: Stack, people: People, admin: Person) -> None:
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


def test_every_metric_has_the_dimension_of_its_stack(service: Stack, people: People, admin: Person) -> None:
    admin.ok("POST", "credits/allocate", {"userId": people().id, "credits": 101})

    for line in _lines(service, "credits", lambda line: "_aws" in line):
        ((dimensions,),) = [described["Dimensions"] for described in line["_aws"]["CloudWatchMetrics"]]
        assert set(dimensions) == {"service", "stack"}
        assert line["stack"] == service.stack_name


def test_no_log_has_an_idempotency_key(service: Stack, people: People, admin: Person) -> None:
    person, key = people(), new_id("idempotency-key")
    command = {"userId": person.id, "credits": 5}
    answers = [
        admin.post("credits/allocate", body, Idempotency_Key=key)
        for body in (command, command, {**command, "credits": 6}, {**command, "credits": "5"})
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 409, 400]
    last = answers[-1].json()["requestId"]
    _lines(service, "credits", lambda line: line.get("correlation_id") == last)

    assert not [message for message in _messages(service, "credits") if key in message]


def test_the_busiest_functions_logged_no_error(service: Stack, people: People) -> None:
    """None of the tests so far caused an unexpected error in one of GROUPS."""
    person = people()
    for path in ("health", "credits/balance", "streaming-sessions/active"):
        person.ok("GET", path)

    for group in GROUPS:
        lines = _lines(service, group, lambda _: True)
        assert any(line.get("level") for line in lines), group
        failures = [line for line in lines if line.get("level") in ("ERROR", "CRITICAL") or line.get("exception")]
        assert failures == []
        assert not [message for message in _messages(service, group) if "Traceback" in message]
