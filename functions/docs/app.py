"""The OpenAPI document, the Swagger UI page that shows it, and the console.

Every address in the document and on the pages is relative, so that it works under any stage's prefix. The pages and
the document are files in this folder. ``make openapi`` writes the document. Swagger UI comes with Powertools, in the
layer. This function needs no table and no token.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import aws_lambda_powertools
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.shared.version import VERSION
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.web.answers import answer

FOLDER = Path(__file__).resolve().parent
CONSOLE = FOLDER / "console"
SWAGGER_UI = Path(aws_lambda_powertools.__file__).parent / "event_handler/openapi/swagger_ui"

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"
JSON = "application/json"

A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For files with a version in their address. Browsers may keep these files: a changed file has a new address."""
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""People paste tokens into the pages, so the pages send requests only to this service, and no site may frame them."""


class File(NamedTuple):
    """A file to serve. ``headers`` are added to those that every answer has."""

    path: Path
    content_type: str
    headers: dict[str, str]


DOCUMENT = File(FOLDER / "openapi.json", JSON, {})
PAGE = File(FOLDER / "index.html", HTML, PAGE_HEADERS)
ASSETS = {
    "page.css": File(FOLDER / "page.css", CSS, {}),
    "page.js": File(FOLDER / "page.js", JAVASCRIPT, {}),
    "swagger-ui.css": File(SWAGGER_UI / "swagger-ui.min.css", CSS, A_YEAR),
    "swagger-ui-bundle.js": File(SWAGGER_UI / "swagger-ui-bundle.min.js", JAVASCRIPT, A_YEAR),
}
CONSOLE_PAGE = File(CONSOLE / "index.html", HTML, PAGE_HEADERS)
CONSOLE_ASSETS = {
    path.relative_to(CONSOLE).as_posix(): File(path, content_type, A_YEAR)
    for pattern, content_type in (("*.js", JAVASCRIPT), ("*.css", CSS))
    for path in sorted(CONSOLE.rglob(pattern))
}
PAGES = {"/api/docs": PAGE, "/api/console": CONSOLE_PAGE}

logger = Logger()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_REST)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Serve the document, its page and the console. The answer for an asset that does not exist is 404."""
    answered = _answer(event)
    logger.info("request", method=event["httpMethod"], route=event["resource"], status=answered["statusCode"])
    return answered


def _answer(event: dict[str, Any]) -> dict[str, Any]:
    resource = event["resource"]
    if page := PAGES.get(resource):
        if event["requestContext"]["path"].endswith("/"):
            # The gateway also sends ``/api/docs/`` here. The page's relative addresses do not work under that path.
            return answer(event, 308, {"Location": f"..{resource.removeprefix('/api')}"}, "")
        return _file(event, page)
    if resource == "/api/openapi.json":
        return _file(event, DOCUMENT)
    named = event["pathParameters"] or {}
    asset = _asset(resource, **named)
    return _file(event, asset) if asset else _no_such_route(event)


def _asset(resource: str, asset: str = "", version: str = "") -> File | None:
    """The file with this name, or None. A file of the console is found only under the console's current version."""
    if resource == "/api/docs/{asset}":
        return ASSETS.get(asset)
    folder = "screens/" if resource.endswith("/screens/{asset}") else ""
    return CONSOLE_ASSETS.get(f"{folder}{asset}") if version == console_version() else None


def _file(event: dict[str, Any], file: File) -> dict[str, Any]:
    return answer(event, 200, {**file.headers, "Content-Type": file.content_type}, _text(file.path))


@cache
def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path == PAGE.path:
        return text.replace("{version}", VERSION)
    return text.replace("{version}", console_version()) if path == CONSOLE_PAGE.path else text


@cache
def console_version() -> str:
    """A digest of the console's files.

    The digest is a folder in the address of each file, so a file's relative imports lead to files of the same version.
    """
    digest = hashlib.sha256()
    for name, file in CONSOLE_ASSETS.items():
        digest.update(f"{name}\n{file.path.read_text(encoding='utf-8')}\n".encode())
    return digest.hexdigest()[:12]


def _no_such_route(event: dict[str, Any]) -> dict[str, Any]:
    """The answer that the other functions give to an unknown route, built without importing ``accounting.web.api``."""
    request_id = event["requestContext"]["requestId"]
    body = {"message": "No such route", "code": "ROUTE_NOT_FOUND", "details": {}, "requestId": request_id}
    return answer(event, 404, {"Content-Type": JSON}, json.dumps(body))
