"""Streaming sessions, sync and async: what the service receives, and what the caller sees."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AsyncAccountingClient,
    Forbidden,
    InsufficientCredits,
    InternalError,
    Retries,
    SessionEnded,
    SessionExists,
    SessionNotActive,
    Unavailable,
    UnexpectedAnswer,
    hold,
)
from accounting_client.meter import Meter
from accounting_client.routes.sessions import Heartbeat, Initialized
from client.tests.accountant import Accountant
from client.tests.conftest import BASE_URL
from client.tests.played import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

type Body = Callable[[Any], Iterator[float]]
"""What a test does inside the ``with`` block. Each yielded number is a time to wait, in seconds."""

LOST = httpx.ReadError("the connection was closed")
QUICK = Retries(attempts=3, first_seconds=0.001, longest_seconds=0.01)
BRIEF = Retries(attempts=3, total_seconds=0.5, first_seconds=0.001, longest_seconds=0.01)


class Run(Protocol):
    """Streams ``body`` in a session of ``service`` and returns the session."""

    def __call__(self, service: Accountant, body: Body, estimate: int = 100, **options: Any) -> Any: ...


@pytest.fixture(params=["sync", "async"])
def stream(request: pytest.FixtureRequest) -> Run:
    """Return a function that streams with the sync client, or with the async client."""

    def sync(service: Accountant, body: Body, estimate: int = 100, **options: Any) -> Any:
        with httpx.Client(transport=httpx.MockTransport(service)) as http:
            token, retries = options.pop("token", "jwt"), options.pop("retries", QUICK)
            with AccountingClient(BASE_URL, token, http=http, retries=retries) as client:
                with client.streaming_session("m", estimate, **options) as session:
                    for seconds in body(session):
                        time.sleep(seconds)
                return session

    async def awaited(service: Accountant, body: Body, estimate: int, options: dict[str, Any]) -> Any:
        token, retries = options.pop("token", "jwt"), options.pop("retries", QUICK)
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(service)) as http,
            AsyncAccountingClient(BASE_URL, token, http=http, retries=retries) as client,
        ):
            async with client.streaming_session("m", estimate, **options) as session:
                for seconds in body(session):
                    await asyncio.sleep(seconds)
            return session

    def asynchronous(service: Accountant, body: Body, estimate: int = 100, **options: Any) -> Any:
        return asyncio.run(awaited(service, body, estimate, options))

    return sync if request.param == "sync" else asynchronous


def counting(*numbers: int, seconds: float = 0) -> Body:
    """A stream of chunks with these numbers of tokens, ``seconds`` apart."""

    def body(session: Any) -> Iterator[float]:
        for tokens in numbers:
            session.add_tokens(tokens)
            yield seconds

    return body


def until(done: Callable[[], object], *, at_most: int = 3000) -> Body:
    """A stream that adds single tokens until ``done`` returns true. After ``at_most`` tokens, the test fails."""

    def body(session: Any) -> Iterator[float]:
        for _ in range(at_most):
            session.add_tokens(1)
            yield 0.01
            if done():
                return
        pytest.fail("`done` never returned true")

    return body


def test_a_stream_that_ends_is_finalized_with_its_tokens(stream: Run) -> None:
    service = Accountant()

    session = stream(service, counting(30, 12))

    assert service.received == [("initialize", 100), ("finalize", 42)]
    assert (session.opened.allocated_credits, session.opened.estimated_credits) == (12, 10)
    assert (session.result.charged_credits, session.result.refund) == (5, 7)
    assert service.session_ids == {session.session_id}


def test_every_session_has_a_new_id_or_the_callers_id(stream: Run) -> None:
    one, other = stream(Accountant(), counting()), stream(Accountant(), counting())

    assert one.session_id != other.session_id
    assert stream(Accountant(), counting(), session_id="mine").session_id == "mine"


def test_a_stream_that_fails_is_aborted_with_its_tokens_and_raises_its_error(stream: Run) -> None:
    service = Accountant()

    def fails(session: Any) -> Iterator[float]:
        session.add_tokens(30)
        yield 0
        raise ConnectionResetError("the model hung up")

    with pytest.raises(ConnectionResetError):
        stream(service, fails)
    assert service.received == [("initialize", 100), ("abort", 30)]


def test_without_enough_credits_the_block_is_not_entered(stream: Run) -> None:
    service = Accountant(credits=4)

    with pytest.raises(InsufficientCredits) as refused:
        stream(service, lambda _: pytest.fail("entered"))
    assert refused.value.affordable_tokens == 40
    assert service.steps() == ["initialize"]


def test_the_total_number_of_tokens_can_be_set_at_the_end(stream: Run) -> None:
    service = Accountant()

    def body(session: Any) -> Iterator[float]:
        session.add_tokens(50)
        yield 0
        session.set_tokens(47)

    assert stream(service, body).tokens == 47
    assert service.outcome == ("finalize", 47)


def test_heartbeats_are_sent_at_the_given_interval(stream: Run) -> None:
    service, began = Accountant(), time.monotonic()

    stream(service, until(lambda: len(service.tokens_of("heartbeat")) >= 3), heartbeat_seconds=0.05)

    beats = service.tokens_of("heartbeat")
    assert beats == sorted(set(beats))
    assert time.monotonic() - began >= 0.15


def expiring(service: Accountant, seconds: float) -> Accountant:
    """Make the service's answers say that a session expires after ``seconds``. Return the service."""

    def expires_at() -> str:
        return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()

    service.expires_at = expires_at
    return service


