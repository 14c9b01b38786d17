"""Requests generated from the OpenAPI document, valid and invalid, get only documented answers.

The callers are an administrator, a user, an API key with all permissions, and the platform with its internal key. Each
sends random values. The administrator and the platform also send values at the limits of every field. Every run sends
the same requests. No other test uses the users that these requests are about.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.meta import CoveragePhaseData, CoverageScenario
from schemathesis.specs.openapi import checks as openapi_checks

from local.openapi import document
from tests.api import DOCS_PATHS, INTERNAL
from tests.e2e.books import balanced
from tests.e2e.client import SECURITY_HEADERS, Person

if TYPE_CHECKING:
    import httpx
    from schemathesis import Case, CheckContext, CheckFunction, Response
    from schemathesis.schemas import BaseSchema

    from local.stack import Stack
    from tests.e2e.conftest import Mint

SINCE = "2026-01-01T00:00:00.000Z"
A_SESSION, A_KEY, A_KEYS_TEXT = "fuzz-session", "fuzz-key", "acct_fuzz_key"
"""Placeholders in requests: a session's id, an API key's id and an API key's text. See `Caller.value_of`."""
KNOWN: dict[str, list[str]] = {
    "userId": ["fuzz-target", "fuzz-target@example.com"],
    "sessionId": [A_SESSION],
    "modelId": ["fuzz-model"],
    "keyId": [A_KEY],
    "key": [A_KEYS_TEXT],
    "effectiveFrom": [SINCE],
    "effectiveTo": ["2030-01-01", "9999-12-31T23:59:59.999Z"],
    "email": ["fuzz-target@example.com"],
}
"""Values to try in fields of these names. Most of them name things that exist in the service."""
CURSORS = {"number": "NQ", "position": "MjAzMC0wMS0wMVQwMDowMDowMC4wMDBaI3g"}
BEYOND_SCHEMAS = (
    "must not contain control characters",
    "either this or accountId is required",
    "there is no such open account",
    "send this only with accountId",
    "not a cursor of this list",
    "must be the name of an IANA time zone",
    "must be after effectiveFrom",
    "before startDate",
    "at most 400 days",
    "use the cursor for more",
    "bytes of JSON",
    "bytes of UTF-8",
    "levels of nesting",
    "too large or too small to store",
    "too many digits to store",
    "send all fields in the body or all in the query",
    "unless it is the model",
    "must be in the future",
    "days from now",
    "no more than 4 decimal places",
    "no more than 6 decimal places",
    "must rise from tier to tier",
    "must name at least one class",
    "either this or",
    "instead of a number of tokens",
    "only with usage",
    "must differ from each other and from modelId",
    "characters together",
    "rates in rates, tiers and variants together",
    "rules and aliases",
    "occurs twice",
    "is already an id of",
    "already has a rule that begins at this time",
    "no such variant",
    "usage.",  # the fields of a usage object depend on its format
    "estimatedUsage.",  # for example, more cached input than input
    "Nothing to change",
    "must be between 1970 and 9999",
    "Input should be a valid integer",  # JSON Schema counts 5.0 as an integer
)
"""Parts of the messages with which the service may refuse a request that satisfies the OpenAPI document."""

UNKNOWN_PARAMETER = "x-schemathesis-unknown-property"
REMOVE = "/api/credits/remove"
KEY_HEADER = "Idempotency-Key"
KEY_TAIL = 8
SESSION = requests.Session()
SESSION.trust_env = False

OF_A_RULE = re.compile(
    r"rules -> Array with invalid items: .+(:| ->) |'rules' value: Single-item array: "
    r"|variants -> .+ value: (rates|tiers) -> "
)
"""Matches schemathesis's description of a value in the rules of an import, or in the rates or tiers of a variant.

Requests that try such a value at a limit are not sent. Requests to `POST /api/pricing`, whose body is a rule, try the
same limits.
"""

type Place = tuple[str, str | None, str]
"""A route, a parameter or None, and schemathesis's description, which names the field."""


