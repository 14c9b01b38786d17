"""The whole HTTP API as one OpenAPI document; `make openapi` writes it.

It is made of the handlers' own models and docstrings, of `local/routes.py` (who may call what, and what is refused),
and of examples: the sample events in `events/`, and what the service answered to them, in `local/examples.json`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic.alias_generators import to_camel

from accounting.web.api import STATUSES
from functions.docs.app import ASSETS
from local.paths import DOCUMENT, ROOT
from local.routes import ALWAYS, ROUTES, Operation, Who, codes_of, in_words

if TYPE_CHECKING:
    from collections.abc import Iterable

type Json = dict[str, Any]

FUNCTIONS = ("credits", "streaming_sessions", "usage", "users", "api_keys", "pricing")
IDEMPOTENT = {
    ("post", "/api/credits/allocate"),
    ("post", "/api/credits/set"),
    ("delete", "/api/credits/remove"),
    ("put", "/api/credits/adjust"),
    ("post", "/api/usage/record"),
    ("post", "/api/api-keys"),
    ("post", "/api/pricing"),
}
"""What takes the header ``Idempotency-Key``."""

CODES: dict[str, int] = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
"""Every code of an error with its status, those of the gateway too."""
COME_AGAIN = {429, 503}

POWERTOOLS_OWN = {"HTTPValidationError", "ValidationError", "ResponseValidationError"}
"""Errors in shapes that the service never answers."""

HOW_TO = """
Without credits nothing streams: ask what is left, **reserve** before a stream, **settle** what was used.

Here every route can be tried. *Authorize* takes a user's access token (`token`), or an API key as `ApiKey acct_…`
(`apiKey`); the platform's own services have an internal key. One of token and API key is enough, and both are forgotten
when the page is left.
"""
SECURITY: Json = {
    "internalKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Internal-Api-Key",
        "description": "The platform's own. Under RequireServiceKey sessions' calls and usage/record need it too.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`ApiKey acct_…`; it acts as a user, within its permissions: other routes answer 403.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's access token, HS256, signed with the stack's secret; without the word Bearer.",
    },
}
"""The last one is where the page's dialog has its cursor."""
TAGS = {
    "credits": "What a user can spend, what it costs, and the commands that move it.",
    "streaming-sessions": "What a chat proxy calls before, during and after a stream.",
    "usage": "Billable events, and their statistics.",
    "users": "Who is known.",
    "api-keys": "Keys for machines that act for a user.",
    "pricing": "Credits for 1,000 tokens of a model.",
    "health": "Whether it is there.",
    "docs": "This document, and its page.",
}
REQUEST_ID = "6c1f3a52-0b0e-4c39-9c56-0f3b8f5d7a11"
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
    paths: Json = {path: {"get": operation} for path, operation in _without_a_router().items()}
    schemas: Json = {"Error": ERROR, "Health": HEALTH}
    for function in FUNCTIONS:
        api = import_module(f"functions.{function}.app").api
        described = {route.operation_id: route.func.__doc__ for route in api._static_routes + api._dynamic_routes}
        made = _plain(api.get_openapi_schema().model_dump_json(by_alias=True, exclude_none=True))
        own = {name: each for name, each in made["components"]["schemas"].items() if name not in POWERTOOLS_OWN}
        merge(schemas, own)
        merge(paths, {_camel(path): _path(item, described, own) for path, item in made["paths"].items()})
    for path, item in paths.items():
        for method, operation in item.items():
            _complete((method, path), operation)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Accounting Service",
            "version": project["version"],
            "description": f"{project['description']}\n{HOW_TO}",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "..", "description": "Where this document comes from: relative to its own address"}],
        "security": [{"token": []}, {"apiKey": []}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "schemas": {name: schemas[name] for name in sorted(schemas)},
            "responses": {_name(status): _refusal(status, codes) for status, codes in _by_status(ALWAYS).items()},
            "examples": {code: {"value": _example_of(code)} for code in CODES},
            "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
            "securitySchemes": SECURITY,
        },
    }


def merge(known: Json, more: Json) -> None:
    """Add what is not known yet. Raises ValueError when the same name means something else."""
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            raise ValueError(f"two functions have a {name}, and they differ")


