"""The whole HTTP API as one OpenAPI document; `make openapi` writes it.

It is made from the functions' routes (declarations, body types, docstrings), the sample requests in `events/`, and
the service's answers in `local/examples.json`. All other texts are in `local/openapi_texts.py`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from aws_lambda_powertools.event_handler.openapi.merge import OpenAPIMerge
from aws_lambda_powertools.event_handler.openapi.models import License, Server, Tag
from pydantic.alias_generators import to_camel

from local.declarations import ALWAYS, apis, codes_of, declared, in_words
from local.openapi_texts import (
    CODES,
    ERROR,
    HEALTH,
    HOW_TO,
    IDEMPOTENCY_KEY,
    JSON,
    REQUEST_ID,
    SECURITY,
    TAGS,
    paths_without_a_router,
)
from local.paths import DOCUMENT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.declarations import Operation
    from local.openapi_texts import Json

RETRYABLE = {429, 503}

POWERTOOLS_OWN = {"HTTPValidationError", "ValidationError", "ResponseValidationError"}
"""Schemas of Powertools' errors, which the service never sends."""


def document() -> Json:
    """The OpenAPI 3.1 document. Raises ValueError if two functions use one name for different schemas."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    whole = OpenAPIMerge(
        title="Accounting Service",
        version=project["version"],
        description=f"{project['description']}\n{HOW_TO}",
        license_info=License(name="MIT", identifier="MIT"),
        servers=[Server(url="..", description="The service that this page comes from")],
        security=[{"token": []}, {"apiKey": []}, {"service": [], "onBehalfOf": []}],
        security_schemes=SECURITY,
        tags=[Tag(name=name, description=text) for name, text in TAGS.items()],
        on_conflict="error",
    )
    schemas: Json = {}
    for part in _parts():
        add_schemas(schemas, part["components"].pop("schemas"))
        whole.add_schema(part)
    made = whole.get_openapi_schema()
    for path, item in made["paths"].items():
        for method, operation in item.items():
            _complete((method, path), operation)
    made["paths"] = dict(sorted(made["paths"].items(), key=_place))
    made["components"] = {
        "schemas": dict(sorted(schemas.items())),
        "responses": {_name(status): _refusal(status, codes) for status, codes in _by_status(ALWAYS).items()},
        "examples": {code: {"value": _example_of(code)} for code in CODES},
        "parameters": {"IdempotencyKey": IDEMPOTENCY_KEY},
        **made["components"],
    }
    return {name: made[name] for name in ("openapi", "info", "servers", "security", "tags", "paths", "components")}


def _place(path_and_item: tuple[str, Json]) -> tuple[int, int]:
    """The position of a path in the document: by tag, then in the order in which the code declares routes."""
    path, item = path_and_item
    declared_paths = list(dict.fromkeys(each for _, each in declared()))
    return min(list(TAGS).index(tag) for each in item.values() for tag in each["tags"]), declared_paths.index(path)


def _parts() -> Iterator[Json]:
    """Yield one document for all functions without a router, and one for each function with a router.

    Powertools makes the documents of the functions with a router.
    """
    yield {"paths": paths_without_a_router(), "components": {"schemas": {"Error": ERROR, "Health": HEALTH}}}
    for api in apis().values():
        made = _plain(
            api.resolver.get_openapi_schema(security_schemes=SECURITY).model_dump_json(by_alias=True, exclude_none=True)
        )
        schemas = made["components"]["schemas"]
        own = {name: each for name, each in schemas.items() if name not in POWERTOOLS_OWN}
        paths = {_camel(path): _path(item, own) for path, item in made["paths"].items()}
        yield {"paths": paths, "components": {"schemas": own}}


def add_schemas(known: Json, more: Json) -> None:
    """Add schemas by name. Raises ValueError if a known name has a different schema."""
    for name, value in more.items():
        if known.setdefault(name, value) != value:
            raise ValueError(f"two functions use the name {name} for different schemas")


def text() -> str:
    """The document as the text of the file that is committed and served."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _path(item: Json, schemas: Json) -> Json:
    """A path as Powertools describes it, corrected to match the service."""
    for operation in item.values():
        operation["responses"].pop("422", None)
        for answer in operation["responses"].values():
            if answer["description"] == "Successful Response":
                answer["description"] = _description_of(answer["content"][JSON]["schema"], schemas)
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
            if parameter["in"] == "path":
                parameter["name"] = to_camel(parameter["name"])
    return item


def _description_of(schema: Json, schemas: Json) -> str:
    """The docstring of the class that a handler returns."""
    description: str = schemas[schema["$ref"].rpartition("/")[2]]["description"]
    return description


def _complete(route: Operation, operation: Json) -> None:
    """Add what Powertools does not know about a route: who may call it, its idempotency key, examples, and refusals."""
    about = declared()[route]
    operation["description"] = "\n\n".join(filter(None, [operation.get("description"), in_words(about.access)]))
    if about.takes_key:
        operation.setdefault("parameters", []).append({"$ref": "#/components/parameters/IdempotencyKey"})
    _add_examples(route, operation)
    _add_refusals(operation["responses"], _by_status(codes_of(route)))


def _add_examples(route: Operation, operation: Json) -> None:
    """Add the request of the route's sample event, and the service's answer to it."""
    sample = _samples()[route]
    for parameter in operation.get("parameters", []):
        if parameter.get("in") == "path":
            parameter["example"] = sample["pathParameters"][parameter["name"]]
    if "requestBody" in operation:
        for content in operation["requestBody"]["content"].values():
            content["example"] = json.loads(sample["body"])
    for status, example in _examples()["answers"].get(f"{route[0].upper()} {route[1]}", {}).items():
        answer = operation["responses"][status]
        answer["content"][JSON]["example"] = example


def _add_refusals(responses: Json, refusals: dict[int, list[str]]) -> None:
    """Add the refusals by status. If the handler declares an answer with the same status, describe both."""
    common = _by_status(ALWAYS)
    for status, codes in refusals.items():
        refusal = _refusal(status, codes)
        own = responses.get(str(status))
        if own:
            content, refused = own["content"][JSON], refusal["content"][JSON]
            recorded = {"refused": {"value": content.pop("example")}} if "example" in content else {}
            examples = {**recorded, **refused["examples"]}
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
    """Codes by status: the statuses in ascending order, the codes of each in the order of `CODES`."""
    found = defaultdict(list)
    for code in sorted(codes, key=list(CODES).index):
        found[int(CODES[code])].append(code)
    return dict(sorted(found.items()))


def _refusal(status: int, codes: list[str]) -> Json:
    """A refusal with one of ``codes``, and an example of each code."""
    of_these = {"$ref": "#/components/schemas/Error", "properties": {"code": {"enum": codes}}}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    named = ", ".join(f"`{code}`" for code in codes)
    response: Json = {
        "description": f"{HTTPStatus(status).phrase}: {named}",
        "content": {JSON: {"schema": of_these, "examples": examples}},
    }
    if status in RETRYABLE:
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


def _without_null(schema: Json) -> Json:
    """A parameter's schema without null, because a path or a query cannot contain null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    return schema if len(kinds) != 1 else {**kinds[0], **{name: schema[name] for name in schema if name != "anyOf"}}


def _plain(text: str) -> Json:
    """Read a document without its titles, which only repeat names, and with whole numbers as integers."""

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
