"""How a request's body is read, and which bodies are refused.

A command refuses unknown fields, and a question ignores them. A report of usage ignores even malformed unknown fields,
so that no usage is lost.
"""

import json
import pkgutil
from base64 import b64encode
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from accounting import web
from accounting.store import users
from accounting.web import headers, idempotency, on_behalf
from accounting.web.access import USERS
from accounting.web.api import Api
from accounting.web.paging import DEFAULT_LIMIT, Limit
from accounting.web.prices import Price
from accounting.web.types import (
    Credits,
    Identifier,
    Metadata,
    ModelId,
    QuestionModel,
    ReportModel,
    RequestModel,
    Tokens,
)

HUGE_EXPONENTS = [
    "1e9999999999999999999",
    "-1e9999999999999999999",
    "1e-9999999999999999999",
    "1.5E+99999999999999999999",
]
"""Numbers whose exponents Decimal does not accept."""


class Command(RequestModel):
    """A command with fields of four types: an integer, a text, a price, and metadata."""

    credits: Credits | None = None
    model_id: ModelId | None = None
    price: Price | None = None
    metadata: Metadata | None = None


class Nested(RequestModel):
    """A command with a list."""

    body: list[str]


class Question(QuestionModel):
    """A question."""

    credits: Credits = 1


class Report(ReportModel):
    """A report of usage."""

    session_id: Identifier
    tokens: Tokens


class Function:
    """A Lambda function with a route of each kind; it records the bodies that the handlers receive."""

    def __init__(self) -> None:
        self.api, self.bodies = Api(), list[Any]()

        @self.api.post("/api/things/command", access=USERS)
        def command(body: Command) -> dict[str, str]:
            """Do a thing."""
            self.bodies.append(body)
            return {}

        @self.api.post("/api/things/question", access=USERS)
        def question(body: Question) -> dict[str, str]:
            """Ask a thing."""
            self.bodies.append(body)
            return {}

        @self.api.post("/api/things/report", access=USERS, any_query=True)
        def report(body: Report) -> dict[str, Any]:
            """Report a thing."""
            self.bodies.append(body)
            return {"tokens": body.tokens, "ignored": self.api.ignored(body)}

        @self.api.post("/api/things/paged-report", access=USERS, any_query=True)
        def paged_report(body: Report, limit: Limit = DEFAULT_LIMIT) -> dict[str, Any]:
            """Report a thing, with a parameter in the query."""
            return {"limit": limit, "ignored": self.api.ignored(body)}

        @self.api.delete("/api/things/no-body", access=USERS)
        def no_body() -> dict[str, str]:
            """Do a thing that needs no body."""
            self.bodies.append(None)
            return {}

        @self.api.get("/api/things/read", access=USERS)
        def read(limit: Limit = DEFAULT_LIMIT) -> dict[str, int]:
            """Read a thing."""
            return {"limit": limit}

    def ask(self, route: str, body: str | None, *, method: str = "POST", **more: Any) -> tuple[int, dict[str, Any]]:
        event: dict[str, Any] = {
            "httpMethod": method,
            "resource": f"/api/things/{route}",
            "path": f"/api/things/{route}",
            "pathParameters": None,
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "headers": {"Content-Type": "application/json"},
            "body": body,
            "isBase64Encoded": False,
            "requestContext": {"requestId": "r", "authorizer": {"userId": "me", "exp": "4000000000"}},
        }
        answer = self.api.resolve({**event, **more}, SimpleNamespace())  # type: ignore[arg-type]
        return answer["statusCode"], json.loads(answer["body"])

    def refused_fields(self, route: str, body: str | None, **more: Any) -> list[str]:
        """The fields for which a request is refused."""
        status, answer = self.ask(route, body, **more)
        assert (status, answer["code"]) == (400, "VALIDATION_ERROR"), answer
        return [error["field"] for error in answer["details"].get("errors", [])]


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    monkeypatch.setattr(users, "is_disabled", lambda _: False)
    return Function()


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
@pytest.mark.parametrize("field", ["credits", "modelId", "price", "zz"])
def test_a_command_refuses_a_number_with_a_huge_exponent_and_names_the_field(
    function: Function, field: str, number: str
) -> None:
    assert function.refused_fields("command", f'{{"{field}": {number}}}') == [field]


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
def test_metadata_refuses_a_number_with_a_huge_exponent(function: Function, number: str) -> None:
    assert function.refused_fields("command", f'{{"metadata": {{"x": [{number}]}}}}') == ["metadata"]


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
def test_a_question_ignores_a_number_with_a_huge_exponent_in_an_unknown_field(function: Function, number: str) -> None:
    assert function.refused_fields("question", f'{{"credits": {number}}}') == ["credits"]
    assert function.ask("question", f'{{"zz": {number}}}') == (200, {})