def text() -> str:
    """The document as the file that is committed and served."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _path(item: Json, described: dict[str, str], schemas: Json) -> Json:
    """A path as Powertools describes it, mended where it does not know the service."""
    for operation in item.values():
        told = described[operation["operationId"]].strip()
        operation["summary"], _, operation["description"] = told.partition("\n\n")
        operation["responses"].pop("422", None)
        for answer in operation["responses"].values():
            if answer["description"] == "Successful Response":
                answer["description"] = _said_of(answer["content"]["application/json"]["schema"], schemas)
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _present(parameter["schema"])
            if parameter["in"] == "path":
                parameter["name"] = to_camel(parameter["name"])
    return item


def _said_of(schema: Json, schemas: Json) -> str:
    """What a model says of itself, or that there is a list of it."""
    said: str = schemas[schema.get("items", schema)["$ref"].rpartition("/")[2]]["description"]
    return f"A list. Each: {said}" if "items" in schema else said


def _without_a_router() -> Json:
    """The operations of the two functions that have no models: health, and this document with its page."""
    health = _open("Whether the service is there.", "application/json", {"$ref": "#/components/schemas/Health"})
    asset = _open("A file of the page: its script or its style.", "text/javascript", {"type": "string"})
    asset["responses"]["200"]["content"]["text/css"] = {"schema": {"type": "string"}}
    names = {"type": "string", "enum": sorted(ASSETS)}
    asset["parameters"] = [{"name": "asset", "in": "path", "required": True, "schema": names}]
    return {
        "/api/health": health,
        "/health": deepcopy(health),
        "/api/openapi.json": _open("This document.", "application/json", {"type": "object"}),
        "/api/docs": _open("The page that shows this document.", "text/html", {"type": "string"}),
        "/api/docs/{asset}": asset,
    }


def _open(summary: str, content_type: str, schema: Json) -> Json:
    answer = {"description": summary, "content": {content_type: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": answer}}


def _complete(route: Operation, operation: Json) -> None:
    """Add what a route's models do not say: its name, who may call it, examples, and what it may be refused with."""
    method, path = route
    about = ROUTES[route]
    words = re.findall(r"[a-zA-Z]+", path)
    operation["operationId"] = method + "".join(word[0].upper() + word[1:] for word in words)
    group = path.removeprefix("/api").split("/")[1]
    operation["tags"] = ["docs" if group == "openapi.json" else group]
    operation["description"] = "\n\n".join(filter(None, [operation.get("description"), in_words(route)]))
    if route in IDEMPOTENT:
        operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
    if about.who is Who.ANYBODY:
        operation["security"] = []
    elif about.who is Who.PLATFORM:
        operation["security"] = [{"internalKey": []}]
    elif about.permission is None:
        operation["security"] = [{"token": []}]
    elif about.service_key:
        either: list[Json] = [{"token": []}, {"apiKey": []}]
        operation["security"] = [*either, *({**each, "internalKey": []} for each in either)]
    _add_examples(route, operation)
    _add_refusals(operation["responses"], _by_status(codes_of(route)))


def _add_examples(route: Operation, operation: Json) -> None:
    """Add the request of the route's sample event, and what the service answered to it."""
    sample = _samples()[route]
    for parameter in operation.get("parameters", []):
        if parameter.get("in") == "path":
            parameter["example"] = sample["pathParameters"][parameter["name"]]
    if "requestBody" in operation:
        for content in operation["requestBody"]["content"].values():
            content["example"] = json.loads(sample["body"])
    for status, example in _examples()["answers"].get(f"{route[0].upper()} {route[1]}", {}).items():
        answer = operation["responses"][status]
        answer["content"]["application/json"]["example"] = example


def _add_refusals(responses: Json, refusals: dict[int, list[str]]) -> None:
    """Add the errors by status, beside what the handler says of the same status."""
    common = _by_status(ALWAYS)
    for status, codes in refusals.items():
        refusal = _refusal(status, codes)
        own = responses.get(str(status))
        if own:
            content, refused = own["content"]["application/json"], refusal["content"]["application/json"]
            examples = {"refused": {"value": content.pop("example")}, **refused["examples"]}
            content |= {"schema": {"anyOf": [content["schema"], refused["schema"]]}, "examples": examples}
            own["description"] = f"{own['description']}; or {refusal['description']}"
        elif common.get(status) == codes:
            responses[str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}
        else:
            responses[str(status)] = refusal
    in_order = sorted(responses.items())
    responses.clear()
    responses.update(in_order)


def _by_status(codes: Iterable[str]) -> dict[int, list[str]]:
    """Codes by their status, both in the order of the contract."""
    found = defaultdict(list)
    for code in sorted(codes, key=list(CODES).index):
        found[int(CODES[code])].append(code)
    return dict(sorted(found.items()))


def _refusal(status: int, codes: list[str]) -> Json:
    """An answer with one of these codes, with an example of each."""
    of_these = {"$ref": "#/components/schemas/Error", "properties": {"code": {"enum": codes}}}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    named = ", ".join(f"`{code}`" for code in codes)
    response: Json = {
        "description": f"{HTTPStatus(status).phrase}: {named}",
        "content": {"application/json": {"schema": of_these, "examples": examples}},
    }
    if status in COME_AGAIN:
        response["headers"] = {"Retry-After": {"description": "In seconds", "schema": {"type": "integer"}}}
    return response


def _example_of(code: str) -> Json:
    known = _examples()["refusals"][code]
    return {"message": known["message"], "code": code, "details": known["details"], "requestId": REQUEST_ID}


@cache
def _examples() -> Json:
    read: Json = json.loads((ROOT / "local/examples.json").read_text())
    return read


@cache
def _samples() -> dict[Operation, Json]:
    """The sample event of every route."""
    events = [json.loads(file.read_text()) for file in sorted((ROOT / "events").glob("*/*.json"))]
    return {(event["httpMethod"].lower(), event["resource"]): event for event in events if "httpMethod" in event}


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "")


def _camel(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: f"{{{to_camel(name[1])}}}", path)


def _present(schema: Json) -> Json:
    """A parameter's schema without null: outside of JSON, what is not there is left out."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return schema if len(kinds) != 1 else {**kinds[0], **{name: schema[name] for name in schema if name != "anyOf"}}


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
    DOCUMENT.write_text(text(), encoding="utf-8")
    print(f"Written: {DOCUMENT.relative_to(ROOT)}")
