"""What the routes' decorators declare, and what follows for the API document: error codes and texts about access."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from accounting.web.access import WITHOUT_CALLER, Access, Disabled, Who
from accounting.web.sight import Sight
from local.openapi_texts import paths_without_a_router
from local.paths import FUNCTIONS

if TYPE_CHECKING:
    from accounting.web.api import Api
    from accounting.web.route import Route

type Operation = tuple[str, str]
"""A method in lower case and a path, as in the API document."""

ALWAYS = (
    "VALIDATION_ERROR",
    "PAYLOAD_TOO_LARGE",
    "RATE_LIMITED",
    "INTERNAL_ERROR",
    "CONTENTION",
    "UNAVAILABLE",
    "TIMEOUT",
)
"""The error codes of all routes. Exception: routes that anybody may call lack ``_NOT_OF_OPEN_ROUTES``."""
_NOT_OF_OPEN_ROUTES = ("VALIDATION_ERROR", "CONTENTION")
"""Routes that anybody may call read no body and no table, so they cannot answer with these codes."""
_CREDENTIAL_CODES = (
    "TOKEN_REQUIRED", "TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_TYPE_INVALID", "API_KEY_INVALID",
    "SERVICE_CREDENTIAL_INVALID", "FORBIDDEN", "USER_DISABLED",
)  # fmt: skip
_CALLER_CODES = {Who.ANYBODY: (), Who.PLATFORM: ("TOKEN_REQUIRED", "API_KEY_INVALID")}


class Declaration(NamedTuple):
    """What a route declares besides its models. ``takes_key`` means that it takes an idempotency key."""

    access: Access
    codes: tuple[str, ...] = ()
    takes_key: bool = False


@cache
def apis() -> dict[str, Api]:
    """The ``Api`` of each function that has one, by the name of the function's folder."""
    names = sorted(path.parent.name for path in FUNCTIONS.glob("*/app.py"))
    found = {name: getattr(import_module(f"functions.{name}.app"), "api", None) for name in names}
    return {name: api for name, api in found.items() if api is not None}


@cache
def declared() -> dict[Operation, Declaration]:
    """What every route declares."""
    routes = [route for api in apis().values() for route in api.routes]
    return {
        **{("get", path): Declaration(Access(Who.ANYBODY)) for path in paths_without_a_router()},
        **{(route.method.lower(), route.path): _declaration_of(route) for route in routes},
    }


def _declaration_of(route: Route) -> Declaration:
    """A route's declaration, with the error codes that follow from it."""
    implied = [
        ("USER_NOT_FOUND", route.names_user),
        ("IDEMPOTENCY_CONFLICT", bool(route.idempotency)),
        ("ACCOUNT_NOT_FOUND", route.access.sight is not None),
    ]
    codes = (*route.codes, *(code for code, applies in implied if applies))
    return Declaration(route.access, codes, takes_key=bool(route.idempotency))


def codes_of(operation: Operation) -> set[str]:
    """Every error code that a route may answer with.

    A path with a parameter adds ROUTE_NOT_FOUND: a value with an unencoded ``/`` matches no route.
    """
    access, codes, _ = declared()[operation]
    never: tuple[str, ...] = _NOT_OF_OPEN_ROUTES if access.who is Who.ANYBODY else ()
    if access.disabled is Disabled.SERVED:
        never = ("USER_DISABLED",)
    right_codes = ("RIGHT_MISSING",) if access.right else ()
    path_codes = ("ROUTE_NOT_FOUND",) if "{" in operation[1] else ()
    return {*ALWAYS, *_CALLER_CODES.get(access.who, _CREDENTIAL_CODES), *right_codes, *path_codes, *codes} - {*never}


def in_words(access: Access) -> str:
    """A paragraph of Markdown that says who may call a route, and with which credentials."""
    text = f"**Who:** {access.who}."
    if isinstance(access.sight, Sight) and access.sight.least and access.who is Who.USERS:
        members = "members" if access.sight.least == "member" else "owners and admins"
        others = "; supervisors and administrators may call it for every account" if access.sight.others else ""
        text += f" With `accountId`, {members} of the organization may call it{others}."
    if access.permission:
        text += f" An API key needs the permission `{access.permission}`. It acts for its owner, in the role `user`."
    elif access.who not in WITHOUT_CALLER:
        text += " It takes a token, not an API key."
    if access.right:
        text += f" A service with the right `{access.right}` may call it for the user in `X-On-Behalf-Of`."
    if access.service_key:
        text += " If the stack has `RequireServiceKey`, tokens and API keys need `X-Internal-Api-Key` too."
    return text
