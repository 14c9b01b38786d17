"""Every bad value in ``FIELDS`` of ``tests.bad_input`` is refused and changes nothing in the table.

If the body is still valid JSON, the refusal names the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from tests.bad_input import FIELDS, SINCE, Route, fields_named, is_json, route_id, text_of
from tests.integration.test_events import CONTEXT, EVENTS, app

MODEL = "a-model"
ADMIN = {"principalId": "u1", "userId": "u1", "email": "u1@example.com", "role": "admin", "exp": "4070908800"}
SAMPLES = [json.loads(path.read_text()) | {"function": path.parent.name} for path in sorted(EVENTS.glob("*/*.json"))]
function_of = cache(app)


def answer_to(method: str, path: str, body: str) -> dict[str, Any]:
    """Call a route's function with the sample event of the route, changed to this path and body. Return the answer.

    If the caller in the sample is a user, the administrator ``u1`` takes the place of this user.
    """
    for sample in SAMPLES:
        pattern = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", sample.get("resource", ""))
        matching = re.fullmatch(pattern, f"/api/{path}")
        if matching and sample["httpMethod"] == method:
            break
    else:
        raise AssertionError(f"no sample of {method} {path}")
    caller = sample["requestContext"].get("authorizer", {})
    if "role" in caller:
        caller = ADMIN
    event = sample | {
        "path": f"/api/{path}",
        "pathParameters": matching.groupdict() or None,
        "requestContext": sample["requestContext"] | {"authorizer": caller},
        "body": body,
    }
    function: ModuleType = function_of(event.pop("function"))
    answer: dict[str, Any] = function.handler(event, CONTEXT)
    return answer


def create(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = answer_to(method, path, json.dumps(body))
    assert answer["statusCode"] == 201, answer
    read: dict[str, Any] = json.loads(answer["body"])
    return read


@pytest.fixture
def names(user: Callable[..., str]) -> dict[str, str]:
    """The ids that replace placeholders in requests.

    ``{self}`` is the administrator who sends the requests, and ``{other}`` is another user.
    """
    user("u1", credits_granted=1000)
    user("u2")
    session = {"sessionId": "a-session", "modelId": MODEL, "estimatedTokens": 10_000}
    create("POST", "streaming-sessions/initialize", session)
    create("POST", "pricing", {"modelId": MODEL, "pricePerThousandTokens": 1, "effectiveFrom": SINCE})
    organization = create("POST", "organizations", {"name": "Acme", "ownerId": "u1"})
    return {
        "{self}": "u1",
        "{other}": "u2",
        "{session}": "a-session",
        "{model}": MODEL,
        "{key}": create("POST", "api-keys", {"name": "a key"})["id"],
        "{service}": create("POST", "service-credentials", {"name": "a service", "rights": ["read"]})["id"],
        "{organization}": organization["organizationId"],
        "{account}": organization["accountId"],
    }


@pytest.mark.parametrize(("route", "field", "values"), FIELDS, ids=route_id)
def test_the_refusal_of_a_bad_value_names_its_field(
    dynamodb: Any, table_name: str, names: dict[str, str], route: Route, field: str, values: list[Any]
) -> None:
    method, path, good = route
    for name, value in names.items():
        path = path.replace(name, value)
    before = dynamodb.scan(TableName=table_name)["Items"]
    assert before
    assert values

    for value in values:
        body = text_of({**good, field: value}, names)
        answer = answer_to(method, path, body.decode())
        error = json.loads(answer["body"])
        assert (answer["statusCode"], error["code"]) == (400, "VALIDATION_ERROR"), (value, error)
        assert error.keys() == {"message", "code", "details", "requestId"}
        assert error["message"]
        if is_json(body):
            assert fields_named(error["details"]["errors"]) == [field], (value, error)

    assert dynamodb.scan(TableName=table_name)["Items"] == before
