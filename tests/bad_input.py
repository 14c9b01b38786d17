"""Bad values for the fields of request bodies, and whole bodies that no route with required fields accepts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.client import MODEL


@dataclass(frozen=True)
class Raw:
    """A text that is put into a body unchanged, without ``json.dumps``. Some of these texts are not JSON."""

    text: str

    def __repr__(self) -> str:
        return self.text[:30]


SINCE = "2026-01-01T00:00:00.000Z"
MISSING = Raw("(missing)")
NOT_JSON = [Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("undefined"), Raw("1" * 5000), Raw("01"), Raw("'5'")]
NOT_A_SCALAR: list[Any] = [[], ["5"], [5], {}, {"$gt": 0}, {"__proto__": {"credits": 5}}]
NOT_A_NUMBER: list[Any] = ["5", "", "abc", "NaN", "Infinity", "__proto__", "constructor", True, False, *NOT_A_SCALAR]
NOT_AN_INTEGER: list[Any] = [
    *NOT_A_NUMBER,
    1.5,
    0.1,
    -0.5,
    1e300,
    -1e300,
    Raw("1e-7"),
    Raw("1e999"),
    Raw(f"1e{'9' * 19}"),
    *NOT_JSON,
]
TOO_BIG: list[Any] = [10**12 + 1, 2**63, 10**40, 10**300]
NOT_A_TEXT: list[Any] = [5, 1.5, 0, -1, True, False, *NOT_A_SCALAR, *NOT_JSON]
NOT_PRINTABLE = ["\x00", "a\x00b", "a\nb", "\x1b[2J", "a\x7f", Raw(r'"\ud800"'), Raw(r'"a\udfff"')]

# Most lists below are named after what a field must be: POSITIVE has the bad values of a field that must be positive.
POSITIVE = [MISSING, None, *NOT_AN_INTEGER, *TOO_BIG, 0, -1, -(10**300)]
NOT_NEGATIVE = [bad for bad in POSITIVE if bad is False or bad != 0]
NOT_ZERO = [bad for bad in POSITIVE if bad != -1]
TOKENS = [*NOT_NEGATIVE, 10**9 + 1]
EXPIRY_DAYS = [bad for bad in [*POSITIVE, 3651] if bad not in (MISSING, None)]
NOTES = [*NOT_A_TEXT, "x" * 1001, *(bad for bad in NOT_PRINTABLE if bad != "a\nb"), "a\x85b"]
FLAG = [None, 0, 1, "true", "false", "", 1.5, *NOT_A_SCALAR, *NOT_JSON]
IDENTIFIER = [
    *(MISSING, None, "", " ", "a b", "ä", "☺", "a\n", "a" * 101, "a" * 200, "a#b", "a?b", "__proto__", "constructor"),
    *NOT_A_TEXT,
    *NOT_PRINTABLE,
]
OPTIONAL_ID = [bad for bad in IDENTIFIER if bad not in (MISSING, None)]
USER = [MISSING, None, "", "x" * 255, *NOT_A_TEXT, *NOT_PRINTABLE]
UNKNOWN_USER = [
    "x" * 200,
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "5",
    "null",
    "../admin",
    "ä☺",
    "%00",
    " ",
]
"""Ids that no user has."""

ALLOCATE = ("POST", "credits/allocate", {"userId": "{self}", "credits": 5, "expiryDays": 5, "notes": "x"})
SET = ("POST", "credits/set", {"userId": "{self}", "credits": 5, "expiryDays": 5, "notes": "x"})
REMOVE = ("DELETE", "credits/remove", {"userId": "{self}", "credits": 5, "notes": "x"})
ADJUST = ("PUT", "credits/adjust", {"userId": "{self}", "adjustment": 5, "expiryDays": 5, "notes": "x"})
CHECK = ("POST", "credits/check", {"requiredCredits": 5})
CALCULATE = ("POST", "credits/calculate", {"modelId": MODEL, "tokens": 5})
INITIALIZE = (
    "POST",
    "streaming-sessions/initialize",
    {"sessionId": "new", "modelId": MODEL, "estimatedTokens": 5},
)
PREVIEW = ("POST", "streaming-sessions/preview", {"modelId": MODEL, "estimatedTokens": 5})
HEARTBEAT = ("POST", "streaming-sessions/heartbeat", {"sessionId": "{session}", "tokensGenerated": 5})
FINALIZE = ("POST", "streaming-sessions/finalize", {"sessionId": "{session}", "actualTokens": 5, "success": True})
ABORT = ("POST", "streaming-sessions/abort", {"sessionId": "{session}", "tokensGenerated": 5})

RECORD = ("POST", "usage/record", {"service": "s", "operation": "o", "credits": 5, "metadata": {}, "deduct": True})
CREATE_KEY = ("POST", "api-keys", {"name": "a key", "permissions": ["credits:read"], "expiryDays": 5})
CHANGE_KEY = ("PUT", "api-keys/{key}", {"name": "new", "permissions": ["credits:read"], "isActive": False})
VALIDATE_KEY = ("POST", "api-keys/validate", {"key": "acct_id_secret"})
CREATE_SERVICE = ("POST", "service-credentials", {"name": "a service", "rights": ["read"]})
CHANGE_SERVICE = ("PUT", "service-credentials/{service}", {"name": "new", "rights": ["usage"], "endPrevious": True})
ROTATE_SERVICE = ("POST", "service-credentials/{service}/rotate", {"overlapHours": 5, "keep": "current"})
ADD_PRICE = ("POST", "pricing", {"modelId": "{model}", "pricePerThousandTokens": 1.5, "effectiveFrom": "2026-01-02"})
FORCE_END = ("POST", "streaming-sessions/{self}/{session}/end", {"reason": "stuck"})
END_PRICE = ("PUT", f"pricing/{{model}}/{SINCE}", {"effectiveTo": "2026-03-01"})
SYNC = ("POST", "users/sync", {"userId": "{self}", "email": "new@example.com", "username": "New", "role": "user"})

CREATE_ORGANIZATION = ("POST", "organizations", {"name": "Acme", "ownerId": "{self}"})
RENAME = ("PUT", "organizations/{organization}", {"name": "new"})
SET_MEMBER = ("PUT", "organizations/{organization}/members/{other}", {"role": "member"})
CLOSE = ("POST", "organizations/{organization}/close", {"transferTo": "user:nobody"})
SET_BUDGET = (
    "PUT",
    "budgets/{account}/members",
    {"limitCredits": 5, "window": "month", "timeZone": "Europe/Berlin", "warnAtPercent": [50, 80]},
)
BEGIN_RUN = (
    "POST",
    "runs",
    {"runId": "new", "limitCredits": 5, "accountId": "{account}", "metadata": {}},
)

DISABLE = ("POST", "users/{other}/disable", {"reason": "left"})

ACCOUNT = ["", "x", "{self}", "user:", "org:", "org:a b", "ORG:a", f"org:{'a' * 27}", f"user:{'x' * 129}", *NOT_A_TEXT]
EMAIL = [MISSING, None, "", "x", "@", "a@", "@b", "a b@c", "a@b@c", f"{'x' * 251}@b.c", *NOT_A_TEXT, *NOT_PRINTABLE]
ROLE = ["", "root", "Admin", " user", *NOT_A_TEXT]
LABEL = [MISSING, None, "", "x" * 101, "__proto__", "constructor", *NOT_A_TEXT, *NOT_PRINTABLE]
NAME = [bad for bad in LABEL if bad not in ("__proto__", "constructor")]
LONE_SURROGATES = [Raw(r'{"x": "\ud800"}'), Raw(r'{"\udfff": 1}'), Raw(r'{"x": [{"y": "a\uDBFFb"}]}')]
METADATA = [
    *(5, "{}", True, [], [{}], *NOT_JSON, *LONE_SURROGATES, {"x": "y" * 4100}, {"x": "漢" * 1366}),
    *(Raw('{"x": 1e400}'), Raw('{"x": -1e400}'), Raw('{"x": 1e-400}'), Raw('{"x": [0.1, 1e309]}')),
    *(Raw(f'{{"x": 1e-{"9" * 19}}}'), Raw('{"x": 9007199254740993.0}'), Raw('{"x": 1.00000000000000000001}')),
    *(Raw('{"x":' + "[" * 32 + "]" * 32 + "}"), Raw('{"x":' * 500 + "1" + "}" * 500)),
]
MODEL_ID = [*(bad for bad in IDENTIFIER if bad not in ("a" * 101, "a" * 200)), "a" * 257]
PERMISSIONS = [5, "credits:read", True, {}, {"0": "credits:read"}, ["credits:read"] * 33, *NOT_JSON]
RIGHTS = [5, "read", True, {}, [], ["read"] * 6, *NOT_JSON]
PRICE = [
    *(MISSING, None, True, False, "", "abc", "NaN", "Infinity", "-1", -1, -0.5, 0.00001, "0.00001", 1e-5, 10**6 + 1),
    *(10**300, 1e300, "1,5", "1_0", "1.", ".5", " 1", "1 ", "+1", "1e2", "\u0663", "1000000.0", "0x1", "1\n"),
    *(*NOT_A_SCALAR, *NOT_JSON),
]
TIMESTAMP = [
    *("20271231", "2027-W10-1", "2027%2D12%2D31", "2027-12-31T00:00:00,5Z", "2027-12-31T00:00Z"),
    *(5, True, "", "yesterday", "2026-13-01", "1969-12-31", "2026-01-01T25:00:00Z", "x" * 41, *NOT_A_SCALAR),
]
INSTANT = [bad for bad in TIMESTAMP if bad is not None]
WINDOW = [MISSING, None, "", "year", "Day", " day", "days", "__proto__", *NOT_A_TEXT, *NOT_PRINTABLE]
TIME_ZONE = [
    *(
        "",
        " ",
        "Mars",
        "Europe",
        "europe/Berlin",
        "Europe/Berlin ",
        "UTC\n",
        "../etc/passwd",
        "/etc/localtime",
        "+01:00",
    ),
    *("x" * 65, "Europe/Bérlin", "__proto__", *NOT_A_TEXT, *NOT_PRINTABLE),
]
PERCENTAGES = [
    *(
        50,
        "50",
        True,
        {},
        {"0": 50},
        [0],
        [101],
        [-1],
        [50.5],
        ["50"],
        [True],
        [None],
        [[50]],
        [{}],
        [1, 2, 3, 4, 5, 6],
    ),
    *([10**300], Raw("[NaN]"), Raw("[1e999]"), *NOT_JSON),
]

WITH_BODIES = [
    ALLOCATE,
    SET,
    REMOVE,
    ADJUST,
    CHECK,
    CALCULATE,
    INITIALIZE,
    PREVIEW,
    HEARTBEAT,
    FINALIZE,
    ABORT,
    FORCE_END,
    RECORD,
    CREATE_KEY,
    CHANGE_KEY,
    VALIDATE_KEY,
    CREATE_SERVICE,
    CHANGE_SERVICE,
    ADD_PRICE,
    END_PRICE,
    SYNC,
    CREATE_ORGANIZATION,
    RENAME,
    SET_MEMBER,
    SET_BUDGET,
    BEGIN_RUN,
]
COMMANDS = [ALLOCATE, SET, REMOVE, ADJUST]
REPORTS = [HEARTBEAT, FINALIZE, ABORT]
QUESTIONS = [CHECK, CALCULATE, VALIDATE_KEY]
STRICT = [*(route for route in WITH_BODIES if route not in (*REPORTS, *QUESTIONS)), ROTATE_SERVICE, CLOSE]
"""The routes that refuse unknown fields."""

type Route = tuple[str, str, dict[str, Any]]

FIELDS: list[tuple[Route, str, list[Any]]] = [
    *((route, "userId", USER) for route in COMMANDS),
    *((route, "accountId", ACCOUNT) for route in COMMANDS),
    (CHECK, "accountId", ACCOUNT),
    (CREATE_KEY, "accountId", ACCOUNT),
    (CREATE_ORGANIZATION, "name", NAME),
    (CREATE_ORGANIZATION, "ownerId", USER),
    (RENAME, "name", NAME),
    (SET_MEMBER, "role", [MISSING, None, *ROLE]),
    *((route, "accountId", ACCOUNT) for route in (INITIALIZE, PREVIEW, RECORD, BEGIN_RUN)),
    *((route, "runId", OPTIONAL_ID) for route in (INITIALIZE, PREVIEW, RECORD)),
    (PREVIEW, "keyId", OPTIONAL_ID),
    (PREVIEW, "userId", [bad for bad in USER if bad not in (MISSING, None)]),
    (PREVIEW, "modelId", MODEL_ID),
    (PREVIEW, "estimatedTokens", [*TOKENS, 0]),
    (SET_BUDGET, "limitCredits", NOT_NEGATIVE),
    (SET_BUDGET, "window", WINDOW),
    (SET_BUDGET, "timeZone", TIME_ZONE),
    (SET_BUDGET, "warnAtPercent", PERCENTAGES),
    (BEGIN_RUN, "runId", IDENTIFIER),
    (BEGIN_RUN, "limitCredits", POSITIVE),
    (BEGIN_RUN, "expiresAt", [*INSTANT, "2026-01-01", "9999-12-31", "-1"]),
    (BEGIN_RUN, "metadata", METADATA),
    (CLOSE, "transferTo", [*ACCOUNT, "user:nobody", "org:NONE"]),
    *((route, "notes", NOTES) for route in COMMANDS),
    *((route, "expiryDays", EXPIRY_DAYS) for route in (ALLOCATE, SET, ADJUST)),
    (ALLOCATE, "credits", POSITIVE),
    (SET, "credits", NOT_NEGATIVE),
    (REMOVE, "credits", POSITIVE),
    (ADJUST, "adjustment", NOT_ZERO),
    (CHECK, "requiredCredits", NOT_NEGATIVE),
    (CALCULATE, "modelId", MODEL_ID),
    (CALCULATE, "tokens", TOKENS),
    (INITIALIZE, "sessionId", IDENTIFIER),
    (INITIALIZE, "modelId", MODEL_ID),
    (INITIALIZE, "estimatedTokens", [*TOKENS, 0]),
    (HEARTBEAT, "sessionId", IDENTIFIER),
    (HEARTBEAT, "tokensGenerated", TOKENS),
    (FINALIZE, "sessionId", IDENTIFIER),
    (FINALIZE, "actualTokens", TOKENS),
    (FINALIZE, "success", FLAG[1:]),
    (ABORT, "sessionId", IDENTIFIER),
    (ABORT, "tokensGenerated", [bad for bad in TOKENS if bad not in (MISSING, None)]),
    (FORCE_END, "reason", [MISSING, None, "", "x" * 1001, *NOT_A_TEXT]),
    (RECORD, "service", [*LABEL, "x" * 51, "漢" * 17]),
    (RECORD, "operation", [*LABEL, "漢" * 34]),
    (RECORD, "credits", NOT_NEGATIVE),
    (RECORD, "metadata", METADATA),
    (RECORD, "deduct", FLAG[1:]),
    (CREATE_KEY, "name", [*NAME, "漢" * 34]),
    (CREATE_KEY, "permissions", PERMISSIONS),
    (CREATE_KEY, "expiryDays", EXPIRY_DAYS),
    (CHANGE_KEY, "name", [bad for bad in NAME if bad not in (MISSING, None)]),
    (CHANGE_KEY, "permissions", PERMISSIONS),
    (CHANGE_KEY, "isActive", FLAG[1:]),
    (VALIDATE_KEY, "key", [MISSING, None, "", "x" * 257, *NOT_A_TEXT, *NOT_PRINTABLE]),
    (CREATE_SERVICE, "name", NAME),
    (CREATE_SERVICE, "rights", [MISSING, None, *RIGHTS]),
    (CHANGE_SERVICE, "name", [bad for bad in NAME if bad not in (MISSING, None)]),
    (CHANGE_SERVICE, "rights", RIGHTS),
    (CHANGE_SERVICE, "endPrevious", FLAG[1:]),
    (ROTATE_SERVICE, "overlapHours", [*(bad for bad in EXPIRY_DAYS if bad != 0), -1, 721]),
    (ROTATE_SERVICE, "keep", ROLE),
    (DISABLE, "reason", [bad for bad in NOTES if bad is not MISSING]),
    (
        SYNC,
        "userId",
        [MISSING, None, "", "x" * 129, "all", "me", "sync", "__proto__", "constructor", *NOT_A_TEXT, *NOT_PRINTABLE],
    ),
    (SYNC, "email", EMAIL),
    (SYNC, "username", NAME),
    (SYNC, "role", ROLE),
    (ADD_PRICE, "modelId", MODEL_ID),
    (ADD_PRICE, "pricePerThousandTokens", PRICE),
    (ADD_PRICE, "effectiveFrom", TIMESTAMP),
    (ADD_PRICE, "effectiveTo", TIMESTAMP),
    (END_PRICE, "effectiveTo", [MISSING, None, SINCE, "2025-12-31", *TIMESTAMP]),
]

BAD_BODIES = [
    *(b"", b"  \n", b"null", b"5", b'"credits"', b"true", b"[]", b"{}"),
    *(b'{"userId": ', b'{"credits": 5,}', b"{'credits': 5}", b"{} {}", b"{} // yes", b'{"credits": NaN}'),
    *(b'{"notes": "\xff\xfe"}', '{"credits": 5}'.encode("utf-16"), b"\x00" * 100, b"\x1f\x8b\x08\x00"),
    *(b"[" * 30_000, b"[" * 30_000 + b"]" * 30_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    *(b"userId=somebody&credits=5", b"<credits>5</credits>"),
]


def one_quick_case_per_function[*Case](cases: Sequence[tuple[*Case]], path_of: Callable[[Any], str]) -> list[Any]:
    """Return the cases as parameters of a test. All but the first case of each Lambda function are marked as slow.

    They add little, because a function reads every body, query and path with the same code. A path's first part tells
    which function it belongs to.
    """
    first = {path_of(case).partition("/")[0]: case for case in reversed(cases)}.values()
    return [pytest.param(*case, marks=() if case in first else pytest.mark.slow) for case in cases]


def by_function(routes: Sequence[tuple[str, str, Any]]) -> list[Any]:
    """Call ``one_quick_case_per_function`` for a test whose only parameter is a route."""
    return one_quick_case_per_function([(route,) for route in routes], lambda case: case[0][1])


def text_of(body: dict[str, Any], names: dict[str, str]) -> bytes:
    """Return a body as JSON. Raw texts stay as they are. ``names`` maps placeholders, such as ``{self}``, to values."""
    fields = []
    for field, value in body.items():
        if value is MISSING:
            continue
        plain = names.get(value, value) if isinstance(value, str) else value
        fields.append(f'"{field}": {plain.text if isinstance(plain, Raw) else json.dumps(plain)}')
    return f"{{{', '.join(fields)}}}".encode()


def fields_named(errors: list[dict[str, str]]) -> list[str]:
    """Return the fields that a refusal names, without positions in lists: ``warnAtPercent`` for ``warnAtPercent.0``."""
    return [error["field"].split(".")[0] for error in errors]


def is_json(body: bytes) -> bool:
    try:
        json.loads(body, parse_constant=_no_such_constant)
    except ValueError:
        return False
    return True


def _no_such_constant(name: str) -> None:
    raise ValueError(name)


def route_id(value: Any) -> str | None:
    """Return what pytest shows for a parameter: a route's path, or a field's name."""
    return str(value[1]) if isinstance(value, tuple) else value if isinstance(value, str) else None
