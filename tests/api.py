"""The HTTP contract, read from the committed OpenAPI document: every route, and its success statuses."""

import json
import re
from typing import Any

from local.paths import DOCUMENT

type Route = tuple[str, str]
"""A method and a path, with ``{}`` for each parameter."""


def plain(path: str) -> str:
    """A path with ``{}`` for each parameter."""
    return re.sub(r"{\w+}", "{}", path)


_DOCUMENT: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
_OPERATIONS: dict[Route, dict[str, Any]] = {
    (method.upper(), plain(path)): operation
    for path, item in _DOCUMENT["paths"].items()
    for method, operation in item.items()
}

CONTRACT: dict[Route, set[int]] = {
    route: {int(status) for status in operation["responses"] if status < "300"}
    for route, operation in _OPERATIONS.items()
}

HEALTH: set[Route] = {route for route, operation in _OPERATIONS.items() if operation["tags"] == ["health"]}
DOCS: set[Route] = {route for route, operation in _OPERATIONS.items() if operation["tags"] == ["docs"]}
DOCS_PATHS = [
    path for path, item in _DOCUMENT["paths"].items() if any(each["tags"] == ["docs"] for each in item.values())
]
PUBLIC: set[Route] = {route for route, operation in _OPERATIONS.items() if operation.get("security") == []}
"""The routes that take no token and answer everybody the same."""
HEADS: set[Route] = {("HEAD", path) for _, path in PUBLIC}
"""The ``HEAD`` route of each public route. The document lists only the ``GET`` routes."""
INTERNAL: set[Route] = {
    route for route, operation in _OPERATIONS.items() if operation.get("security") == [{"internalKey": []}]
}
"""The routes that take the internal key and no token."""
