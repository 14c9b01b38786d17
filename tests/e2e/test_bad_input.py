"""Bad input of any kind, in every field of every route, is a 4xx of the one error shape, and moves nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.e2e.books import items_of, items_under
from tests.e2e.client import MODEL, Person, assert_refused, described, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.books import Item
    from tests.e2e.conftest import People


@dataclass(frozen=True)
class Raw:
    """JSON text that ``json.dumps`` can't or won't make of a value."""

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

WITH_BODIES = [
    ALLOCATE,
    SET,
    REMOVE,
    ADJUST,
    CHECK,
    CALCULATE,
    INITIALIZE,
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
]
COMMANDS = [ALLOCATE, SET, REMOVE, ADJUST]
REPORTS = [HEARTBEAT, FINALIZE, ABORT]
QUESTIONS = [CHECK, CALCULATE, VALIDATE_KEY]
STRICT = [*(route for route in WITH_BODIES if route not in (*REPORTS, *QUESTIONS)), ROTATE_SERVICE, CLOSE]

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

NO_BODIES = [
    *(b"", b"  \n", b"null", b"5", b'"credits"', b"true", b"[]", b"{}"),
    *(b'{"userId": ', b'{"credits": 5,}', b"{'credits': 5}", b"{} {}", b"{} // yes", b'{"credits": NaN}'),
    *(b'{"notes": "\xff\xfe"}', '{"credits": 5}'.encode("utf-16"), b"\x00" * 100, b"\x1f\x8b\x08\x00"),
    *(b"[" * 30_000, b"[" * 30_000 + b"]" * 30_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    *(b"userId=somebody&credits=5", b"<credits>5</credits>"),
]


@dataclass(frozen=True)
class Target(Person):
    """Somebody with everything that a request can be about, who may send any of them."""

    internal_key: str
    names: dict[str, str]
    """Placeholders in routes and bodies for things of the person."""

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        for name, value in self.names.items():
            path = path.replace(name, value)
        headers = {"X-Internal-Api-Key": self.internal_key, **options.pop("headers", {})}
        return super().call(method, path, body, headers=headers, **options)


@pytest.fixture(scope="module")
def person(service: Stack, people: People) -> Target:
    """Return an administrator with credits, an active session, a key and a price, whom all the bad input is about."""
    admin, model = people("admin", credits=1000), new_id("model")
    rule = {"modelId": model, "pricePerThousandTokens": 1, "effectiveFrom": SINCE}
    admin.ok("POST", "pricing", rule)
    names = {
        "{self}": admin.id,
        "{session}": admin.open(10_000),
        "{key}": admin.ok("POST", "api-keys", {"name": "a key"})["id"],
        "{model}": model,
        "{service}": admin.ok("POST", "service-credentials", {"name": "a service", "rights": ["read"]})["id"],
        "{other}": people().id,
        "{organization}": admin.ok("POST", "organizations", {"name": "Acme", "ownerId": admin.id})["organizationId"],
    }
    return Target(admin.http, admin.id, admin.token, service.internal_api_key, names)


@contextmanager
def _nothing_moves(service: Stack, person: Target) -> Iterator[None]:
    """Assert that everything the table holds of somebody is the same after the block."""
    before = _everything(service, person)
    yield
    assert _everything(service, person) == before


def _everything(service: Stack, person: Target) -> list[list[Item]]:
    kept = (("KEY", "{key}"), ("PRICE", "{model}"), ("SERVICE", "{service}"), ("ORG", "{organization}"))
    partitions = (f"EMAIL#{person.email}", *(f"{kind}#{person.names[name]}" for kind, name in kept))
    return [items_of(service, person.id), *(items_under(service, pk) for pk in (*partitions, "EMAIL#new@example.com"))]


def _text(person: Target, body: dict[str, Any]) -> bytes:
    """Return a body as JSON, with raw texts as they are."""
    fields = []
    for field, value in body.items():
        if value is MISSING:
            continue
        plain = person.names.get(value, value) if isinstance(value, str) else value
        fields.append(f'"{field}": {plain.text if isinstance(plain, Raw) else json.dumps(plain)}')
    return f"{{{', '.join(fields)}}}".encode()


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body, parse_constant=_no_such_constant)
    except ValueError:
        return False
    return True


def _no_such_constant(name: str) -> None:
    raise ValueError(name)


def _route_id(value: Any) -> str | None:
    return str(value[1]) if isinstance(value, tuple) else value if isinstance(value, str) else None


@pytest.mark.parametrize(("route", "field", "values"), [pytest.param(*case, id=None) for case in FIELDS], ids=_route_id)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    service: Stack, person: Target, route: Route, field: str, values: list[Any]
) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for value in values:
            body = _text(person, {**good, field: value})
            answer = person.call(method, path, body)
            details = assert_refused(answer, 400, "VALIDATION_ERROR")
            if _is_json(body):
                named = [error["field"] for error in details["errors"]]
                assert named == [field], (value, described(answer))


@pytest.mark.parametrize("route", STRICT, ids=_route_id)
def test_a_command_refuses_what_it_does_not_know_and_names_it(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for name in ("expiryDay", "Credits", "user_id", "__proto__", "toString", "", "ä", "body", "query", "header"):
            in_body = person.call(method, path, _text(person, {**good, name: 1}))
            in_query = person.call(method, path, _text(person, good), params={name or "x": "1"})
            for answer, named in ((in_body, name), (in_query, name or "x")):
                details = assert_refused(answer, 400, "VALIDATION_ERROR")
                assert details["errors"] == [{"field": named, "problem": "unknown field"}], described(answer)


@pytest.mark.parametrize(
    "route",
    [
        *(("POST", "api-keys/{key}/revoke"), ("DELETE", "api-keys/{key}"), ("POST", "users/{other}/enable")),
        *(("DELETE", f"pricing/{{model}}/{SINCE}"), ("DELETE", "service-credentials/{service}")),
        ("DELETE", "organizations/{organization}/members/{other}"),
    ],
)
def test_a_command_without_a_body_refuses_unknown_names(service: Stack, person: Target, route: tuple[str, str]) -> None:
    with _nothing_moves(service, person):
        for answer in (person.call(*route, params={"dryRun": "true"}), person.call(*route, {"dryRun": True})):
            assert assert_refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["field"] == "dryRun"


@pytest.mark.parametrize("route", QUESTIONS, ids=_route_id)
def test_a_question_may_have_more_than_it_needs(person: Target, route: Route) -> None:
    method, path, good = route

    answer = person.call(method, path, _text(person, {**good, "more": 1}), params={"more": "1"})

    assert answer.json() == person.call(method, path, _text(person, good)).json()


@pytest.mark.parametrize(("route", "field"), [(ALLOCATE, "credits"), (SET, "credits"), (ADJUST, "adjustment")])
def test_an_expiry_is_one_instant_in_the_future(service: Stack, person: Target, route: Route, field: str) -> None:
    method, path, _ = route
    with _nothing_moves(service, person):
        for bad in [*INSTANT[:-2], "2026-01-01", "2036-12-31", "9999-12-31"]:
            body = _text(person, {"userId": person.id, field: 5, "expiresAt": bad})
            details = assert_refused(person.call(method, path, body), 400, "VALIDATION_ERROR")
            if _is_json(body):
                assert [error["field"] for error in details["errors"]] == ["expiresAt"]
        both = {"userId": person.id, field: 5, "expiresAt": "2035-01-01", "expiryDays": 5}
        details = assert_refused(person.call(method, path, both), 400, "VALIDATION_ERROR")
        assert [error["field"] for error in details["errors"]] == ["expiresAt"]


@pytest.mark.parametrize("route", COMMANDS, ids=_route_id)
def test_a_text_that_names_no_user_is_not_found(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for value in UNKNOWN_USER:
            answer = person.call(method, path, _text(person, {**good, "userId": value}))
            assert_refused(answer, 404, "USER_NOT_FOUND", "User not found")


@pytest.mark.parametrize("route", WITH_BODIES, ids=_route_id)
def test_a_body_that_is_not_the_routes_json_object_is_refused(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for body in (*NO_BODIES, b"[" + _text(person, good) + b"]"):
            answer = person.call(method, path, body, headers={"Content-Type": "application/json"})
            assert_refused(answer, 400, "VALIDATION_ERROR")
        form = person.call(method, path, data={"userId": person.id, "credits": "5"})
        assert_refused(form, 400, "VALIDATION_ERROR")
        upload = person.call(method, path, files={"file": b"{}"})
        assert_refused(upload, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("route", WITH_BODIES, ids=_route_id)
def test_a_body_of_a_megabyte_is_refused(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for body in (
            _text(person, {**good, "padding": "x" * 1_000_000}),
            _text(person, good) + b" " * 1_000_000,
            b"[" * 1_000_000,
            b"\xff" * 1_000_000,
        ):
            assert_refused(person.call(method, path, body), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "x"]
)
def test_a_body_is_json_whatever_its_content_type_says(person: Target, content_type: str) -> None:
    answer = person.call("POST", "credits/check", b'{"credits": 5}', headers={"Content-Type": content_type})

    assert answer.status_code == 200


QUERY: dict[str, list[str]] = {
    "limit": [
        *("0", "-1", "101", "abc", "", "1.5", "1e1", "NaN", "Infinity", "true", "null", "[]", "0x10", "9" * 300),
        *("__proto__", "\x00", "１０", "5;5", "1_0", "+5", " 5", "5 ", "5.0"),
    ],
    "page": ["1_0", "+5", " 5", "5.0", "0", "-1", "abc", "", "1.5", "1e1", "NaN", "10001", "9" * 300, "9" * 5000],
    "cursor": [
        *("", "garbage!", "AAAA", "%%%", "x" * 5000, "__proto__", "\x00", "ä", "MTIz" * 20, "LTE", "MS41", "4pi6"),
        *("MjAyNi0wMS0wMVQwMDowMDowMC4wMDBaIw", "MjAyNi0wMS0wMVQwMDowMDowMC4wMDBa"),
    ],
    "startDate": [
        *("", "abc", "0", "2026", "2026-13-01", "2026-02-30", "26-01-01", "2026-01-01T25:00:00Z", "x" * 300, "\x00"),
        *("2026-01-01T00:00:00+99:00", "NaN", "__proto__", "1795224754", "2026-W01-1", "20260101"),
        *("2026-01-01T00:00:00,5Z", "2026-01-01T00:00Z", "2026-01-01 00:00:00Z", "2026%2D01%2D01"),
    ],
    "top": ["1_0", "+5", " 5", "5.0", "0", "-1", "1001", "abc", "", "1.5", "NaN", "true", "9" * 300],
    "role": ["", "root", "Admin", "__proto__", "\x00"],
    "endDate": ["", "abc", "2026-13-01", "0000-00-00", "2026-01-01 to 2026-02-01", "９９９９-01-01"],
}

LISTS: list[tuple[str, tuple[str, ...]]] = [
    ("credits/allocations", ("limit", "page", "cursor")),
    ("credits/allocations/{self}", ("limit", "page", "cursor")),
    ("credits/ledger", ("limit", "cursor", "startDate", "endDate")),
    ("credits/ledger/{self}", ("limit", "cursor", "startDate", "endDate")),
    ("api-keys", ("limit", "cursor")),
    ("service-credentials", ("limit", "cursor")),
    ("organizations", ("limit", "cursor")),
    ("organizations/{organization}/members", ("limit", "cursor")),
    ("streaming-sessions/active", ("cursor",)),
    ("streaming-sessions/active/{self}", ("cursor",)),
    ("streaming-sessions/active/all", ("limit", "cursor")),
    ("streaming-sessions/recent", ("limit", "cursor")),
    ("streaming-sessions/recent/{self}", ("limit", "cursor")),
]


STATISTICS: list[tuple[str, tuple[str, ...]]] = [
    ("usage/stats", ("startDate", "endDate")),
    ("usage/stats/{self}", ("startDate", "endDate")),
    ("usage/system-stats", ("startDate", "endDate", "top")),
    ("usage/system", ("startDate", "endDate", "top")),
]
USERS = ("users", ("limit", "page", "cursor", "role"))


@pytest.mark.parametrize(("path", "names"), [*LISTS, *STATISTICS, USERS])
def test_a_bad_query_value_is_refused_by_its_name(
    service: Stack, person: Target, path: str, names: tuple[str, ...]
) -> None:
    with _nothing_moves(service, person):
        for name in names:
            for value in QUERY[name]:
                answer = person.get(path, **{name: value})
                details = assert_refused(answer, 400, "VALIDATION_ERROR")
                assert [error["field"] for error in details["errors"]] == [name], described(answer)


def test_a_cursor_of_another_list_is_refused(person: Target) -> None:
    for _ in range(2):
        person.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1})
        person.open()
    number = person.ok("GET", "credits/ledger", params={"limit": 1})["nextCursor"]
    position = person.get(f"streaming-sessions/recent/{person.id}", limit=1).headers["x-next-cursor"]

    for path, names in LISTS:
        cursor = position if "page" in names or "startDate" in names else number
        answer = person.get(path, cursor=cursor)
        details = assert_refused(answer, 400, "VALIDATION_ERROR")
        assert [error["field"] for error in details["errors"]] == ["cursor"]


def test_a_cursor_far_beyond_the_list_is_an_empty_or_whole_page(person: Target) -> None:
    for cursor in ("MA", "OTk5OTk5OTk5OTk5"):  # 0 and 999999999999
        for path in ("credits/allocations", "credits/ledger"):
            assert person.get(path, cursor=cursor).status_code == 200


def test_pages_end_where_cursors_are_for(person: Target) -> None:
    assert person.get("credits/allocations", page=100, limit=100).status_code == 200
    answer = person.get("credits/allocations", page=101, limit=100)
    assert "cursor" in assert_refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["problem"]


def test_a_page_of_a_users_active_sessions_has_up_to_a_thousand(person: Target) -> None:
    for path in ("streaming-sessions/active", f"streaming-sessions/active/{person.id}"):
        assert person.get(path, limit=1000).status_code == 200
        for limit in ("0", "1001", "x"):
            assert_refused(person.get(path, limit=limit), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("text", ["a\tb", "a\r\nb", "\u3000", "\u200d", "\u2028", "\U0001fae9"])
def test_notes_may_have_lines_and_anything_that_people_write(person: Target, text: str) -> None:
    person.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1, "notes": text})

    assert person.ok("GET", "credits/allocations?limit=1")["allocations"][0]["notes"] == text


def test_an_administrator_cannot_disable_themselves(service: Stack, person: Target) -> None:
    with _nothing_moves(service, person):
        for name in (person.id, person.email.upper()):
            answer = person.post(f"users/{name}/disable", {"reason": "x"})
            assert assert_refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["field"] == "userId"
        assert_refused(person.post("users/nobody-at-all/disable"), 404, "USER_NOT_FOUND")


def test_a_period_that_ends_before_it_begins_is_refused(person: Target) -> None:
    answer = person.get("credits/ledger", startDate="2026-02-02", endDate="2026-02-01")
    assert assert_refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["field"] == "endDate"


REMOVALS: list[tuple[str, dict[str, str]]] = [
    ("userId", {"credits": "5"}),
    ("userId", {"userId": "", "credits": "5"}),
    ("userId", {"userId": "a\x00b", "credits": "5"}),
    ("userId", {"userId": "x" * 255, "credits": "5"}),
    ("notes", {"userId": "{self}", "credits": "5", "notes": "x" * 1001}),
    ("credits", {"userId": "{self}"}),
    *(
        ("credits", {"userId": "{self}", "credits": credits})
        for credits in (
            *(
                "",
                "0",
                "-1",
                "1.5",
                "5.0",
                "1e2",
                "NaN",
                "Infinity",
                "abc",
                "true",
                "null",
                "[]",
                "{}",
                "0x10",
                "9" * 300,
            ),
            *("1_000", " 5", "+5", "５", "1000000000001", "__proto__"),
        )
    ),
]


@pytest.mark.parametrize(("field", "query"), REMOVALS)
def test_a_removal_by_query_is_as_strict_as_by_body(
    service: Stack, person: Target, field: str, query: dict[str, str]
) -> None:
    params = {name: value.replace("{self}", person.id) for name, value in query.items()}
    with _nothing_moves(service, person):
        answer = person.call("DELETE", "credits/remove", params=params)
        details = assert_refused(answer, 400, "VALIDATION_ERROR")
        assert [error["field"] for error in details["errors"]] == [field], described(answer)


BAD_KEYS: list[bytes] = [b"", b"x" * 129, b"a b", "schlüssel".encode(), "☺".encode(), b"\xff", b"a\tb", b"x" * 5000]


@pytest.mark.parametrize("route", COMMANDS, ids=_route_id)
def test_a_bad_idempotency_key_is_refused(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with _nothing_moves(service, person):
        for key in BAD_KEYS:
            answer = person.call(method, path, _text(person, good), headers={"Idempotency-Key": key})
            details = assert_refused(answer, 400, "VALIDATION_ERROR")
            assert [error["field"] for error in details["errors"]] == ["Idempotency-Key"], key


@pytest.mark.parametrize("route", COMMANDS, ids=_route_id)
def test_what_is_refused_uses_up_no_idempotency_key(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    headers = {"Idempotency-Key": new_id("key")}
    with _nothing_moves(service, person):
        answer = person.call(method, path, _text(person, {**good, "notes": 5}), headers=headers)
        assert_refused(answer, 400, "VALIDATION_ERROR")


PATHS = [
    "credits/balance",
    "credits/allocations",
    "credits/ledger",
    "credits/audit",
    "streaming-sessions/active",
    "streaming-sessions/recent",
    "usage/stats",
    "users",
]
BAD_IDS = [
    *("%00", "a%00b", "%0A", "%1B%5B2J", "%7F", "%ff", "%ED%A0%80", "%C0%AF", "%20", "%25", "%2525", "%E2%98%BA"),
    *("@", "%40", "a%40b%40c", "prototype", "toString", "null", "[object%20Object]", "x" * 200, "x" * 3000),
    *(quote(text, safe="") for text in ("<script>alert(1)</script>", "' OR 1=1 --", "a/b", "../../health", "{userId}")),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_bad_id_in_a_path_is_refused(service: Stack, person: Target, path: str) -> None:
    with _nothing_moves(service, person):
        for bad in BAD_IDS:
            answer = person.get(f"{path}/{bad}")
            assert answer.is_client_error, described(answer)
            codes = {400: ["VALIDATION_ERROR"], 404: ["USER_NOT_FOUND", "ROUTE_NOT_FOUND"]}
            assert answer.json()["code"] in codes.get(answer.status_code, []), described(answer)
            assert_refused(answer, answer.status_code, answer.json()["code"])
        for nobody in ("__proto__", "constructor", "x" * 200):
            assert_refused(person.get(f"{path}/{nobody}"), 404, "USER_NOT_FOUND", "User not found")
        assert_refused(person.get(f"{path}/{'x' * 255}"), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "api-keys/{bad}", {"name": "new"}),
        ("POST", "api-keys/{bad}/revoke", None),
        ("DELETE", "api-keys/{bad}", None),
        ("PUT", "service-credentials/{bad}", {"name": "new"}),
        ("POST", "service-credentials/{bad}/rotate", None),
        ("DELETE", "service-credentials/{bad}", None),
        ("PUT", "organizations/{bad}", {"name": "new"}),
        ("POST", "organizations/{bad}/close", None),
        ("PUT", "organizations/{bad}/members/{self}", {"role": "owner"}),
        ("DELETE", "organizations/{bad}/members/{self}", None),
        ("DELETE", "organizations/{organization}/members/{bad}", None),
        ("PUT", f"pricing/{{bad}}/{SINCE}", {"effectiveTo": "2026-03-01"}),
        ("PUT", "pricing/{model}/{bad}", {"effectiveTo": "2026-03-01"}),
    ],
)
def test_a_bad_id_of_a_thing_is_refused(
    service: Stack, person: Target, method: str, path: str, body: dict[str, str] | None
) -> None:
    codes = {400: ["VALIDATION_ERROR"], 404: ["API_KEY_NOT_FOUND", "PRICE_NOT_FOUND", "ROUTE_NOT_FOUND"]}
    codes[404] += ["SERVICE_CREDENTIAL_NOT_FOUND", "ACCOUNT_NOT_FOUND", "MEMBER_NOT_FOUND"]
    with _nothing_moves(service, person):
        # The emulator's policies match no line break in the middle of a path.
        for bad in (each for each in BAD_IDS if each != "%0A"):
            answer = person.call(method, path.replace("{bad}", bad), body)
            assert answer.json()["code"] in codes.get(answer.status_code, []), described(answer)
            assert_refused(answer, answer.status_code, answer.json()["code"])


def test_an_odd_query_changes_nothing(person: Target) -> None:
    for query in ("?", "?&&&", "?=", "?limit", "?%00=%00", "?unknown=1&unknown=2", "?__proto__[limit]=5"):
        answer = person.call("GET", f"credits/balance{query}")
        assert answer.status_code == 200, described(answer)
