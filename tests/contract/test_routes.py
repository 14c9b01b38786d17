"""The gateway sends a function exactly the routes that it answers."""

import re
from importlib import import_module
from typing import Any

import pytest

from tests.reach import function_names
from tests.template import resources

type Route = tuple[str, str]

WITHOUT_A_ROUTER: dict[str, set[Route]] = {
    "health": {("GET", "/api/health"), ("GET", "/health")},
    "authorizer": set(),
    "internal_authorizer": set(),
    "rollups": set(),
    "sweeper": set(),
}
INTERNAL = {("POST", "/api/users/sync"), ("POST", "/api/api-keys/validate")}
PUBLIC = {("GET", "/api/health"), ("GET", "/health")}

CONTRACT = {
    ("GET", "/api/credits/balance"),
    ("GET", "/api/credits/balance/{}"),
    ("POST", "/api/credits/check"),
    ("POST", "/api/credits/calculate"),
    ("POST", "/api/credits/allocate"),
    ("POST", "/api/credits/set"),
    ("DELETE", "/api/credits/remove"),
    ("PUT", "/api/credits/adjust"),
    ("GET", "/api/credits/allocations"),
    ("GET", "/api/credits/allocations/{}"),
    ("GET", "/api/credits/ledger"),
    ("GET", "/api/credits/ledger/{}"),
    ("POST", "/api/streaming-sessions/initialize"),
    ("POST", "/api/streaming-sessions/heartbeat"),
    ("POST", "/api/streaming-sessions/finalize"),
    ("POST", "/api/streaming-sessions/abort"),
    ("GET", "/api/streaming-sessions/active"),
    ("GET", "/api/streaming-sessions/active/{}"),
    ("GET", "/api/streaming-sessions/active/all"),
    ("GET", "/api/streaming-sessions/recent"),
    ("GET", "/api/streaming-sessions/recent/{}"),
    ("POST", "/api/usage/record"),
    ("GET", "/api/usage/stats"),
    ("GET", "/api/usage/stats/{}"),
    ("GET", "/api/usage/system-stats"),
    ("GET", "/api/usage/system"),
    ("GET", "/api/users"),
    ("GET", "/api/users/me"),
    ("GET", "/api/users/{}"),
    ("POST", "/api/api-keys"),
    ("GET", "/api/api-keys"),
    ("PUT", "/api/api-keys/{}"),
    ("DELETE", "/api/api-keys/{}"),
    ("POST", "/api/api-keys/{}/revoke"),
    ("GET", "/api/pricing"),
    ("GET", "/api/pricing/{}"),
    ("POST", "/api/pricing"),
    ("PUT", "/api/pricing/{}/{}"),
    *INTERNAL,
    *PUBLIC,
}
"""Every route of the contract."""


def functions() -> dict[str, dict[str, Any]]:
    """The template's functions, by the folder of their code."""
    found = resources("AWS::Serverless::Function").values()
    return {re.sub(r"^functions/|/$", "", each["Properties"]["CodeUri"]): each["Properties"] for each in found}


def events(function: str) -> list[dict[str, Any]]:
    found = functions()[function].get("Events", {}).values()
    return [event["Properties"] for event in found if event["Type"] == "Api"]


def gateway_routes(function: str) -> set[Route]:
    return {(event["Method"].upper(), re.sub(r"{\w+}", "{}", event["Path"])) for event in events(function)}


def handler_routes(function: str) -> set[Route]:
    if function in WITHOUT_A_ROUTER:
        return WITHOUT_A_ROUTER[function]
    api = import_module(f"functions.{function}.app").api
    routes = [*api._static_routes, *api._dynamic_routes]
    return {(method, re.sub(r"<\w+>", "{}", route.path)) for route in routes for method in [route.method]}


def test_every_folder_is_a_function_and_every_function_a_folder() -> None:
    assert sorted(functions()) == function_names()


@pytest.mark.parametrize("function", function_names())
def test_the_gateways_routes_are_the_handlers(function: str) -> None:
    assert gateway_routes(function) == handler_routes(function)


def test_the_routes_are_the_contracts() -> None:
    routes = [route for function in function_names() for route in gateway_routes(function)]

    assert sorted(routes) == sorted(CONTRACT), "each once"


@pytest.mark.parametrize("function", function_names())
def test_path_parameters_have_the_handlers_names(function: str) -> None:
    if function in WITHOUT_A_ROUTER:
        return
    api = import_module(f"functions.{function}.app").api
    taken = {snake for route in api._dynamic_routes for snake in re.findall(r"<(\w+)>", route.path)}
    given = {name for event in events(function) for name in re.findall(r"{(\w+)}", event["Path"])}

    assert {re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name) for name in given} == taken


def test_only_health_is_open_to_everybody() -> None:
    opened = {
        (event["Method"], event["Path"])
        for function in function_names()
        for event in events(function)
        if event.get("Auth", {}).get("Authorizer") == "NONE"
    }

    assert opened == PUBLIC


def test_only_the_internal_routes_take_the_internal_key() -> None:
    internal = {
        (event["Method"], event["Path"])
        for function in function_names()
        for event in events(function)
        if event.get("Auth", {}).get("Authorizer") == "InternalKeyAuthorizer"
    }

    assert internal == INTERNAL


def test_every_route_is_on_the_one_api() -> None:
    for function in function_names():
        assert all(event["RestApiId"] == {"Ref": "Api"} for event in events(function))
