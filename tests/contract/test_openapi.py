"""The OpenAPI document matches the service: routes, statuses, names, errors, examples and authentication."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from accounting.web.access import Who
from accounting.web.api import STATUSES
from local.declarations import ALWAYS, codes_of, declared
from local.openapi import add_schemas, document, text
from local.paths import DOCUMENT, ROOT
from tests.api import INTERNAL, PUBLIC, Route, plain
from tests.e2e import test_organization_roles as organization_roles
from tests.e2e import test_roles as roles
from tests.template import resources

if TYPE_CHECKING:
    from collections.abc import Iterator

made = cache(document)


def operations() -> Iterator[tuple[Route, dict[str, Any]]]:
    """Yield each route and its operation. In the route's path, each parameter is ``{}``."""
    for path, item in made()["paths"].items():
        for method, operation in item.items():
            yield (method.upper(), plain(path)), operation


def nodes_of(node: Any) -> Iterator[Any]:
    yield node
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for each in inner:
        yield from nodes_of(each)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """The component that a reference points to, or the value itself if it is not a reference."""
    if "$ref" not in node:
        return node
    found = made()
    for step in node["$ref"].split("/")[1:]:
        found = found[step]
    return found


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example of the document: its location, its schema, and its value."""
    for route, operation in operations():
        contents = {"request": operation.get("requestBody", {}).get("content", {})}
        contents |= {status: resolved(answer)["content"] for status, answer in operation["responses"].items()}
        for where, content in contents.items():
            for each in content.values():
                named = {name: resolved(example)["value"] for name, example in each.get("examples", {}).items()}
                for name, value in (named | ({"": each["example"]} if "example" in each else {})).items():
                    yield f"{' '.join(route)} {where} {name}", each["schema"], value


def test_routes_are_in_the_order_of_use() -> None:
    paths = list(made()["paths"])
    sessions = [path.rpartition("/")[2] for path in paths if path.startswith("/api/streaming-sessions/")]

    assert paths[0] == "/api/credits/balance"
    assert sessions[:4] == ["initialize", "heartbeat", "finalize", "abort"]


def test_the_document_is_valid_openapi() -> None:
    validate(made())


def test_the_committed_document_matches_the_code() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == text(), "stale: run `make openapi`"
    assert not DOCUMENT.is_symlink(), (
        "must not be a link: without symbolic links, Git checks out a file that contains only the target's path"
    )


def test_the_only_copy_of_the_document_is_in_the_folder_of_the_docs_function() -> None:
    sources = [ROOT / folder for folder in ("client", "docs", "functions", "layers", "local")]
    code = resources("AWS::Serverless::Function")["DocsFunction"]["Properties"]["CodeUri"]

    assert [file for folder in sources for file in folder.rglob("openapi.json")] == [DOCUMENT]
    assert DOCUMENT.parent == ROOT / code


def test_the_server_url_is_relative_so_that_the_routes_work_under_any_stage() -> None:
    assert [server["url"] for server in made()["servers"]] == [".."]
    assert "/api/openapi.json" in made()["paths"]


def test_every_operation_has_a_summary_a_tag_a_unique_id_and_its_callers() -> None:
    tags = {tag["name"] for tag in made()["tags"]}
    for route, operation in operations():
        assert operation["summary"].endswith("."), route
        assert f"**Who:** {declared()[route[0].lower(), _path_of(route)].access.who}." in operation["description"], (
            route
        )
        assert len(operation["tags"]) == 1, route
        assert set(operation["tags"]) <= tags, route
    names = [operation["operationId"] for _, operation in operations()]
    assert len(set(names)) == len(names)


def _path_of(route: Route) -> str:
    (path,) = (path for path, item in made()["paths"].items() if plain(path) == route[1] and route[0].lower() in item)
    return str(path)


WHO = {
    ("anybody", None): Who.USERS,
    ("anybody", "supervisors"): Who.SELF_OR_SUPERVISORS,
    ("anybody", "administrators"): Who.SELF_OR_ADMINS,
    ("anybody", "administrators; others get 404"): Who.SELF_OR_ADMINS,
    ("anybody", roles.OF_ACCOUNTS): Who.ACCOUNTS,
    ("anybody", roles.SPENDERS): Who.SPENDERS,
    ("supervisors", None): Who.SUPERVISORS,
    ("supervisors", "supervisors"): Who.SUPERVISORS,
    ("administrators", None): Who.ADMINS,
    ("administrators", "administrators"): Who.ADMINS,
    ("members", None): Who.MEMBERS,
    ("managers", None): Who.MANAGERS,
    ("managers and oneself", None): Who.MANAGERS_OR_SELF,
}
"""Who may call a route, by the columns ``oneself`` and ``others`` of the table in ``test_roles``."""


def test_the_document_states_the_access_that_test_roles_checks_over_http() -> None:
    documented = {
        (method.upper(), plain(path)): (about.access.who, about.access.permission, about.access.right)
        for (method, path), about in declared().items()
    }
    permissions = {route: permission for permission, routes in roles.KEYS.items() for route in routes}
    rights = {route: right for right, routes in roles.SERVICES.items() for route in routes}
    tested = {
        (each.method, f"/api/{plain(each.path.partition('?')[0])}"): (
            WHO[each.oneself, each.others],
            permissions.get(f"{each.method} {each.path}"),
            rights.get(f"{each.method} {each.path}"),
        )
        for each in roles.ROUTES
    }
    tested |= dict.fromkeys(PUBLIC, (Who.ANYBODY, None, None))
    tested |= dict.fromkeys(INTERNAL, (Who.PLATFORM, None, None))

    assert documented == tested


SESSION_REPORTS = {("POST", f"/api/streaming-sessions/{name}") for name in ("heartbeat", "finalize", "abort")}
"""Reports about the caller's own session. An account in a report is only a hint, and gives no access to the account."""


