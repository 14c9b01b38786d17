"""The whole HTTP API as one OpenAPI document, made of the handlers' own models; `make openapi` prints it."""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from http import HTTPStatus
from importlib import import_module
from typing import Any

from pydantic.alias_generators import to_camel

from accounting.web.api import STATUSES
from local.paths import ROOT

type Json = dict[str, Any]

FUNCTIONS = ("credits", "streaming_sessions", "usage", "users", "api_keys", "pricing")
INTERNAL = {"/api/users/sync", "/api/api-keys/validate"}
IDEMPOTENT = {
    ("post", "/api/credits/allocate"),
    ("post", "/api/credits/set"),
    ("delete", "/api/credits/remove"),
    ("put", "/api/credits/adjust"),
    ("post", "/api/usage/record"),
    ("post", "/api/api-keys"),
}
"""What takes the header ``Idempotency-Key``."""

CODES: dict[str, int] = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
"""Every code of an error with its status, those of the gateway too."""
ABOUT_THE_CALLER = {401, 403, 404}
ABOUT_WRITES = {402, 409}
COME_AGAIN = {429, 503}

POWERTOOLS_OWN = {"HTTPValidationError", "ValidationError", "ResponseValidationError"}
"""Errors in shapes that the service never answers."""

SECURITY: Json = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`ApiKey acct_…`; it acts as a user, within its permissions: other routes answer 403.",
    },
    "internalKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Internal-Api-Key",
        "description": "Under RequireServiceKey the sessions' calls and usage/record need it beside the token.",
    },
}
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body again is answered as the first time, and changes nothing.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
ERROR: Json = {
    "type": "object",
    "description": "Every refusal. `details` is what helps to act on it; `errors` in it names the fields at fault.",
    "properties": {
        "message": {"type": "string"},
        "code": {"enum": sorted(CODES)},
        "details": {"type": "object"},
        "requestId": {"type": "string"},
    },
    "required": ["message", "code", "details", "requestId"],
    "additionalProperties": False,
}
HEALTH: Json = {
    "type": "object",
    "description": "That the service is there.",
    "properties": {
        "status": {"const": "ok"},
        "service": {"const": "accounting-service"},
        "version": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
    "required": ["status", "service", "version", "timestamp"],
}


def document() -> Json:
    """The OpenAPI 3.1 document. Raises ValueError when two functions mean different things by one name."""
    paths: Json = {path: {"get": _health(path)} for path in ("/api/health", "/health")}
    schemas: Json = {"Error": ERROR, "Health": HEALTH}
    for function in FUNCTIONS:
        api = import_module(f"functions.{function}.app").api
        described = {route.operation_id: route.func.__doc__ for route in api._static_routes + api._dynamic_routes}
        made = _plain(api.get_openapi_schema().model_dump_json(by_alias=True, exclude_none=True))
        own = {name: each for name, each in made["components"]["schemas"].items() if name not in POWERTOOLS_OWN}
        merge(schemas, own)
        merge(paths, {_camel(path): _path(_camel(path), item, described) for path, item in made["paths"].items()})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Accounting Service", "version": project["version"], "description": project["description"]},
        "servers": [{"url": "."}],
        "security": [{"token": []}, {"apiKey": []}],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas)},
            "responses": {_name(status): _refusal(status, codes) for status, codes in _codes().items()},
            "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
            "securitySchemes": SECURITY,
        },
    }


def merge(known: Json, more: Json) -> None:
    """Add what is not known yet. Raises ValueError when the same name means something else."""
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            raise ValueError(f"two functions have a {name}, and they differ")


def _path(path: str, item: Json, described: dict[str, str]) -> Json:
    """A path as Powertools describes it, mended where it does not know the service."""
    for method, operation in item.items():
        text = described[operation["operationId"]].strip()
        operation["summary"], _, operation["description"] = text.partition("\n\n")
        if not operation["description"]:
            del operation["description"]
        operation["tags"] = [path.split("/")[2]]
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _present(parameter["schema"])
            if parameter["in"] == "path":
                parameter["name"] = to_camel(parameter["name"])
        if (method, path) in IDEMPOTENT:
            operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
        if path in INTERNAL:
            operation["security"] = [{"internalKey": []}]
        _add_refusals(operation["responses"], set() if method != "get" else ABOUT_WRITES)
    return item


def _health(path: str) -> Json:
    answer = {"description": "It is there", "content": _json({"$ref": "#/components/schemas/Health"})}
    operation: Json = {
        "summary": "Whether the service is there.",
        "operationId": re.sub(r"\W", "_", f"health{path}_get"),
        "tags": ["health"],
        "security": [],
        "responses": {"200": answer},
    }
    _add_refusals(operation["responses"], ABOUT_THE_CALLER | ABOUT_WRITES)
    return operation


def _add_refusals(responses: Json, never: set[int]) -> None:
    """Add every error but those that are never answered, beside what the handler says of the same status."""
    responses.pop("422", None)
    for status in _codes().keys() - never:
        reference = {"$ref": f"#/components/responses/{_name(status)}"}
        own = responses.setdefault(str(status), reference)
        if own is not reference:
            content = own["content"]["application/json"]
            content["schema"] = {"anyOf": [content["schema"], {"$ref": "#/components/schemas/Error"}]}
    in_order = sorted(responses.items())
    responses.clear()
    responses.update(in_order)


def _codes() -> dict[int, list[str]]:
    """The codes of every status."""
    found = defaultdict(list)
    for code, status in CODES.items():
        found[int(status)].append(code)
    return dict(sorted(found.items()))


def _refusal(status: int, codes: list[str]) -> Json:
    of_these = {"$ref": "#/components/schemas/Error", "properties": {"code": {"enum": codes}}}
    response: Json = {"description": HTTPStatus(status).phrase, "content": _json(of_these)}
    if status in COME_AGAIN:
        response["headers"] = {"Retry-After": {"description": "In seconds", "schema": {"type": "integer"}}}
    return response


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _camel(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: f"{{{to_camel(name[1])}}}", path)


def _present(schema: Json) -> Json:
    """A parameter's schema without null: outside of JSON, what is not there is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return schema if len(kinds) != 1 else {**kinds[0], **{name: schema[name] for name in schema.keys() - {"anyOf"}}}


def _plain(text: str) -> Json:
    """The document without the titles that only repeat names, and with limits of integers as integers."""

    def number(digits: str) -> int | float:
        value = float(digits)
        return int(value) if value.is_integer() else value

    def untitled(node: Json) -> Json:
        return {name: value for name, value in node.items() if name != "title" or not isinstance(value, str)}

    read: Json = json.loads(text, parse_float=number, object_hook=untitled)
    return read


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