@pytest.mark.parametrize(
    "field",
    [
        *(f'"zz": {number}' for number in (*HUGE_EXPONENTS, "1e400", "9" * 5000, "NaN", "Infinity", "-Infinity")),
        *('"zz": "\\ud83d"', '"zz": ["\\udc00", {"\\ud83d": 1}]', '"zz": "a\tb\nc"', '"zz": "\\u0000"', '"zz": null'),
        *('"zz": 1, "zz": 2', '"zz": {"a": 1, "a": 2}'),
        *(f'"zz": {"[" * depth}{"]" * depth}' for depth in (500, 20_000)),
        f'"zz": {'{"[": ["}", ' * 3000}1{"]}" * 3000}',
    ],
    ids=lambda field: field[:20],
)
def test_a_report_is_accepted_whatever_its_unknown_field_contains(function: Function, field: str) -> None:
    for body in (f'{{"sessionId": "s", "tokens": 5, {field}}}', f'{{{field}, "sessionId": "s", "tokens": 5}}'):
        assert function.ask("report", body) == (200, {"tokens": 5, "ignored": ["zz"]})


def test_a_query_parameter_that_the_route_takes_is_not_listed_as_ignored(function: Function) -> None:
    query = {"limit": "7", "zz": "1"}
    sent: dict[str, Any] = {
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in query.items()},
    }

    answer = function.ask("paged-report", '{"sessionId": "s", "tokens": 5, "aa": 1}', **sent)

    assert answer == (200, {"limit": 7, "ignored": ["aa", "zz"]})


def test_an_ignored_name_with_half_a_surrogate_pair_is_escaped(function: Function) -> None:
    answer = function.ask("report", '{"sessionId": "s", "tokens": 5, "a\\ud83d": 1, "\\ud83d\\ude00": 2}')

    assert answer == (200, {"tokens": 5, "ignored": ["a\\ud83d", "😀"]})


@pytest.mark.parametrize(
    "value",
    [*HUGE_EXPONENTS, "NaN", "Infinity", "9" * 5000, '"\\ud83d"', "[" * 20_000 + "]" * 20_000, "null", "1.5"],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("field", ["sessionId", "tokens"])
def test_a_report_still_refuses_an_invalid_value_in_a_known_field(function: Function, field: str, value: str) -> None:
    body = {"sessionId": '"s"', "tokens": "5", field: value}

    text = ", ".join(f'"{name}": {own}' for name, own in body.items())

    assert function.refused_fields("report", f"{{{text}}}") == [field]


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "5", "{", '{"sessionId": "s", "tokens": 5', "[" * 30_000, "[" * 30_000 + "]" * 30_000, "{]"],
    ids=lambda body: body[:40],
)
def test_a_report_must_be_an_object(function: Function, body: str) -> None:
    status, answer = function.ask("report", body)

    assert (status, answer["code"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("route", ["command", "question"])
@pytest.mark.parametrize("value", ['"\\ud83d"', "NaN", "9" * 5000, '"a\tb"'], ids=lambda value: value[:10])
def test_only_reports_are_read_leniently(function: Function, route: str, value: str) -> None:
    function.refused_fields(route, f'{{"zz": {value}}}')


@pytest.mark.parametrize("name", ["body", "query", "header", "path", "", "user_id", "a.b"])
def test_a_command_refuses_an_unknown_field_of_any_name(function: Function, name: str) -> None:
    assert function.refused_fields("command", json.dumps({name: 1})) == [name]


def test_a_field_inside_another_is_named_by_its_path(function: Function) -> None:
    @function.api.post("/api/things/nested", access=USERS)
    def nested(body: Nested) -> dict[str, str]:
        """Do a thing."""
        return {}

    assert function.refused_fields("nested", '{"body": ["x", 1]}') == ["body.1"]


def test_a_route_that_takes_no_body_refuses_a_body_with_fields(function: Function) -> None:
    assert function.refused_fields("no-body", '{"zz": 1, "body": 2}', method="DELETE") == ["body", "zz"]
    for body in ("[]", "5", "zz", "{", '{"zz": NaN}'):
        assert function.refused_fields("no-body", body, method="DELETE") == []
    assert function.bodies == []
    for empty in (None, "", "null", "{}"):
        assert function.ask("no-body", empty, method="DELETE") == (200, {})


def test_a_route_that_only_reads_ignores_a_body(function: Function) -> None:
    assert function.ask("read", "zz", method="GET") == (200, {"limit": 20})


@pytest.mark.parametrize("limit", ["0", "101", "1_0", "+5", " 5", "5.0", "٥", "", "9" * 5000])
def test_a_limit_in_the_query_must_be_digits_within_its_bounds(function: Function, limit: str) -> None:
    def query(text: str) -> dict[str, Any]:
        return {"queryStringParameters": {"limit": text}, "multiValueQueryStringParameters": {"limit": [text]}}

    assert function.refused_fields("read", None, method="GET", **query(limit)) == ["limit"]
    assert function.ask("read", None, method="GET", **query("5")) == (200, {"limit": 5})


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ('{"credits": 1, "credits": 9}', ["credits"]),
        ('{"credits": 1, "credits": 1}', ["credits"]),
        ('{"zz": 1, "a": 2, "zz": 3, "a": 4}', ["zz", "a"]),
        ('{"metadata": {"x": [{"y": 1, "y": 2}]}}', ["y"]),
        ('{"\\u0061": 1, "a": 2}', ["a"]),
        ('{"\\ud83d": 1, "\\ud83d": 2}', ["\\ud83d"]),
    ],
)
def test_a_command_refuses_repeated_names(function: Function, body: str, names: list[str]) -> None:
    assert function.refused_fields("command", body) == names
    assert function.bodies == []


