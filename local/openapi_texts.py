"""The parts of the API document that the code of the functions does not declare, such as the introduction."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from accounting.web.api import STATUSES
from accounting.web.problems import MAX_NAMED
from functions.docs.app import ASSETS, CONSOLE_ASSETS

if TYPE_CHECKING:
    from collections.abc import Collection

type Json = dict[str, Any]

CODES: dict[str, int] = {**STATUSES, "RATE_LIMITED": 429, "TIMEOUT": 504}
"""Every error code with its status, including the gateway's own codes."""

HOW_TO = """
**To try a route on this page,** paste a token first: press *Authorize*, paste the token under `token`, press the
*Authorize* below the field, then *Close*. Open a route and press *Execute*.

- If the service runs locally, `make token USER=demo-user` prints a token, and `make token USER=demo-admin ROLE=admin`
  prints an administrator's token. Elsewhere, your sign-in service issues tokens.
- Instead of a token, you can paste an API key under `apiKey`, as `ApiKey acct_…`. The routes for the platform's own
  services need the internal key, under `internalKey`.
- The page forgets tokens and keys when you leave or reload it.

A chat proxy **holds** credits before a stream, then **settles** what the stream used: see *streaming-sessions*.
"""
SECURITY: Json = {
    "internalKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Internal-Api-Key",
        "description": (
            "The key of the platform's own services. If the stack's parameter RequireServiceKey is true, the routes "
            "that open or settle a session or report usage need this key besides the user's token or API key."
        ),
    },
    "onBehalfOf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-On-Behalf-Of",
        "description": "The percent-encoded id of the user that a service acts for; required with `service`.",
    },
    "service": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": (
            "A service credential, as `Service svc_…`. Its rights say what the service may do for the user in "
            "`X-On-Behalf-Of`. The user's role does not matter."
        ),
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": (
            "An API key, as `ApiKey acct_…`. It acts for its owner. If its permissions do not allow a route, the "
            "answer is 403."
        ),
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A user's access token, without the word Bearer.",
    },
}
"""`token` is last, because the page's *Authorize* dialog puts the cursor into the last field."""
TAGS = {
    "credits": "Balances, the cost of a request, and the commands that change a balance.",
    "streaming-sessions": "The calls of a chat proxy before, during and after a stream.",
    "budgets": "Limits on what a member or an API key spends from an account, for each window of time.",
    "runs": "Budgets of single tasks. All sessions of a task share the limit of its run, and can be stopped together.",
    "usage": "Billable events, and their statistics.",
    "users": "The users that the service knows.",
    "organizations": "Members who share one account.",
    "api-keys": "Keys for programs that act for a user.",
    "service-credentials": "Credentials of services that act for users.",
    "pricing": "The prices of a model's tokens, by class, context tier and variant.",
    "health": "Whether the service is running.",
    "docs": "The OpenAPI document, the page that shows it, and the console.",
}
JSON = "application/json"
HTML = "text/html"
TEXT = {"type": "string"}
REQUEST_ID = "6c1f3a52-0b0e-4c39-9c56-0f3b8f5d7a11"
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A repeat with the same key and body gets the first answer again and changes nothing.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
ERROR: Json = {
    "type": "object",
    "description": (
        "The body of every refusal. `details` has what a client needs to react. `details.errors` lists the "
        f"invalid fields, at most {MAX_NAMED}."
    ),
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
    "description": "The service is running.",
    "properties": {
        "status": {"const": "ok"},
        "service": {"const": "accounting-service"},
        "version": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
    },
    "required": ["status", "service", "version", "timestamp"],
}


def paths_without_a_router() -> Json:
    """The paths of the functions ``health`` and ``docs``, which have no router."""
    health = _open("getApiHealth", "Check that the service is running.", JSON, {"$ref": "#/components/schemas/Health"})
    screens = [name.removeprefix("screens/") for name in CONSOLE_ASSETS if name.startswith("screens/")]
    own = [name for name in CONSOLE_ASSETS if "/" not in name]
    operations = {
        "/api/health": health | {"tags": ["health"]},
        "/health": deepcopy(health) | {"tags": ["health"], "operationId": "getHealth"},
        "/api/openapi.json": _open("getApiOpenapiJson", "Return the OpenAPI document.", JSON, {"type": "object"}),
        "/api/docs": _open("getApiDocs", "Return the page that shows the OpenAPI document.", HTML, TEXT),
        "/api/docs/{asset}": _asset("getApiDocsAsset", "Return a script or a style sheet of the page.", ASSETS),
        "/api/console": _open("getApiConsole", "Return the console: a page that shows and moves credits.", HTML, TEXT),
        "/api/console/{version}/{asset}": _asset(
            "getApiConsoleAsset", "Return a script or a style sheet of the console.", own, "version"
        ),
        "/api/console/{version}/screens/{asset}": _asset(
            "getApiConsoleScreen", "Return the script of one of the console's screens.", screens, "version"
        ),
    }
    return {path: {"get": {"security": [], "tags": ["docs"], **each}} for path, each in operations.items()}


def _open(name: str, summary: str, content_type: str, schema: Json) -> Json:
    answer = {"description": summary, "content": {content_type: {"schema": schema}}}
    return {"operationId": name, "summary": summary, "responses": {"200": answer}}


def _asset(name: str, summary: str, files: Collection[str], *parameters: str) -> Json:
    """The route of the files with these names. `parameters` come before the file's name in the path."""
    operation = _open(name, summary, "text/javascript", TEXT)
    if any(file.endswith(".css") for file in files):
        operation["responses"]["200"]["content"]["text/css"] = {"schema": TEXT}
    schemas: Json = {**dict.fromkeys(parameters, TEXT), "asset": {"type": "string", "enum": sorted(files)}}
    operation["parameters"] = [
        {"name": parameter, "in": "path", "required": True, "schema": schema} for parameter, schema in schemas.items()
    ]
    return operation