@dataclass
class Caller:
    """Sends generated requests with its headers. ``owner`` owns the sessions and API keys that the requests name."""

    base_url: str
    headers: dict[str, str]
    owner: Person
    wrong: set[Place] = field(default_factory=set)
    """Places at which a value of a wrong type was sent."""

    def value_of(self, value: Any, path: str) -> Any:
        """Return the value for a placeholder, and any other value unchanged.

        Each request gets a new session, because a session can be ended only once. Only the routes of API keys get a new
        API key for each request; all other routes share one, because a user can have at most 100.
        """
        if value == A_SESSION:
            return self.owner.open(10)
        if value == A_KEY:
            return self._key_id() if "api-keys" in path else self._lasting_key_id
        if value == A_KEYS_TEXT:
            return self.owner.ok("POST", "api-keys", {"name": "fuzz"})["key"]
        return value

    def _key_id(self) -> str:
        return str(self.owner.ok("POST", "api-keys", {"name": "fuzz"})["id"])

    @cached_property
    def _lasting_key_id(self) -> str:
        return self._key_id()

    def send(self, case: Case[Any]) -> None:
        """Send a request, and assert that the answer is documented. A failure prints how to repeat the request."""
        if "%0A" in case.formatted_path:
            return  # in the emulator, wildcards in the authorizer's policy match no line breaks
        if OF_A_RULE.search(_description(case)):
            return
        place = _place_of_wrong_type(case)
        if place in self.wrong:
            return  # one wrong type is enough here: `tests.bad_input` has all of them for each field
        if place:
            self.wrong.add(place)
        if case.path.endswith("/erase") and _satisfies_the_document(case):
            case.path_parameters["userId"] = "fuzz-erased"  # an erased user is useless to later requests
        for values in (case.path_parameters, case.body):
            if isinstance(values, dict):
                values |= {
                    name: self.value_of(value, case.path) for name, value in values.items() if isinstance(value, str)
                }
        _vary_idempotency_key(case)
        answer = case.call(base_url=self.base_url, session=SESSION, headers=self.headers)
        case.validate_response(answer, checks=CHECKS, headers=self.headers)


def _description(case: Case[Any]) -> str:
    """Return what schemathesis says of the request's value at a limit; '' for a random request."""
    tried = case.meta.phase.data if case.meta else None
    return tried.description if isinstance(tried, CoveragePhaseData) else ""


def _place_of_wrong_type(case: Case[Any]) -> Place | None:
    """Return the place at which the request has a value of a wrong type, or None if it is a request of another kind."""
    tried = case.meta.phase.data if case.meta else None
    if isinstance(tried, CoveragePhaseData) and tried.scenario is CoverageScenario.INCORRECT_TYPE:
        return case.operation.label, tried.parameter, tried.description
    return None


def _vary_idempotency_key(case: Case[Any]) -> None:
    """Make the idempotency key depend on the body and the query: a key that is sent with two bodies is a conflict."""
    key = case.headers.get(KEY_HEADER)
    if isinstance(key, str) and _satisfies_the_document(case):
        digest = hashlib.sha256(repr((case.body, case.query)).encode()).hexdigest()
        case.headers[KEY_HEADER] = key[:-KEY_TAIL] + digest[:KEY_TAIL]


