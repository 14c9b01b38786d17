"""Which requests the client repeats, how often, and after which pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AccountingError,
    AsyncAccountingClient,
    Contention,
    InsufficientCredits,
    InternalError,
    RateLimited,
    Retries,
    Unavailable,
    Unreachable,
)
from client.tests.conftest import BASE_URL
from client.tests.played import BALANCE, GRANTED, Played, ok, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.tests.conftest import Ask

LOST = httpx.ReadError("the connection was closed")
TEMPORARY = [
    refusal(429, "RATE_LIMITED", "0"),
    refusal(503, "CONTENTION", "0"),
    refusal(503, "UNAVAILABLE", "0"),
    refusal(504, "TIMEOUT"),
    httpx.Response(502, text="<html>Bad Gateway</html>"),
    LOST,
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("too late"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
]
DONE = {"message": "done"}
REPEATABLE: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "a read": (lambda client: client.balance(), BALANCE),
    "a command": (lambda client: client.allocate("u", 5), GRANTED),
    "a session's call": (
        lambda client: client.heartbeat("s", 5),
        {"sessionId": "s", "tokensGenerated": 5, "allocatedCredits": 1, "expiresAt": "2026-12-21T08:30:00.000Z"},
    ),
}
ONCE: dict[str, Callable[[Any], Any]] = {
    "revoke a key": lambda client: client.revoke_api_key("k"),
    "delete a key": lambda client: client.delete_api_key("k"),
    "end a price": lambda client: client.end_price("m", "2026-01-01", "2027-01-01"),
    "withdraw a price": lambda client: client.withdraw_price("m", "2027-01-01"),
    "end a session": lambda client: client.end_session("u", "s", "it hangs"),
    "change a key": lambda client: client.change_api_key("k", name="n"),
}


@pytest.mark.parametrize("trouble", TEMPORARY, ids=repr)
@pytest.mark.parametrize("kind", REPEATABLE)
def test_a_request_is_repeated_after_a_temporary_failure_if_a_repeat_is_safe(ask: Ask, trouble: Any, kind: str) -> None:
    act, body = REPEATABLE[kind]
    service = Played(trouble, trouble, ok(body))

    ask(service, act)

    assert len(service.requests) == 3


@pytest.mark.parametrize("trouble", [LOST, refusal(503, "UNAVAILABLE"), refusal(504, "TIMEOUT")], ids=repr)
@pytest.mark.parametrize("kind", ONCE)
def test_a_request_that_may_have_been_carried_out_is_not_repeated_if_a_repeat_is_unsafe(
    ask: Ask, trouble: Any, kind: str
) -> None:
    service = Played(trouble)

    with pytest.raises(Unavailable):
        ask(service, ONCE[kind])
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "trouble", [refusal(429, "RATE_LIMITED"), refusal(503, "CONTENTION"), httpx.ConnectTimeout("")], ids=repr
)
def test_a_request_that_was_certainly_not_carried_out_is_always_repeated(ask: Ask, trouble: Any) -> None:
    service = Played(trouble, ok(DONE))

    assert ask(service, lambda client: client.delete_api_key("k")).message == "done"
    assert len(service.requests) == 2


def test_each_command_has_its_own_idempotency_key_which_its_repeats_share(ask: Ask) -> None:
    service = Played(LOST, refusal(503, "UNAVAILABLE", "0"), ok(GRANTED), LOST, ok(GRANTED))

    ask(service, lambda client: client.allocate("u", 5))
    ask(service, lambda client: client.allocate("u", 5))

    first, second = service.headers("idempotency-key")[:3], service.headers("idempotency-key")[3:]
    assert len(set(first)) == len(set(second)) == 1
    assert first[0]
    assert first[0] != second[0]


@pytest.mark.parametrize("key", ["", "two words", "schlüssel", "line\n"])
def test_an_idempotency_key_that_is_not_valid_in_a_header_is_refused_and_not_replaced(ask: Ask, key: str) -> None:
    service = Played(ok(GRANTED))

    with pytest.raises(ValueError, match="the idempotency key is empty"):
        ask(service, lambda client: client.allocate("u", 5, idempotency_key=key))
    assert service.requests == []


def test_the_callers_own_idempotency_key_is_sent_unchanged(ask: Ask) -> None:
    service = Played(ok(GRANTED))

    ask(service, lambda client: client.allocate("u", 5, idempotency_key="order-7"))

    assert service.headers("idempotency-key") == ["order-7"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refusal(402, "INSUFFICIENT_CREDITS"), InsufficientCredits),
        (refusal(500, "INTERNAL_ERROR"), InternalError),
        (refusal(400, "VALIDATION_ERROR"), AccountingError),
    ],
    ids=repr,
)
def test_a_request_that_would_be_refused_again_is_not_repeated(
    ask: Ask, answer: httpx.Response, kind: type[Exception]
) -> None:
    service = Played(answer)

    with pytest.raises(kind):
        ask(service, lambda client: client.balance())
    assert len(service.requests) == 1


def test_the_error_of_the_last_attempt_is_raised(ask: Ask) -> None:
    service = Played(LOST, LOST, refusal(429, "RATE_LIMITED", "0"))

    with pytest.raises(RateLimited):
        ask(service, lambda client: client.balance(), retries=Retries(attempts=4, first_seconds=0.001))
    assert len(service.requests) == 4


def test_a_wait_that_exceeds_the_total_time_is_not_begun(ask: Ask) -> None:
    service = Played(refusal(503, "CONTENTION", "3600"))

    with pytest.raises(Contention) as refused:
        ask(service, lambda client: client.balance())
    assert refused.value.retry_after_seconds == 3600
    assert len(service.requests) == 1


def test_one_attempt_cannot_exceed_the_total_time(ask: Ask) -> None:
    service = Played(LOST)

    with pytest.raises(Unreachable):
        ask(service, lambda client: client.balance(), retries=Retries(attempts=1, total_seconds=2), timeout_seconds=60)
    assert service.requests[0].extensions["timeout"]["read"] <= 2


@pytest.mark.parametrize("attempts", range(1, 6))
def test_a_pause_is_a_random_part_of_a_limit_that_doubles(attempts: int) -> None:
    retries = Retries(attempts=100, first_seconds=0.5, longest_seconds=4)
    longest = min(4, 0.5 * 2 ** (attempts - 1))

    assert [retries.pause(attempts, 0, 0, chance) for chance in (0, 0.5, 1)] == [0, longest / 2, longest]


def test_the_random_pause_is_added_to_retry_after() -> None:
    assert Retries(first_seconds=0.5).pause(1, 0, 2, 0.5) == 2.25


def test_there_is_no_further_pause_when_attempts_or_time_are_used_up() -> None:
    retries = Retries(attempts=3, total_seconds=10, first_seconds=4)

    assert retries.pause(2, 0, 0, 1) == 5
    assert retries.pause(3, 0, 0, 1) is None
    assert retries.pause(2, 5, 0, 1) is None
    assert Retries(attempts=10**9).pause(10**6, 0, 0, 0.5) == 2.5


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "6", None])
def test_the_number_of_attempts_must_be_a_whole_number_of_at_least_one(number: Any) -> None:
    with pytest.raises(ValueError, match="attempts must be a whole number of at least 1"):
        Retries(attempts=number)


INVALID_SECONDS = [-0.1, float("nan"), float("inf"), 1e12, True, "30", None]


@pytest.mark.parametrize("seconds", INVALID_SECONDS)
@pytest.mark.parametrize("name", ["total_seconds", "first_seconds", "longest_seconds"])
def test_a_time_that_is_not_a_valid_number_of_seconds_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, 0 or more"):
        Retries(**{name: seconds})


@pytest.mark.parametrize("seconds", [0, *INVALID_SECONDS])
@pytest.mark.parametrize("kind", [AccountingClient, AsyncAccountingClient])
def test_a_timeout_that_is_not_a_valid_number_of_seconds_is_refused(kind: Any, seconds: Any) -> None:
    with pytest.raises(ValueError, match="timeout_seconds must be a number of seconds, more than 0"):
        kind(BASE_URL, timeout_seconds=seconds)