def test_a_report_uses_the_last_value_of_a_repeated_name(function: Function) -> None:
    answer = function.ask("report", '{"sessionId": "s", "tokens": 5, "tokens": 7}')

    assert answer == (200, {"tokens": 7, "ignored": None})


BASE64: dict[str, Any] = {"isBase64Encoded": True}


def in_base64(body: bytes) -> str:
    return b64encode(body).decode()


def test_a_body_in_base64_is_read(function: Function) -> None:
    assert function.ask("command", in_base64('{"metadata": {"x": "ä😀"}}'.encode()), **BASE64) == (200, {})
    assert function.bodies[0].metadata == {"x": "ä😀"}
    assert function.ask("command", in_base64(b""), **BASE64) == function.ask("command", "")


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", "ä".encode("latin-1")])
def test_a_command_refuses_bytes_that_are_not_utf_8_but_a_report_accepts_them_in_an_unknown_field(
    function: Function, text: bytes
) -> None:
    for body in (b'{"metadata": {"x": "%b"}}', b'{"%b": 1}', b"%b"):
        assert function.refused_fields("command", in_base64(body % text), **BASE64) == []
    status, answer = function.ask("report", in_base64(b'{"sessionId": "s", "tokens": 5, "zz": "%b"}' % text), **BASE64)
    assert (status, answer) == (200, {"tokens": 5, "ignored": ["zz"]})


def test_a_body_converted_to_text_shows_no_values() -> None:
    class Reasoned(RequestModel):
        reason: str

    assert "secret" not in repr(Reasoned(reason="secret"))
    assert "secret" not in str([Reasoned(reason="secret")])


def test_the_service_reads_exactly_the_headers_that_it_defines() -> None:
    modules = [import_module(found.name) for found in pkgutil.iter_modules(web.__path__, f"{web.__name__}.")]
    defined = {module.HEADER for module in modules if hasattr(module, "HEADER")}

    assert {idempotency.HEADER, on_behalf.HEADER} <= defined
    assert {name.lower() for name in defined} == headers.READ
    for name in defined:
        assert headers.is_read(name)
        assert headers.is_read(name.upper())
