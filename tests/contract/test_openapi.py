"""The OpenAPI document says what the service is: its routes, statuses, names, errors and who may come in."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import validate

from accounting.web.api import STATUSES
from local.openapi import document, merge
from tests.api import CONTRACT, INTERNAL, PUBLIC, Route
from tests.template import resources

if TYPE_CHECKING:
    from collections.abc import Iterator

made = cache(document)


def operations() -> Iterator[tuple[Route, dict[str, Any]]]:
    """Every operation by its route in the contract's words."""
    for path, item in made()["paths"].items():
        for method, operation in item.items():
            yield (method.upper(), re.sub(r"{\w+}", "{}", path)), operation


def everything(node: Any) -> Iterator[Any]:
    yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for each in inner:
        yield from everything(each)


def test_it_is_an_openapi_document() -> None:
    validate(made())


def test_its_routes_and_successes_are_the_contracts() -> None:
    found = {route: {int(s) for s in operation["responses"] if s < "300"} for route, operation in operations()}

    assert found == CONTRACT


def test_its_paths_are_the_templates() -> None:
    functions = resources("AWS::Serverless::Function").values()
    events = [event for each in functions for event in each["Properties"].get("Events", {}).values()]
    paths = {event["Properties"]["Path"] for event in events if event["Type"] == "Api"}

    assert set(made()["paths"]) == paths


def test_every_parameter_of_a_path_is_described_by_its_name() -> None:
    for path, item in made()["paths"].items():
        for operation in item.values():
            described = {each["name"] for each in operation.get("parameters", []) if each.get("in") == "path"}
            assert described == set(re.findall(r"{(\w+)}", path)), path


def test_every_code_stands_with_its_status_and_in_the_one_shape() -> None:
    codes = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
    responses = made()["components"]["responses"]
    schemas = {name: each["content"]["application/json"]["schema"] for name, each in responses.items()}
    for (method, path), operation in operations():
        for status, response in operation["responses"].items():
            if "$ref" in response:
                schema = schemas[response["$ref"].rpartition("/")[2]]
                assert schema["$ref"] == "#/components/schemas/Error"
                of_status = {code for code, its in codes.items() if its == int(status)}
                assert set(schema["properties"]["code"]["enum"]) == of_status, (method, path)

    assert set(made()["components"]["schemas"]["Error"]["properties"]["code"]["enum"]) == set(codes)


def test_every_route_may_be_refused_and_fail() -> None:
    for route, operation in operations():
        always = {"400", "413", "429", "500", "503", "504"}
        about_the_caller = set() if route in PUBLIC else {"401", "403", "404"}
        about_a_write = {"402", "409"} if route[0] != "GET" else set()
        refusals = {status for status in operation["responses"] if status >= "300"}
        assert refusals == always | about_the_caller | about_a_write, route


def test_it_says_who_may_come_in() -> None:
    security = {route: operation.get("security", made()["security"]) for route, operation in operations()}

    assert {route for route, each in security.items() if each == []} == PUBLIC
    assert {route for route, each in security.items() if each == [{"internalKey": []}]} == INTERNAL
    others = [each for route, each in security.items() if route not in PUBLIC | INTERNAL]
    assert all(each == [{"token": []}, {"apiKey": []}] for each in others)


def test_every_body_of_a_command_is_required_but_that_of_a_removal() -> None:
    bodies = {route: operation["requestBody"] for route, operation in operations() if "requestBody" in operation}

    assert [route for route, body in bodies.items() if not body.get("required")] == [("DELETE", "/api/credits/remove")]


def test_limits_are_there_and_what_no_one_answers_is_not() -> None:
    (limit,) = (each for each in made()["paths"]["/api/users"]["get"]["parameters"] if each["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    for operation in dict(operations()).values():
        assert "422" not in operation["responses"]
        for parameter in operation.get("parameters", []):
            assert {"type": "null"} not in everything(parameter), "outside of JSON there is no null"
    for schema in everything(made()["components"]["schemas"]):
        assert not (isinstance(schema, dict) and {"ge", "le", "decimal_places"} & schema.keys()), schema


def test_two_meanings_of_one_name_are_refused() -> None:
    known = {"View": {"type": "object"}}
    merge(known, {"View": {"type": "object"}, "Other": {}})

    assert sorted(known) == ["Other", "View"]
    with pytest.raises(ValueError, match="View"):
        merge(known, {"View": {"type": "string"}})