def test_no_heartbeat_is_sent_while_the_hold_suffices_and_the_timeout_is_far(
    stream: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "WATCH_SECONDS", 0.01)
    service = expiring(Accountant(), 3600)

    stream(service, counting(*[5] * 20, seconds=0.01))

    assert service.received == [("initialize", 100), ("finalize", 100)]


def test_a_heartbeat_is_sent_after_a_quarter_of_the_timeout(stream: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "WATCH_SECONDS", 0.01)
    service, began = expiring(Accountant(), 0.8), time.monotonic()

    stream(service, until(lambda: len(service.tokens_of("heartbeat")) >= 2))

    assert time.monotonic() - began >= 0.4


def test_a_failed_heartbeat_is_repeated_at_the_next_check(stream: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "WATCH_SECONDS", 0.01)
    service = expiring(Accountant(), 3600)
    service.trouble["heartbeat"] = [httpx.ConnectError("gone")] * 5

    def body(session: Any) -> Iterator[float]:
        session.add_tokens(121)
        yield from until(lambda: len(service.tokens_of("heartbeat")) >= 6)(session)

    stream(service, body)

    assert not service.trouble["heartbeat"]
    assert service.tokens_of("heartbeat")[-1] > 121


def test_a_heartbeat_is_sent_at_once_if_the_tokens_no_longer_fit_the_hold(stream: Run) -> None:
    service = Accountant()

    def body(session: Any) -> Iterator[float]:
        session.add_tokens(120)
        yield 0.01
        yield from until(lambda: service.tokens_of("heartbeat"))(session)

    stream(service, body, heartbeat_seconds=60)
    assert len(service.tokens_of("heartbeat")) == 1
    assert service.tokens_of("heartbeat")[0] > 120


def test_tokens_that_fit_the_hold_cause_no_extra_heartbeat(stream: Run) -> None:
    service = Accountant()

    stream(service, counting(*[12] * 10, seconds=0.005))
    assert service.tokens_of("heartbeat") == []


def test_a_fast_stream_sends_at_most_ten_heartbeats_for_each_interval(stream: Run) -> None:
    service = Accountant(credits=10**6)

    began = time.monotonic()
    stream(service, counting(*[200] * 40, seconds=0.005), heartbeat_seconds=0.5)
    assert len(service.tokens_of("heartbeat")) <= 1 + (time.monotonic() - began) / 0.05


