"""What a request's body brings to a handler, and what it is refused for."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from accounting.store import users
from accounting.web.access import USERS
from accounting.web.api import Api
from accounting.web.types import Credits, Metadata, ModelId, Price, QuestionModel, RequestModel

HUGE_EXPONENTS = [
    "1e9999999999999999999",
    "-1e9999999999999999999",
    "1e-9999999999999999999",
    "1.5E+99999999999999999999",
]
"""Decimal takes none of them."""


class Command(RequestModel):
    """A command with a field of each type that reads a number."""

    credits: Credits | None = None
    model_id: ModelId | None = None
    price: Price | None = None
    metadata: Metadata | None = None


class Question(QuestionModel):
    """A question."""

    credits: Credits = 1


class Answered:
    """A function with a route of each kind, and the bodies that their handlers got."""

    def __init__(self) -> None:
        self.api, self.got = Api(), list[Any]()

        @self.api.post("/api/things/command", access=USERS)
        def command(body: Command) -> dict[str, str]:
            """Do a thing."""
            self.got.append(body)
            return {}

        @self.api.post("/api/things/question", access=USERS)
        def question(body: Question) -> dict[str, str]:
            """Ask a thing."""
            self.got.append(body)
            return {}

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

    def fields(self, route: str, body: str | None, **more: Any) -> list[str]:
        """The fields for which a request is refused."""
        status, answer = self.ask(route, body, **more)
        assert (status, answer["code"]) == (400, "VALIDATION_ERROR"), answer
        return [error["field"] for error in answer["details"].get("errors", [])]


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Answered:
    monkeypatch.setattr(users, "is_disabled", lambda _: False)
    return Answered()


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
@pytest.mark.parametrize("field", ["credits", "modelId", "price", "zz"])
def test_a_command_refuses_a_number_with_a_huge_exponent_and_names_the_field(
    function: Answered, field: str, number: str
) -> None:
    assert function.fields("command", f'{{"{field}": {number}}}') == [field]


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
def test_metadata_refuses_a_number_with_a_huge_exponent(function: Answered, number: str) -> None:
    assert function.fields("command", f'{{"metadata": {{"x": [{number}]}}}}') == ["metadata"]


@pytest.mark.parametrize("number", HUGE_EXPONENTS)
def test_a_question_ignores_a_number_with_a_huge_exponent_in_a_field_it_does_not_know(
    function: Answered, number: str
) -> None:
    assert function.fields("question", f'{{"credits": {number}}}') == ["credits"]
    assert function.ask("question", f'{{"zz": {number}}}') == (200, {})