def _satisfies_the_document(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def _is_a_removal_by_query(case: Case[Any]) -> bool:
    """Whether the request removes credits and has no body. The service then requires the fields in the query."""
    return case.path == REMOVE and not isinstance(case.body, dict)


def _refuses_what_the_document_forbids(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    # The service may accept two kinds of requests that the document forbids: those with a query parameter that no
    # route has, and removals of credits that have a query.
    if UNKNOWN_PARAMETER not in case.query and not (case.path == REMOVE and case.query):
        openapi_checks.negative_data_rejection(ctx, response, case)


def _has_the_security_headers(_ctx: CheckContext, response: Response, _case: Case[Any]) -> None:
    sent = {name: values[0] for name, values in response.headers.items()}
    assert SECURITY_HEADERS.items() <= sent.items(), sent


def _takes_what_the_document_allows(_ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    if _satisfies_the_document(case) and response.status_code == 400 and not _is_a_removal_by_query(case):
        error = response.json()
        errors = error["details"].get("errors", [])
        problems = [f"{each['field']}: {each['problem']}" for each in errors] or [error["message"]]
        assert all(any(known in problem for known in BEYOND_SCHEMAS) for problem in problems), problems


CHECKS: list[CheckFunction] = [
    checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    _refuses_what_the_document_forbids,
    _takes_what_the_document_allows,
    _has_the_security_headers,
]


def _with_examples() -> dict[str, Any]:
    """Return the document with KNOWN values as examples, so that requests also name existing things."""
    made = document()
    for path, item in made["paths"].items():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter.get("name") == "cursor":
                    kind = "number" if "ledger" in path or "allocations" in path else "position"
                    parameter["schema"]["examples"] = [CURSORS[kind]]
                elif parameter.get("name") in KNOWN:
                    parameter["schema"]["examples"] = KNOWN[parameter["name"]]
    bodies = {name: each for name, each in made["components"]["schemas"].items() if not name.endswith("View")}
    for schema in bodies.values():
        for name, values in KNOWN.items():
            if name in schema.get("properties", {}):
                schema["properties"][name]["examples"] = values
    return made


def _generated(examples: int, *, edges: bool) -> BaseSchema:
    """Return ``examples`` random requests for each route. With ``edges``, add requests with values at the limits."""
    generation = {
        "deterministic": True,
        "database": "none",
        "max-examples": examples,
        "with-security-parameters": False,
        "no-shrink": True,
    }
    phases = {"coverage": {"enabled": edges, "unexpected-methods": []}, "examples": {"enabled": False}}
    # A failure prints the whole request, so that it can be repeated. The printed secrets are useless after the run.
    output = {"sanitization": {"enabled": False}}
    config = SchemathesisConfig.from_dict({"generation": generation, "phases": phases, "output": output})
    return schemathesis.openapi.from_dict(_with_examples(), config=config)


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
INSTANTS = st.integers(0, (LAST - FIRST) // timedelta(milliseconds=1)).map(
    lambda milliseconds: (FIRST + timedelta(milliseconds=milliseconds)).isoformat().replace("+00:00", "Z")
)
"""Instants of the years 1 to 9999. Drawing one number takes less time than drawing the seven of `st.datetimes`."""
schemathesis.openapi.format("date", INSTANTS.map(lambda at: at[:10]) | st.sampled_from(["0001-01-01", "9999-12-31"]))
schemathesis.openapi.format("date-time", INSTANTS | st.just("9999-12-31T23:59:59.999Z"))
INTERNAL_PATHS = [path for _, path in INTERNAL]
PATHS_WITHOUT_A_USER = [*INTERNAL_PATHS, *DOCS_PATHS]
"""Paths that no user calls here. The platform calls the internal paths. The API's page and the console have separate
tests."""


@pytest.fixture(scope="module")
def everything_generated() -> BaseSchema:
    """Return many requests, some with values at the limits."""
    return _generated(12, edges=True)


@pytest.fixture(scope="module")
def little_generated() -> BaseSchema:
    """Return fewer requests, none with values at the limits."""
    return _generated(6, edges=False)


everything = schemathesis.pytest.from_fixture("everything_generated")
little = schemathesis.pytest.from_fixture("little_generated")


@pytest.fixture(scope="module")
def callers(service: Stack, http: httpx.Client, token: Mint, admin: Person) -> dict[str, Caller]:
    """Return the senders of requests, each with credits, and create the things that are named in KNOWN."""
    people = {name: Person(http, f"fuzz-{name}", token(f"fuzz-{name}", name)) for name in ("admin", "user")}
    people |= {name: Person(http, f"fuzz-{name}", token(f"fuzz-{name}")) for name in ("owner", "target", "erased")}
    for person in people.values():
        person.balance()
        admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 10**12})
    admin.ok("POST", "pricing", {"modelId": "fuzz-model", "pricePerThousandTokens": 2, "effectiveFrom": SINCE})
    permissions = ["credits:read", "sessions:write", "usage:read", "usage:write"]
    key = people["owner"].ok("POST", "api-keys", {"name": "fuzz", "permissions": permissions})["key"]
    sent = {
        "admin": ("admin", {"Authorization": f"Bearer {people['admin'].token}"}),
        "user": ("user", {"Authorization": f"Bearer {people['user'].token}"}),
        "api key": ("owner", {"Authorization": f"ApiKey {key}"}),
        "platform": ("target", {"X-Internal-Api-Key": service.internal_api_key}),
    }
    return {name: Caller(service.base_url, headers, people[owner]) for name, (owner, headers) in sent.items()}


@everything.exclude(path=PATHS_WITHOUT_A_USER).parametrize()
def test_an_administrator_gets_only_documented_answers(case: Case[Any], callers: dict[str, Caller]) -> None:
    callers["admin"].send(case)


@little.exclude(path=PATHS_WITHOUT_A_USER).parametrize()
def test_a_user_and_an_api_key_get_only_documented_answers(case: Case[Any], callers: dict[str, Caller]) -> None:
    """Both send the same requests, because generating a request takes longer than sending it."""
    callers["user"].send(case.derive())
    callers["api key"].send(case.derive())


@everything.include(path=INTERNAL_PATHS).parametrize()
def test_the_platform_gets_only_documented_answers(case: Case[Any], callers: dict[str, Caller]) -> None:
    callers["platform"].send(case)


def test_every_ledger_adds_up_after_all_requests(service: Stack, callers: dict[str, Caller]) -> None:
    ledgers = [balanced(service, caller.owner).ledger for caller in callers.values()]

    assert all(ledgers), "no ledger may be empty, because each begins with a grant"
    assert max(map(len, ledgers)) > 100, "many requests of at least one caller must change the wallet"
