"""Every refusal is an exception that a program can act on."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import httpx
import pytest

from accounting.web.api import STATUSES
from accounting_client import (
    AccountingError,
    Conflict,
    Forbidden,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    SessionEnded,
    SessionNotActive,
    Unauthorized,
    UnexpectedAnswer,
    UserNotFound,
)
from accounting_client.errors import BY_CODE, BY_STATUS
from client.tests.played import Played, ok, refusal

if TYPE_CHECKING:
    from client.tests.conftest import Ask


def test_every_error_code_has_one_exception() -> None:
    assert BY_CODE.keys() == STATUSES.keys() | {"RATE_LIMITED", "TIMEOUT"}


def test_the_exception_of_a_code_is_a_subclass_of_the_exception_of_its_status() -> None:
    for code, status in STATUSES.items():
        assert issubclass(BY_CODE[code], BY_STATUS[status.value]), code


def test_an_exception_has_everything_that_the_service_answered(ask: Ask) -> None:
    service = Played(refusal(404, "USER_NOT_FOUND", userId="u"))

    with pytest.raises(UserNotFound) as refused:
        ask(service, lambda client: client.balance("u"))

    error = refused.value
    assert isinstance(error, NotFound)
    assert (error.code, error.status, error.message) == ("USER_NOT_FOUND", 404, "It is USER_NOT_FOUND")
    assert (error.details, error.request_id) == ({"userId": "u"}, "r-1")
    assert str(error) == "It is USER_NOT_FOUND (USER_NOT_FOUND, request r-1)"


def test_insufficient_credits_says_how_many_are_missing_and_how_many_tokens_are_affordable(ask: Ask) -> None:
    details = {"requiredCredits": 12, "availableCredits": 5, "heldCredits": 2, "shortfall": 7, "affordableTokens": 4166}
    service = Played(refusal(402, "INSUFFICIENT_CREDITS", **details))

    with pytest.raises(InsufficientCredits) as refused:
        ask(service, lambda client: client.initialize("s", "m", 10_000))

    error = refused.value
    assert (error.required, error.available, error.held, error.shortfall) == (12, 5, 2, 7)
    assert error.affordable_tokens == 4166


def test_session_not_active_says_how_the_session_ended(ask: Ask) -> None:
    service = Played(refusal(404, "SESSION_NOT_ACTIVE", sessionId="s", status="failed", outcome="swept"))

    with pytest.raises(SessionNotActive) as refused:
        ask(service, lambda client: client.finalize("s", 5))
    assert (refused.value.session_status, refused.value.outcome) == ("failed", "swept")


def test_session_ended_says_how_the_session_ended(ask: Ask) -> None:
    service = Played(refusal(409, "SESSION_ENDED", sessionId="s", status="completed", outcome="finalized"))

    with pytest.raises(SessionEnded) as refused:
        ask(service, lambda client: client.initialize("s", "m", 5))
    assert (refused.value.session_status, refused.value.outcome) == ("completed", "finalized")
    assert isinstance(refused.value, Conflict)


def test_invalid_fields_are_named(ask: Ask) -> None:
    problem = {"field": "credits", "problem": "must be 1 or more"}
    service = Played(refusal(400, "VALIDATION_ERROR", errors=[problem]))

    with pytest.raises(InvalidRequest) as refused:
        ask(service, lambda client: client.check(0))
    assert refused.value.errors == [problem]


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Forbidden), (401, Unauthorized), (418, UnexpectedAnswer), (302, UnexpectedAnswer)]
)
def test_an_error_page_of_a_proxy_raises_the_exception_of_its_status(
    ask: Ask, status: int, kind: type[AccountingError]
) -> None:
    with pytest.raises(kind) as refused:
        ask(Played(httpx.Response(status, text="<html>")), lambda client: client.balance())
    assert (refused.value.code, refused.value.status) == (f"HTTP_{status}", status)


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, text="<html>"), ok([]), ok({"userId": "u"}), ok(None)], ids=lambda each: each.text
)
def test_a_success_with_unexpected_content_is_an_unexpected_answer(ask: Ask, answer: httpx.Response) -> None:
    with pytest.raises(UnexpectedAnswer):
        ask(Played(answer), lambda client: client.balance())


def test_an_exception_can_be_sent_to_another_process() -> None:
    error = InsufficientCredits("No", "INSUFFICIENT_CREDITS", 402, {"shortfall": 3}, "r-1")

    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is InsufficientCredits
    assert (copy.shortfall, copy.request_id, str(copy)) == (3, "r-1", str(error))