def test_the_roles_in_an_organization_are_tested_for_every_route_that_takes_an_account() -> None:
    tested = {(each.method, f"/api/{plain(each.path.partition('?')[0])}") for each in organization_roles.ROUTES}
    routes = {route for route, operation in operations() if takes_an_account(operation)}

    assert routes > SESSION_REPORTS
    assert routes - SESSION_REPORTS <= tested


def takes_an_account(operation: dict[str, Any]) -> bool:
    """Whether an organization or its account can be named in the path, the query or the body."""
    contents = operation.get("requestBody", {}).get("content", {}).values()
    names = {resolved(parameter)["name"] for parameter in operation.get("parameters", ())}
    names |= {name for content in contents for name in resolved(content["schema"]).get("properties", ())}
    return bool(names & {"accountId", "account_id", "organizationId", "organization_id"})


def test_every_example_fits_its_schema() -> None:
    for where, schema, example in examples():
        validator = OAS31Validator({**schema, "components": made()["components"]})
        assert [error.message for error in validator.iter_errors(example)] == [], where


def test_every_route_has_an_example_of_its_request_and_of_each_refusal() -> None:
    in_document = {where for where, _, _ in examples()}
    for route, operation in operations():
        name = " ".join(route)
        if "requestBody" in operation:
            assert f"{name} request " in in_document
        refused = {
            where.split()[-1] for where in in_document if where.startswith(f"{name} ") and not where.endswith(" ")
        }
        assert refused - {"refused"} == codes_of((route[0].lower(), _path_of(route))), route
        for parameter in operation.get("parameters", []):
            assert parameter.get("in") != "path" or parameter["example"], route


def test_every_recorded_answer_is_an_example_of_its_route() -> None:
    recorded = json.loads((ROOT / "local/examples.json").read_text())["answers"]
    in_document = {where for where, _, _ in examples()}

    assert recorded
    for name, answers in recorded.items():
        method, path = name.split()
        missing = {f"{method} {plain(path)} {status} " for status in answers} - in_document
        assert {where.replace(" 401 ", " 401 refused") for where in missing} <= in_document, name


def test_the_document_has_exactly_the_paths_of_the_template() -> None:
    functions = resources("AWS::Serverless::Function").values()
    events = [event for each in functions for event in each["Properties"].get("Events", {}).values()]
    paths = {event["Properties"]["Path"] for event in events if event["Type"] == "Api"}

    assert set(made()["paths"]) == paths


def test_every_route_lists_exactly_the_parameters_in_its_path() -> None:
    for path, item in made()["paths"].items():
        for operation in item.values():
            described = {each["name"] for each in operation.get("parameters", []) if each.get("in") == "path"}
            assert described == set(re.findall(r"{(\w+)}", path)), path