def test_a_tiny_price_does_not_cause_a_heartbeat_for_every_chunk() -> None:
    """One credit pays for a thousand tokens. The estimate is one token, and its cost is rounded up to one credit."""
    at, beats = datetime.now(UTC), 0
    meter = Meter(1, Initialized("s", 2, 1, at, "Holding"))

    for tokens in range(2000):
        meter.count(tokens)
        if meter.outgrown:
            beats += 1
            meter.answered(Heartbeat("s", tokens, 2, at), meter.report())
    assert 10 <= beats <= 20


def test_a_hold_that_cannot_be_raised_stops_the_stream_at_its_next_tokens(stream: Run) -> None:
    service = Accountant(credits=12)
    generated = 0

    def body(session: Any) -> Iterator[float]:
        nonlocal generated
        for tokens in [120, *[1] * 500]:
            generated += tokens
            session.add_tokens(tokens)
            yield 0.01

    with pytest.raises(InsufficientCredits) as refused:
        stream(service, body)
    assert refused.value.shortfall == 1
    assert len(service.tokens_of("heartbeat")) == 1
    assert service.outcome == ("abort", generated), (
        "the tokens of the last `add_tokens`, which raised, must be reported, too"
    )


@pytest.mark.parametrize(
    ("answer", "kind"), [(refusal(404, "SESSION_NOT_ACTIVE"), SessionNotActive), (refusal(403, "FORBIDDEN"), Forbidden)]
)
def test_a_refused_heartbeat_stops_the_stream(stream: Run, answer: httpx.Response, kind: Any) -> None:
    service = Accountant()
    service.trouble["heartbeat"] = [answer]

    with pytest.raises(kind):
        stream(service, until(lambda: False), heartbeat_seconds=0.02)
    assert len(service.tokens_of("heartbeat")) == 1


