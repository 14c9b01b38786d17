"""What the handlers' models do not say of a route: who may call it, and which of the codes it may be refused with.

`local/openapi.py` puts it into the document; the tests compare it with what the service does. Standard library only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

type Operation = tuple[str, str]
"""A method in small letters and a path, as the document has them."""


class Who(StrEnum):
    """Who may call a route, in words."""

    ANYBODY = "anybody, without a token"
    USERS = "every user, about themselves"
    SUPERVISORS = "supervisors and administrators"
    ADMINISTRATORS = "administrators"
    SELF_OR_SUPERVISORS = "users about themselves; supervisors and administrators about anybody"
    SELF_OR_ADMINISTRATORS = "users about themselves; administrators about anybody"
    PLATFORM = "the platform's own services, with the internal key"


class About(NamedTuple):
    """Who may call a route, what of an API key it needs (None: it takes none), and the codes that are its own."""

    who: Who
    permission: str | None = None
    codes: tuple[str, ...] = ()
    service_key: bool = False
    """Whether ``RequireServiceKey`` is about it."""


_CREDITS, _SESSIONS = "credits:read", "sessions:write"
_COMMAND = ("USER_NOT_FOUND", "IDEMPOTENCY_CONFLICT")
_ALL_IDS = ("USER_NOT_FOUND",)

ROUTES: dict[Operation, About] = {
    ("get", "/api/health"): About(Who.ANYBODY),
    ("get", "/health"): About(Who.ANYBODY),
    ("get", "/api/openapi.json"): About(Who.ANYBODY),
    ("get", "/api/docs"): About(Who.ANYBODY),
    ("get", "/api/docs/{asset}"): About(Who.ANYBODY, codes=("ROUTE_NOT_FOUND",)),
    ("get", "/api/credits/balance"): About(Who.USERS, _CREDITS),
    ("get", "/api/credits/balance/{userId}"): About(Who.SUPERVISORS, codes=_ALL_IDS),
    ("post", "/api/credits/check"): About(Who.USERS, _CREDITS),
    ("post", "/api/credits/calculate"): About(Who.USERS, _CREDITS),
    ("post", "/api/credits/allocate"): About(Who.SUPERVISORS, codes=(*_COMMAND, "TOO_MANY_ALLOCATIONS")),
    ("post", "/api/credits/set"): About(Who.SUPERVISORS, codes=(*_COMMAND, "TOO_MANY_ALLOCATIONS")),
    ("delete", "/api/credits/remove"): About(Who.SUPERVISORS, codes=(*_COMMAND, "INSUFFICIENT_CREDITS")),
    ("put", "/api/credits/adjust"): About(
        Who.SUPERVISORS, codes=(*_COMMAND, "INSUFFICIENT_CREDITS", "TOO_MANY_ALLOCATIONS")
    ),
    ("get", "/api/credits/allocations"): About(Who.USERS, _CREDITS),
    ("get", "/api/credits/allocations/{userId}"): About(Who.SELF_OR_ADMINISTRATORS, _CREDITS, _ALL_IDS),
    ("get", "/api/credits/ledger"): About(Who.USERS, _CREDITS),
    ("get", "/api/credits/ledger/{userId}"): About(Who.SUPERVISORS, codes=_ALL_IDS),
    ("get", "/api/credits/audit/{userId}"): About(Who.ADMINISTRATORS, codes=_ALL_IDS),
    ("post", "/api/streaming-sessions/initialize"): About(
        Who.USERS, _SESSIONS, ("INSUFFICIENT_CREDITS", "SESSION_EXISTS", "SESSION_ENDED"), service_key=True
    ),
    ("post", "/api/streaming-sessions/heartbeat"): About(
        Who.USERS, _SESSIONS, ("INSUFFICIENT_CREDITS", "SESSION_NOT_ACTIVE"), service_key=True
    ),
    ("post", "/api/streaming-sessions/finalize"): About(
        Who.USERS, _SESSIONS, ("SESSION_NOT_ACTIVE",), service_key=True
    ),
    ("post", "/api/streaming-sessions/abort"): About(Who.USERS, _SESSIONS, ("SESSION_NOT_ACTIVE",), service_key=True),
    ("post", "/api/streaming-sessions/{userId}/{sessionId}/end"): About(
        Who.SUPERVISORS, codes=("USER_NOT_FOUND", "SESSION_NOT_ACTIVE")
    ),
    ("get", "/api/streaming-sessions/active"): About(Who.USERS, _SESSIONS),
    ("get", "/api/streaming-sessions/active/{userId}"): About(Who.SELF_OR_SUPERVISORS, _SESSIONS, _ALL_IDS),
    ("get", "/api/streaming-sessions/active/all"): About(Who.ADMINISTRATORS),
    ("get", "/api/streaming-sessions/recent"): About(Who.SUPERVISORS),
    ("get", "/api/streaming-sessions/recent/{userId}"): About(Who.SUPERVISORS, codes=_ALL_IDS),
    ("post", "/api/usage/record"): About(
        Who.USERS, "usage:write", ("INSUFFICIENT_CREDITS", "IDEMPOTENCY_CONFLICT"), service_key=True
    ),
    ("get", "/api/usage/stats"): About(Who.USERS, "usage:read"),
    ("get", "/api/usage/stats/{userId}"): About(Who.SELF_OR_SUPERVISORS, "usage:read", _ALL_IDS),
    ("get", "/api/usage/system-stats"): About(Who.ADMINISTRATORS),
    ("get", "/api/usage/system"): About(Who.ADMINISTRATORS),
    ("get", "/api/users/me"): About(Who.USERS),
    ("get", "/api/users/{userId}"): About(Who.SELF_OR_ADMINISTRATORS, codes=_ALL_IDS),
    ("get", "/api/users"): About(Who.ADMINISTRATORS),
    ("post", "/api/users/{userId}/disable"): About(Who.ADMINISTRATORS, codes=_ALL_IDS),
    ("post", "/api/users/{userId}/enable"): About(Who.ADMINISTRATORS, codes=_ALL_IDS),
    ("post", "/api/users/sync"): About(Who.PLATFORM),
    ("post", "/api/api-keys"): About(Who.USERS, codes=("IDEMPOTENCY_CONFLICT", "TOO_MANY_API_KEYS")),
    ("get", "/api/api-keys"): About(Who.SELF_OR_ADMINISTRATORS, codes=_ALL_IDS),
    ("put", "/api/api-keys/{keyId}"): About(Who.USERS, codes=("API_KEY_NOT_FOUND",)),
    ("post", "/api/api-keys/{keyId}/revoke"): About(Who.SELF_OR_ADMINISTRATORS, codes=("API_KEY_NOT_FOUND",)),
    ("delete", "/api/api-keys/{keyId}"): About(Who.SELF_OR_ADMINISTRATORS, codes=("API_KEY_NOT_FOUND",)),
    ("post", "/api/api-keys/validate"): About(Who.PLATFORM),
    ("get", "/api/pricing"): About(Who.USERS, _CREDITS),
    ("get", "/api/pricing/{modelId}"): About(Who.USERS, _CREDITS),
    ("post", "/api/pricing"): About(Who.ADMINISTRATORS, codes=("PRICE_EXISTS", "IDEMPOTENCY_CONFLICT")),
    ("put", "/api/pricing/{modelId}/{effectiveFrom}"): About(
        Who.ADMINISTRATORS, codes=("PRICE_NOT_FOUND", "PRICE_ENDED")
    ),
    ("delete", "/api/pricing/{modelId}/{effectiveFrom}"): About(
        Who.ADMINISTRATORS, codes=("PRICE_NOT_FOUND", "PRICE_BEGUN")
    ),
}

ALWAYS = (
    "VALIDATION_ERROR",
    "PAYLOAD_TOO_LARGE",
    "RATE_LIMITED",
    "INTERNAL_ERROR",
    "CONTENTION",
    "UNAVAILABLE",
    "TIMEOUT",
)
"""What any route may be refused with that reads a request and has a table: all but the open ones."""
_EVEN_OF_DISABLED_USERS = {
    ("post", "/api/streaming-sessions/finalize"),
    ("post", "/api/streaming-sessions/abort"),
}
"""What a disabled user may still do."""
_NOT_OF_OPEN_ROUTES = ("VALIDATION_ERROR", "CONTENTION")
_OF_TOKENS = (
    "TOKEN_REQUIRED", "TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_TYPE_INVALID", "API_KEY_INVALID", "FORBIDDEN",
    "USER_DISABLED",
)  # fmt: skip
_OF_THE_INTERNAL_KEY = ("TOKEN_REQUIRED", "API_KEY_INVALID")


def codes_of(operation: Operation) -> set[str]:
    """Every code that a route may be refused with.

    Where the path has a parameter, one of its values may make it no route at all: that with a bare ``/``.
    """
    about, path = ROUTES[operation], operation[1]
    never: tuple[str, ...] = _NOT_OF_OPEN_ROUTES if about.who is Who.ANYBODY else ()
    of_the_caller = {Who.ANYBODY: (), Who.PLATFORM: _OF_THE_INTERNAL_KEY}.get(about.who, _OF_TOKENS)
    of_the_path = ("ROUTE_NOT_FOUND",) if "{" in path else ()
    if operation in _EVEN_OF_DISABLED_USERS:
        never = ("USER_DISABLED",)
    return {*ALWAYS, *of_the_caller, *of_the_path, *about.codes} - {*never}


def in_words(operation: Operation) -> str:
    """Who may call a route, and with which API key; a paragraph of Markdown."""
    about = ROUTES[operation]
    said = f"**Who:** {about.who}."
    if about.permission:
        said += f" An API key needs the permission `{about.permission}`, and tells of its owner only."
    elif about.who not in (Who.ANYBODY, Who.PLATFORM):
        said += " It takes a token, not an API key."
    if about.service_key:
        said += " Where the stack has `RequireServiceKey`, it needs `X-Internal-Api-Key` too."
    return said
