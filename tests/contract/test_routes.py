"""The gateway sends each function exactly the routes that the function answers."""

import inspect
import re
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from accounting.web.idempotency import key_of
from local.declarations import apis
from tests.api import CONTRACT, DOCS, HEADS, HEALTH, INTERNAL, PUBLIC, Route, plain
from tests.e2e.test_roles import ROUTES
from tests.reach import function_names, reach_of_handler
from tests.template import resources, template

WITHOUT_A_ROUTER: dict[str, set[Route]] = {
    "health": HEALTH | {("HEAD", path) for _, path in HEALTH},
    "docs": DOCS | {("HEAD", path) for _, path in DOCS},
    "authorizer": set(),
    "internal_authorizer": set(),
    "rollups": set(),
    "sweeper": set(),
    "auditor": set(),
}


def functions() -> dict[str, dict[str, Any]]:
    """Map the code folder of each function to its properties in the template, merged with those in Globals."""
    shared = template()["Globals"]["Function"]
    return {
        re.sub(r"^functions/|/$", "", own["CodeUri"]): shared
        | own
        | {"Environment": {"Variables": variables(shared, own)}}
        for own in (each["Properties"] for each in resources("AWS::Serverless::Function").values())
    }


def variables(*properties: dict[str, Any]) -> dict[str, Any]:
    """The merged environment variables. If a name occurs twice, its last value counts."""
    return {
        name: value for each in properties for name, value in each.get("Environment", {}).get("Variables", {}).items()
    }


def events(function: str) -> list[dict[str, Any]]:
    found = functions()[function].get("Events", {}).values()
    return [event["Properties"] for event in found if event["Type"] == "Api"]


def gateway_routes(function: str) -> set[Route]:
    return {(event["Method"].upper(), plain(event["Path"])) for event in events(function)}


def handler_routes(function: str) -> set[Route]:
    if function in WITHOUT_A_ROUTER:
        return WITHOUT_A_ROUTER[function]
    return {(route.method, plain(route.path)) for route in apis()[function].routes}


def test_every_function_with_a_router_declares_its_routes() -> None:
    assert apis().keys() == set(function_names()) - WITHOUT_A_ROUTER.keys()
    assert all(api.routes for api in apis().values())


def test_every_function_has_a_folder_and_every_folder_a_function() -> None:
    assert sorted(functions()) == function_names()


@pytest.mark.parametrize("function", function_names())
def test_the_gateways_routes_match_the_handlers(function: str) -> None:
    assert gateway_routes(function) == handler_routes(function)


def test_the_routes_match_the_contract() -> None:
    routes = [route for function in function_names() for route in gateway_routes(function)]

    assert sorted(routes) == sorted([*CONTRACT, *HEADS]), "each route exactly once"


def test_every_route_that_takes_a_token_is_in_the_table_of_roles() -> None:
    tested = {(route.method, f"/api/{re.sub(r'{[a-z]+}', '{}', route.path.partition('?')[0])}") for route in ROUTES}

    assert tested == CONTRACT.keys() - INTERNAL - PUBLIC


@pytest.mark.parametrize("function", sorted(apis()))
def test_path_parameters_have_the_same_names_in_template_and_handlers(function: str) -> None:
    assert {event["Path"] for event in events(function)} == {route.path for route in apis()[function].routes}


def test_only_health_docs_and_console_need_no_identity() -> None:
    without_identity = {
        (event["Method"], plain(event["Path"]))
        for function in function_names()
        for event in events(function)
        if event.get("Auth", {}).get("Authorizer") == "NONE"
    }

    assert without_identity == PUBLIC | HEADS
    paths = {"/api/health", "/health", "/api/docs", "/api/docs/{}", "/api/openapi.json"}
    paths |= {"/api/console", "/api/console/{}/{}", "/api/console/{}/screens/{}"}
    assert {("GET", path) for path in paths} == PUBLIC


def test_only_the_internal_routes_use_the_internal_authorizer() -> None:
    internal = {
        (event["Method"], plain(event["Path"]))
        for function in function_names()
        for event in events(function)
        if event.get("Auth", {}).get("Authorizer") == "InternalKeyAuthorizer"
    }

    assert internal == INTERNAL
    assert internal


def test_every_route_that_declares_idempotency_reads_the_idempotency_key() -> None:
    """No other route can read the key, because ``key_of`` raises LookupError there."""
    declaring = {
        (name, route.handler.__name__) for name, api in apis().items() for route in api.routes if route.idempotency
    }
    reader = (key_of.__module__, key_of.__name__)

    assert declaring
    assert {each for each in declaring if reader not in reach_of_handler(*each)} == set()


def test_every_route_belongs_to_the_same_api() -> None:
    for function in function_names():
        assert all(event["RestApiId"] == {"Ref": "Api"} for event in events(function))


def test_every_optional_field_of_a_body_may_be_null() -> None:
    bodies = {route.body for api in apis().values() for route in api.routes if route.body}
    optional = [
        (body.__name__, name, type(None) in get_args(field.annotation))
        for body in bodies
        for name, field in body.model_fields.items()
        if not field.is_required()
    ]

    assert len(optional) > 10
    assert [found for found in optional if not found[2]] == []


def test_routes_that_take_no_body_but_change_something_are_listed() -> None:
    """A route that does not declare its body refuses every body with fields. This list shows if one was forgotten."""
    without_a_body = {
        (route.method, route.path)
        for api in apis().values()
        for route in api.routes
        if route.method != "GET" and route.body is None
    }

    assert without_a_body == {
        ("DELETE", "/api/budgets/{accountId}/{subject}"),
        ("POST", "/api/runs/{accountId}/{runId}/stop"),
        ("POST", "/api/users/{userId}/enable"),
        ("POST", "/api/users/{userId}/erase"),
        ("POST", "/api/api-keys/{keyId}/revoke"),
        ("DELETE", "/api/api-keys/{keyId}"),
        ("DELETE", "/api/service-credentials/{credentialId}"),
        ("DELETE", "/api/organizations/{organizationId}/members/{userId}"),
        ("DELETE", "/api/pricing/{modelId}/{effectiveFrom}"),
    }


def test_every_number_in_a_query_consists_of_digits() -> None:
    numbers = {
        (route.path, name): TypeAdapter(parameter.annotation)
        for api in apis().values()
        for route in api.routes
        for name, parameter in inspect.signature(route.handler).parameters.items()
        if has_int(parameter.annotation)
    }

    assert len(numbers) > 15
    for where, number in numbers.items():
        assert number.validate_python("5") == 5, where
        for text in ("1_0", "+5", " 5", "5 ", "5.0", "5e0", "٥", ""):
            with pytest.raises(ValidationError):
                number.validate_python(text)


def test_handlers_use_an_account_id_where_the_api_says_that_sending_it_saves_a_database_call() -> None:
    hinted = {
        route.path: "body.account_id" in inspect.getsource(route.handler)
        for route in apis()["streaming_sessions"].routes
        if route.body and (field := route.body.model_fields.get("account_id"))
        if "saves a database call" in (field.description or "")
    }

    assert hinted == {f"/api/streaming-sessions/{name}": True for name in ("finalize", "abort")}


def has_int(annotation: Any) -> bool:
    """Whether a type is int or contains it, as ``int | None`` does."""
    return annotation is int or any(has_int(part) for part in get_args(annotation))
