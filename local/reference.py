"""The reference pages, docs/reference/*.md, which `make reference` writes.

The pages are made from the OpenAPI document, the routes' declarations, the errors, and `template.yaml`. Everything
that is not in the code is written by hand in `local/reference_texts.py`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from accounting.domain import errors
from accounting.domain.errors import AccountingError
from local import parameters
from local.declarations import declared
from local.openapi import document
from local.openapi_texts import CODES
from local.paths import REFERENCE, ROOT
from local.reference_texts import ERRORS, GATEWAY_ERRORS, METRICS, METRICS_PAGE, PARAMETERS, ROUTES
from local.template import template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from local.openapi_texts import Json

MADE = "<!-- Made from the code by `make reference`: change the code, not this page. -->"


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    whole = document()
    made = {
        "routes.md": [ROUTES, *_routes(whole)],
        "errors.md": [ERRORS, _errors(whole["components"]["examples"])],
        "parameters.md": [PARAMETERS, *_parameters()],
        "metrics.md": [METRICS_PAGE, _table(("Metric", "Counts", "Look closer when"), _metrics())],
    }
    return {name: "\n\n".join([MADE, *(part.strip() for part in parts)]) + "\n" for name, parts in made.items()}


def _routes(whole: Json) -> Iterator[str]:
    header = ("Route", "What it does", "Who may call it", "Request", "Answer")
    for tag in whole["tags"]:
        rows = [
            _row(method, path, operation, whole)
            for path, item in whole["paths"].items()
            for method, operation in item.items()
            if tag["name"] in operation["tags"]
        ]
        yield f"## {tag['name']}\n\n{tag['description']}\n\n{_table(header, _without_repeats(rows))}"
    routes = declared()
    permissions = sorted({about.access.permission for about in routes.values() if about.access.permission})
    allowed = [
        (f"`{each}`", _names(key for key, about in routes.items() if about.access.permission == each))
        for each in permissions
    ]
    yield f"## Permissions of API keys\n\n{_table(('Permission', 'Routes'), allowed)}"
    rights = sorted({about.access.right for about in routes.values() if about.access.right})
    served = [
        (f"`{each}`", _names(key for key, about in routes.items() if about.access.right == each)) for each in rights
    ]
    yield f"## Rights of services\n\n{_table(('Right', 'Routes, for the user in `X-On-Behalf-Of`'), served)}"
    yield "`users:sync` has no routes. A service needs it to act for a user that does not exist yet."
    yield "## Routes that take `Idempotency-Key`\n\n" + _names(key for key, about in routes.items() if about.takes_key)
    yield "## Routes that need the internal key under `RequireServiceKey`\n\n" + _names(
        key for key, about in routes.items() if about.access.service_key
    )


def _row(method: str, path: str, operation: Json, whole: Json) -> tuple[str, ...]:
    return f"`{method.upper()} {path}`", _line(operation["summary"]), *_about((method, path), operation, whole)


def _without_repeats(rows: Iterable[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows. A row that equals an earlier one, except for the route, only refers to the earlier route."""
    first: dict[tuple[str, ...], str] = {}
    for route, *cells in rows:
        same = first.setdefault(tuple(cells), route)
        yield (route, *cells) if same == route else (route, f"The same as {same}.", *("" for _ in cells[1:]))


def _about(route: tuple[str, str], operation: Json, whole: Json) -> tuple[str, str, str]:
    """Return who may call a route, the fields of its query and body, and the fields of its successful answers."""
    sent = {each["name"]: each["required"] for each in operation.get("parameters", []) if each.get("in") == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        sent |= _fields(content["schema"], whole)
    answers: dict[str, list[str]] = {}
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            answers.setdefault(_answer(answer, whole), []).append(status)
    received = "<br>".join(f"{' or '.join(statuses)} {names}".strip() for names, statuses in answers.items())
    return str(declared()[route].access.who), _named(sent), received


def _answer(answer: Json, whole: Json) -> str:
    """Return the fields of an answer or, if the answer is a list, of its items."""
    schema = next(iter(answer["content"].values()))["schema"]
    items = schema.get("items")
    return f"a list, each with {_named(_fields(items, whole))}" if items else _named(_fields(schema, whole))


def _fields(schema: Json, whole: Json) -> dict[str, bool]:
    """Return the names of a schema's fields in order, and whether each field is always present."""
    if "anyOf" in schema:
        kinds = [_fields(kind, whole) for kind in schema["anyOf"] if kind != {"type": "null"}]
        return {name: all(kind.get(name) for kind in kinds) for name in dict.fromkeys(chain(*kinds))}
    if "$ref" in schema:
        return _fields(whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]], whole)
    return {name: name in schema.get("required", []) for name in schema.get("properties", {})}


def _named(fields: dict[str, bool]) -> str:
    return ", ".join(f"`{name}`" if always else f"`{name}?`" for name, always in fields.items())


def _names(routes: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"`{method.upper()} {path}`" for method, path in routes)


def _errors(examples: Json) -> str:
    meanings = {each.code: each.__doc__ or "" for each in _subclasses(AccountingError)} | GATEWAY_ERRORS
    rows = [
        (
            str(int(status)),
            f"`{code}`",
            _line(meanings[code]),
            ", ".join(f"`{name}`" for name in examples[code]["value"]["details"]),
        )
        for code, status in sorted(CODES.items(), key=lambda each: each[1])
    ]
    return _table(("Status", "Code", "Meaning", "`details`"), rows)


def _subclasses(parent: type[AccountingError]) -> Iterator[type[AccountingError]]:
    for child in parent.__subclasses__():
        if child.__module__ == errors.__name__ and "code" in vars(child):
            yield child
        yield from _subclasses(child)


def _parameters() -> Iterator[str]:
    declared_in_template = template()["Parameters"]
    local = parameters.from_environment({})
    for group in template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        rows = [
            (
                f"`{name}`",
                f"`{declared_in_template[name]['Default']}`" if declared_in_template[name]["Default"] != "" else "",
                _accepts(declared_in_template[name]),
                f"{_line(declared_in_template[name]['Description'])}.",
            )
            for name in group["Parameters"]
        ]
        settable = [f"`{parameters.variable(name)}`" for name in group["Parameters"] if name in local]
        note = f"\n\n`make run` takes these from the environment: {', '.join(settable)}." if settable else ""
        yield f"## {group['Label']['default']}\n\n{_table(('Parameter', 'Default', 'Takes', 'What it is'), rows)}{note}"


def _accepts(parameter: Json) -> str:
    """Return the text of the column `Takes`: which values a parameter accepts."""
    if "AllowedValues" in parameter:
        return ", ".join(f"`{value}`" for value in parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue")
        return f"{least} or more" if most is None else f"{least} to {most}"
    return str(parameter.get("ConstraintDescription", "text"))


def _metrics() -> Iterator[tuple[str, str, str]]:
    for name, (counts, look) in METRICS.items():
        yield f"`{name}`", counts, look


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _line(text: Any) -> str:
    """Return a text in one line, with code marked as in Markdown."""
    return " ".join(str(text).replace("``", "`").split())


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for file_name, text in pages().items():
        (REFERENCE / file_name).write_text(text, encoding="utf-8")
        print(f"Written: {(REFERENCE / file_name).relative_to(ROOT)}")