def test_every_error_code_has_its_status_and_the_common_form() -> None:
    codes = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
    for route, operation in operations():
        of_route = codes_of((route[0].lower(), _path_of(route)))
        for status, response in operation["responses"].items():
            if status < "300":
                continue
            schema = resolved(response)["content"]["application/json"]["schema"]
            refusal = schema.get("anyOf", [schema])[-1]
            assert refusal["$ref"] == "#/components/schemas/Error"
            of_status = {code for code in of_route if codes[code] == int(status)}
            assert set(refusal["properties"]["code"]["enum"]) == of_status, route

    assert set(made()["components"]["schemas"]["Error"]["properties"]["code"]["enum"]) == set(codes)
    assert {code for route in declared() for code in codes_of(route)} == set(codes)


def test_every_route_lists_its_refusals_and_failures() -> None:
    codes = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
    always = {str(int(codes[code])) for code in ALWAYS}
    for route, operation in operations():
        about_the_caller = set() if route in PUBLIC else {"401"} if route in INTERNAL else {"401", "403"}
        of_a_body = {"400"} if route in PUBLIC else set()
        refusals = {status for status in operation["responses"] if status >= "300"}
        assert refusals - {"402", "404", "409"} == (always - of_a_body) | about_the_caller, route


def test_the_document_requires_only_the_fields_that_every_price_has() -> None:
    found = made()["components"]["schemas"]

    assert set(found["PricesView"]["required"]) == {"models"}
    assert set(found["PriceView"]["required"]) == {"modelId", "effectiveFrom", "effectiveTo", "history"}
    assert {"pricePerThousandTokens", "rates"} < set(found["RuleView"]["required"])
    assert "MODEL_UNKNOWN" in codes_of(("get", "/api/pricing/{modelId}"))


def test_a_public_route_lists_neither_status_400_nor_code_contention() -> None:
    for method, path in PUBLIC:
        (operation,) = (each for route, each in operations() if route == (method, path))
        assert "400" not in operation["responses"], path
        refused = resolved(operation["responses"]["503"])["content"]["application/json"]["schema"]
        assert refused["properties"]["code"]["enum"] == ["UNAVAILABLE"], path


def test_the_document_describes_authentication() -> None:
    security = {route: operation.get("security", made()["security"]) for route, operation in operations()}

    assert {route for route, each in security.items() if each == []} == PUBLIC
    assert {route for route, each in security.items() if each == [{"internalKey": []}]} == INTERNAL
    accesses = {(method.upper(), plain(path)): about.access for (method, path), about in declared().items()}
    with_a_key = {route for route, access in accesses.items() if access.permission}
    under_rights = {route for route, access in accesses.items() if access.right}
    with_service = {route for route, access in accesses.items() if access.service_key}
    for route in security.keys() - PUBLIC - INTERNAL:
        of_users: list[dict[str, Any]] = [{"token": []}, *([{"apiKey": []}] if route in with_a_key else [])]
        acting: list[dict[str, Any]] = [{"service": [], "onBehalfOf": []}] if route in under_rights else []
        of_services = [{**each, "internalKey": []} for each in of_users] if route in with_service else []
        assert security[route] == of_users + acting + of_services, route


def test_every_body_is_required_except_those_of_four_routes() -> None:
    bodies = {route: operation["requestBody"] for route, operation in operations() if "requestBody" in operation}

    assert {route for route, body in bodies.items() if not body.get("required")} == {
        ("DELETE", "/api/credits/remove"),
        ("POST", "/api/users/{}/disable"),
        ("POST", "/api/service-credentials/{}/rotate"),
        ("POST", "/api/organizations/{}/close"),
    }


def test_limits_are_documented_and_unused_statuses_are_not() -> None:
    (limit,) = (each for each in made()["paths"]["/api/users"]["get"]["parameters"] if each["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    for operation in dict(operations()).values():
        assert "422" not in operation["responses"]
        for parameter in operation.get("parameters", []):
            assert {"type": "null"} not in nodes_of(parameter), "a parameter cannot be null"
    for schema in nodes_of(made()["components"]["schemas"]):
        assert not (isinstance(schema, dict) and {"ge", "le", "decimal_places"} & schema.keys()), schema


def test_two_different_schemas_with_the_same_name_are_refused() -> None:
    known = {"View": {"type": "object"}}
    add_schemas(known, {"View": {"type": "object"}, "Other": {}})

    assert sorted(known) == ["Other", "View"]
    with pytest.raises(ValueError, match="View"):
        add_schemas(known, {"View": {"type": "string"}})