@pytest.mark.parametrize("trouble", [LOST, refusal(503, "UNAVAILABLE"), refusal(500, "INTERNAL_ERROR")], ids=repr)
def test_heartbeats_that_fail_for_a_while_do_not_stop_the_stream(
    stream: Run, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant()
    service.trouble["heartbeat"] = [trouble] * 4

    session = stream(service, until(lambda: len(service.tokens_of("heartbeat")) > 4), heartbeat_seconds=0.02)

    assert session.result.status == "completed"
    assert "heartbeat of session" in caplog.text


@pytest.mark.parametrize("moment", ["trouble", "afterwards"])
def test_a_settlement_is_repeated_if_its_answer_is_lost(stream: Run, moment: str) -> None:
    service = Accountant()
    getattr(service, moment)["finalize"] = [LOST] * 5

    session = stream(service, counting(30))

    assert service.tokens_of("finalize") == [30] * 6
    assert session.result.replayed == (moment == "afterwards")
    assert service.outcome == ("finalize", 30)


@pytest.mark.parametrize("trouble", [refusal(503, "UNAVAILABLE"), LOST, refusal(404, "SESSION_NOT_ACTIVE")], ids=repr)
def test_a_settlement_that_fails_for_good_is_logged_and_left_to_the_sweeper(
    stream: Run, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant()
    service.trouble["finalize"] = [trouble] * 10_000

    began = time.monotonic()
    session = stream(service, counting(30), settle_seconds=0.2, retries=BRIEF)

    assert time.monotonic() - began < 2
    assert session.result is None
    assert f"session {session.session_id} could not be settled with 30 tokens" in caplog.text


def test_a_failing_access_token_function_does_not_hide_the_streams_own_error(
    stream: Run, caplog: pytest.LogCaptureFixture
) -> None:
    service, tokens = Accountant(), iter(["one"])
    service.trouble["abort"] = [refusal(401, "TOKEN_EXPIRED")] * 10_000

    def fails(_: Any) -> Iterator[float]:
        yield 0
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        stream(service, fails, token=lambda: next(tokens), settle_seconds=0.1, retries=BRIEF)
    assert "could not be settled" in caplog.text


UNREADABLE = httpx.Response(200, text="<html>")
EXPIRED = refusal(401, "TOKEN_EXPIRED")


@pytest.mark.parametrize("trouble", [refusal(500, "INTERNAL_ERROR"), UNREADABLE, EXPIRED], ids=repr)
def test_a_settlement_that_may_succeed_later_is_repeated(stream: Run, trouble: httpx.Response) -> None:
    """After an access token is refused, the function that returns access tokens may return a valid one."""
    service = Accountant()
    service.trouble["finalize"] = [trouble] * 4

    session = stream(service, counting(30), token=lambda: "jwt")

    assert service.outcome == ("finalize", 30)
    assert session.result.status == "completed"


def test_a_session_settles_after_its_access_token_function_fails_for_a_while(stream: Run) -> None:
    service, failures = Accountant(), [OSError("the sign-in service is away")] * 2
    service.trouble["finalize"] = [EXPIRED] * 2

    def token() -> str:
        if service.tokens_of("finalize") and failures:
            raise failures.pop()
        return "jwt"

    assert stream(service, counting(30), token=token).result.status == "completed"
    assert failures == []


def test_a_fixed_access_token_that_is_refused_is_not_sent_again(stream: Run, caplog: pytest.LogCaptureFixture) -> None:
    service = Accountant()
    service.trouble["finalize"] = [EXPIRED] * 2

    assert stream(service, counting(30)).result is None
    assert service.tokens_of("finalize") == [30]
    assert "could not be settled with 30 tokens, the sweeper will end it" in caplog.text


@pytest.mark.parametrize("trouble", [UNREADABLE, EXPIRED], ids=repr)
def test_heartbeats_with_an_unreadable_answer_or_an_expired_token_do_not_stop_the_stream(
    stream: Run, trouble: httpx.Response
) -> None:
    service = Accountant()
    service.trouble["heartbeat"] = [trouble] * 4
    body = until(lambda: len(service.tokens_of("heartbeat")) > 4)

    assert stream(service, body, heartbeat_seconds=0.02, token=lambda: "jwt").result.status == "completed"


@pytest.mark.parametrize("trouble", [refusal(500, "INTERNAL_ERROR"), UNREADABLE], ids=repr)
def test_the_hold_is_released_if_the_answer_to_the_opening_is_unusable(stream: Run, trouble: httpx.Response) -> None:
    service = Accountant()
    service.afterwards["initialize"] = [trouble]

    with pytest.raises((InternalError, UnexpectedAnswer)):
        stream(service, lambda _: pytest.fail("entered"))
    assert service.outcome == ("abort", 0)


@pytest.mark.parametrize("tokens", [1.5, 2.0, Decimal(3), "4"])
def test_only_integers_are_counted_as_tokens(stream: Run, tokens: Any) -> None:
    service = Accountant()

    with pytest.raises(TypeError):
        stream(service, counting(30, tokens))
    assert service.outcome == ("abort", 30)


def test_a_session_is_not_entered_if_its_id_was_used_before(stream: Run) -> None:
    """The service repeats its answer to the first opening, and does not hold credits again."""
    service = Accountant()
    stream(service, counting(30), session_id="mine")

    with pytest.raises(SessionExists):
        stream(service, lambda _: pytest.fail("entered"), session_id="mine")
    assert service.steps() == ["initialize", "finalize", "initialize"]


@pytest.mark.parametrize("session_id", [None, "mine"])
def test_a_session_is_entered_if_its_opening_is_repeated_after_a_lost_answer(
    stream: Run, session_id: str | None
) -> None:
    service = Accountant()
    service.afterwards["initialize"] = [LOST]

    session = stream(service, counting(30), session_id=session_id)

    assert session.opened.replayed
    assert service.outcome == ("finalize", 30)


def test_a_session_that_has_ended_is_not_entered(stream: Run) -> None:
    service = Accountant()
    service.trouble["initialize"] = [refusal(409, "SESSION_ENDED", status="completed", outcome="finalized")]

    with pytest.raises(SessionEnded) as refused:
        stream(service, lambda _: pytest.fail("entered"), session_id="mine")
    assert refused.value.outcome == "finalized"
    assert service.steps() == ["initialize"]


INVALID_SECONDS = [0, -1, -0.001, float("nan"), float("inf"), 1e12, True, "10", Decimal(10)]


@pytest.mark.parametrize(
    ("name", "seconds"),
    [*product(["heartbeat_seconds", "settle_seconds"], INVALID_SECONDS), ("settle_seconds", None)],
)
def test_an_invalid_number_of_seconds_is_refused_before_anything_is_held(stream: Run, name: str, seconds: Any) -> None:
    service = Accountant()

    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, more than 0"):
        stream(service, lambda _: pytest.fail("entered"), **{name: seconds})
    assert service.received == []


def test_the_heartbeat_interval_may_be_none(stream: Run) -> None:
    service = Accountant()

    stream(service, counting(30), heartbeat_seconds=None)

    assert service.outcome == ("finalize", 30)


def test_a_session_can_be_entered_only_once() -> None:
    service = Accountant()
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        session = AccountingClient(BASE_URL, "jwt", http=http).streaming_session("m", 100)
        with session:
            pass
        with pytest.raises(RuntimeError, match="was entered before"), session:
            pass
    assert service.steps() == ["initialize", "finalize"]


def test_ctrl_c_during_the_opening_releases_the_hold() -> None:
    service = Accountant()
    service.afterwards["initialize"] = [KeyboardInterrupt()]
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http)
        with pytest.raises(KeyboardInterrupt), client.streaming_session("m", 100):
            pytest.fail("entered")
    assert service.outcome == ("abort", 0)


def test_ctrl_c_during_settling_leaves_the_settlement_to_the_background() -> None:
    service = Accountant()
    service.trouble["finalize"] = [KeyboardInterrupt()]
    with (
        httpx.Client(transport=httpx.MockTransport(service)) as http,
        AccountingClient(BASE_URL, "jwt", http=http) as client,
        pytest.raises(KeyboardInterrupt),
        client.streaming_session("m", 100) as session,
    ):
        session.add_tokens(30)
    assert service.outcome == ("finalize", 30)


def test_the_hold_is_released_if_every_answer_to_the_opening_is_lost(stream: Run) -> None:
    service = Accountant()
    service.afterwards["initialize"] = [LOST] * 3

    with pytest.raises(Unavailable):
        stream(service, counting())
    assert service.outcome == ("abort", 0)


def test_no_failed_settlement_is_logged_for_a_session_that_was_never_opened(
    stream: Run, caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant()
    service.trouble["initialize"] = [LOST] * 3

    with pytest.raises(Unavailable):
        stream(service, counting())
    assert service.steps() == ["initialize"] * 3 + ["abort"]
    assert "could not be settled" not in caplog.text


def test_tokens_are_counted_only_inside_the_block_and_are_never_negative(stream: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        with pytest.raises(ValueError, match="-1 can't be added"):
            session.add_tokens(-1)
        with pytest.raises(ValueError, match="-1 is not a number"):
            session.set_tokens(-1)
        yield 0

    session = stream(Accountant(), body)
    with pytest.raises(RuntimeError, match="not open"):
        session.add_tokens(1)


def test_a_session_settled_inside_the_block_is_settled_only_once() -> None:
    for settle, outcome in (("finalize", "completed"), ("abort", "aborted")):
        service = Accountant()
        with httpx.Client(transport=httpx.MockTransport(service)) as http:
            client = AccountingClient(BASE_URL, "jwt", http=http)
            with client.streaming_session("m", 100) as session:
                session.add_tokens(7)
                getattr(session, settle)()
            assert session.result
            assert session.result.status == outcome
        assert service.steps() == ["initialize", settle]


def test_closing_the_client_aborts_a_session_whose_block_was_never_left() -> None:
    service = Accountant()
    with httpx.Client(transport=httpx.MockTransport(service)) as http, AccountingClient(BASE_URL, http=http) as client:
        with client.with_token("one") as one:
            session = one.streaming_session("m", 100).__enter__()
            session.add_tokens(7)
        session.add_tokens(1)

    assert service.received == [("initialize", 100), ("abort", 8)]
