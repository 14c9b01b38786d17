"""What a stream does if its settlement fails, the service is down, or credits are short.

The last tests check how much output a request without a limit of its own reserves.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AsyncAccountingClient,
    InsufficientCredits,
    Retries,
    Unavailable,
    estimates,
)
from client.tests.accountant import answer_with
from client.tests.bank import LOST, Bank, serving
from client.tests.conftest import BASE_URL
from client.tests.played import refusal

RETRIES = Retries(attempts=2, total_seconds=5, first_seconds=0.01, longest_seconds=0.05)
BRIEF = Retries(attempts=2, total_seconds=0.2, first_seconds=0.01, longest_seconds=0.05)
ESTIMATE = {"inputTokens": 500, "outputTokens": 100}
USAGE = {"prompt_tokens": 480, "completion_tokens": 42, "total_tokens": 522}
WAIT_SECONDS = 10
SRC = Path(__file__).parent.parent / "src"


class Play:
    """Runs a stream with a client whose service is ``bank``."""

    def __init__(self, kind: str, bank: Bank) -> None:
        self.bank = bank
        self._kind = kind

    def __call__(
        self,
        body: Callable[[Any], None],
        *,
        then: Callable[[], object] = bool,
        until: Callable[[], object] = lambda: True,
        retries: Retries = RETRIES,
        **options: Any,
    ) -> Any:
        """Call ``body`` in a session, call ``then`` after the session, and return the session.

        Before the client is closed, wait until ``until`` returns true.
        """
        options = {"estimated_usage": ESTIMATE, "settle_seconds": 0.05, **options}
        if self._kind == "async":
            return asyncio.run(self._async(body, then, until, retries, options))
        with (
            httpx.Client(transport=httpx.MockTransport(self.bank)) as http,
            AccountingClient(BASE_URL, "jwt", http=http, retries=retries) as client,
        ):
            with client.streaming_session("m", **options) as session:
                body(session)
            then()
            began = time.monotonic()
            while not until():
                assert time.monotonic() < began + WAIT_SECONDS
                time.sleep(0.01)
        return session

    async def _async(self, body: Any, then: Any, until: Any, retries: Retries, options: dict[str, Any]) -> Any:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(self.bank)) as http,
            AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=retries) as client,
        ):
            async with client.streaming_session("m", **options) as session:
                body(session)
            then()
            began = time.monotonic()
            while not until():
                assert time.monotonic() < began + WAIT_SECONDS
                await asyncio.sleep(0.01)
        return session


@pytest.fixture(params=["sync", "async"])
def play(request: pytest.FixtureRequest) -> Play:
    return Play(request.param, Bank())


def test_if_the_service_is_down_the_settlement_is_sent_later_and_the_stream_does_not_wait_for_it(play: Play) -> None:
    bank, left_after = play.bank, []

    def body(session: Any) -> None:
        session.set_usage(USAGE, "openai")
        bank.is_down = True
        left_after.append(time.monotonic())

    def then() -> None:
        left_after.append(time.monotonic())
        assert bank.open
        bank.is_down = False

    session = play(body, then=then, until=lambda: not bank.open and bank.asked["finalize"] > 1)

    assert left_after[1] - left_after[0] < 2
    assert bank.only().charges == 1
    assert (bank.only().settled or {})["usage"] == USAGE
    assert session.result.charged_credits == 1


def test_closing_the_client_waits_while_a_settlement_is_sent_again(play: Play) -> None:
    play.bank.trouble["finalize"] = [LOST] * 4

    assert play(lambda session: session.add_tokens(5), settle_seconds=0.001).result
    assert play.bank.open == set()


def test_closing_the_client_logs_a_settlement_once_if_it_cannot_be_sent(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    def body(session: Any) -> None:
        session.add_tokens(30)
        play.bank.is_down = True

    session = play(body, retries=BRIEF)

    assert session.result is None
    logged = [line for line in caplog.messages if f"session {session.session_id} could not be settled with 30" in line]
    assert len(logged) == 1


def test_the_log_does_not_mention_the_sweeper_if_the_service_was_down_when_the_stream_began(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    play.bank.is_down = True

    session = play(lambda session: session.add_tokens(30), retries=BRIEF, on_unreachable="allow")

    told = f"session {session.session_id} could not be settled with 30 tokens, it began without a hold"
    assert [line.startswith(told) for line in caplog.messages if "could not be settled" in line] == [True]
    assert "sweeper" not in caplog.text


def test_the_refusal_of_a_delayed_settlement_is_logged(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    play.bank.trouble["finalize"] = [*[LOST] * 3, refusal(404, "SESSION_NOT_ACTIVE")]

    play(lambda session: session.add_tokens(30), settle_seconds=0.001, until=lambda: "could not be" in caplog.text)
    assert "could not be settled with 30 tokens, it had ended before" in caplog.text


def test_if_the_usage_of_a_delayed_settlement_is_rejected_the_client_sends_just_the_tokens(play: Play) -> None:
    play.bank.rejects_usage = True
    play.bank.trouble["finalize"] = [LOST] * 3

    session = play(lambda session: session.set_usage(USAGE, "openai"), settle_seconds=0.001)

    assert session.result
    assert play.bank.only().settled == {
        "sessionId": session.session_id,
        "actualTokens": 42,
        "success": True,
        "metadata": {"estimated": True},
    }


@pytest.mark.parametrize(
    "trouble", [refusal(400, "VALIDATION_ERROR"), refusal(413, "PAYLOAD_TOO_LARGE")], ids=["400", "413"]
)
def test_if_a_settlement_is_rejected_the_client_sends_just_the_tokens(play: Play, trouble: Any) -> None:
    play.bank.trouble["finalize"] = [trouble, trouble]

    def body(session: Any) -> None:
        session.set_usage(USAGE, "openai")
        session.add_metadata({"long": "text"})

    session = play(body)

    assert session.result
    settlement = play.bank.only().settled or {}
    assert (settlement["actualTokens"], settlement["metadata"]) == (42, {"estimated": True})


def test_an_output_can_be_shortened_to_what_the_user_can_pay_for(play: Play) -> None:
    play.bank.credits = 40
    seen = []

    play(lambda session: seen.append(session.max_output_tokens), when_short="shorten")

    assert seen == [40]
    assert play.bank.only().opened["estimatedUsage"] == {"inputTokens": 500, "outputTokens": 40}
    assert play.bank.asked["initialize"] == 2


def test_a_session_can_name_the_account_that_pays_and_the_run_that_it_counts_for(play: Play) -> None:
    play(lambda session: session.add_tokens(1), account_id="org:acme", run_id="r1")
    assert play.bank.only().opened["accountId"] == "org:acme"
    assert play.bank.only().opened["runId"] == "r1"


def test_a_user_who_can_pay_for_no_output_is_refused(play: Play) -> None:
    play.bank.credits = 0
    with pytest.raises(InsufficientCredits):
        play(lambda _: pytest.fail("entered"), when_short="shorten")
    assert play.bank.sessions == {}


def test_nothing_is_shortened_unless_the_caller_asks_for_it(play: Play) -> None:
    play.bank.credits = 40
    with pytest.raises(InsufficientCredits) as refused:
        play(lambda _: pytest.fail("entered"))
    assert refused.value.affordable_output_tokens == 40


def test_a_stream_does_not_begin_while_the_service_is_down(play: Play) -> None:
    play.bank.is_down = True
    with pytest.raises(Unavailable):
        play(lambda _: pytest.fail("entered"), retries=BRIEF)


def test_a_stream_that_began_without_the_service_is_charged_when_the_service_is_back(play: Play) -> None:
    bank = play.bank
    bank.is_down = True

    def then() -> None:
        bank.is_down = False

    session = play(
        lambda session: session.set_usage(USAGE, "openai"),
        then=then,
        until=lambda: bank.sessions and not bank.open,
        on_unreachable="allow",
        variant="batch",
        account_id="org:acme",
        run_id="r1",
    )

    assert bank.only().opened == {
        "sessionId": session.session_id,
        "modelId": "m",
        "variant": "batch",
        "accountId": "org:acme",
        "runId": "r1",
        "estimatedUsage": {"inputTokens": 0, "outputTokens": 0, "requests": 0},
    }
    assert (bank.only().settled or {})["usage"] == USAGE
    assert session.result


def test_without_a_usage_the_client_settles_for_the_estimated_input_and_the_counted_output(play: Play) -> None:
    """The service was down when the stream began."""
    bank = play.bank
    bank.is_down = True

    def then() -> None:
        bank.is_down = False

    play(
        lambda session: session.add_tokens(7),
        then=then,
        until=lambda: bank.sessions and not bank.open,
        on_unreachable="allow",
    )
    settled = bank.only().settled or {}
    assert settled["usage"] == {"inputTokens": 500, "outputTokens": 7}
    assert settled["metadata"] == {"estimated": True}


def test_a_hold_whose_answer_was_lost_is_settled_like_any_other(play: Play) -> None:
    bank = play.bank

    answer = bank._initialize

    def lost(body: dict[str, Any], user: str) -> httpx.Response:
        answer(body, user)
        raise LOST

    bank._initialize = lost  # type: ignore[method-assign]
    play(lambda session: session.set_usage(USAGE, "openai"), on_unreachable="allow", until=lambda: not bank.open)
    assert bank.only().opened["estimatedUsage"] == ESTIMATE
    assert bank.only().charges == 1


@pytest.mark.parametrize(
    "options",
    [
        {"when_short": "shorten", "estimated_usage": None, "estimated_tokens": 5},
        {"on_unreachable": "allow", "estimated_usage": None, "estimated_tokens": 5},
        {"when_short": "cut"},
        {"on_unreachable": "ignore"},
    ],
)
def test_unusable_options_of_a_session_raise_value_error(play: Play, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"when_short|on_unreachable"):
        play(lambda _: pytest.fail("entered"), **options)


PROGRAM = """
import sys
from accounting_client import AccountingClient, Retries
import logging
logging.basicConfig()
client = AccountingClient(sys.argv[1], "jwt", retries=Retries(attempts=1))
session = client.streaming_session("m", 100).__enter__()
session.add_tokens(7)
print(session.session_id)
"""


def run_program(program: str, url: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(SRC), "NO_PROXY": "*", "no_proxy": "*"}
    command = [sys.executable, "-c", program, url]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def test_if_a_program_ends_inside_a_stream_its_session_is_settled() -> None:
    bank = Bank()
    with serving(bank) as url:
        run = run_program(PROGRAM, url)
    assert run.returncode == 0, run.stderr
    assert (bank.only().outcome, (bank.only().settled or {})["tokensGenerated"]) == ("abort", 7)


def test_a_program_logs_its_open_session_if_it_ends_while_the_service_is_down() -> None:
    bank = Bank()
    with serving(bank) as url:
        program = PROGRAM + "import urllib.request; urllib.request.urlopen(sys.argv[1] + '/api/down', b'{}')\n"
        usual_answer = bank.answer

        def answer(path: str, content: bytes, user: str) -> httpx.Response:
            bank.is_down = bank.is_down or path.endswith("/down")
            return httpx.Response(200) if path.endswith("/down") else usual_answer(path, content, user)

        bank.answer = answer  # type: ignore[method-assign]
        run = run_program(program, url)
    assert run.returncode == 0, run.stderr
    assert f"session {run.stdout.strip()} could not be settled with 7 tokens" in run.stderr


Limits = Callable[..., list[int]]


@pytest.fixture(params=["sync", "async"])
def limits(request: pytest.FixtureRequest) -> Limits:
    """Return a function that runs each of ``changes`` in turn, and lists the client's output limit after each one.

    Pass ``bool`` where nothing should change.
    """

    def ask(service: Callable[[httpx.Request], httpx.Response], *changes: Callable[[], object]) -> list[int]:
        async def asked() -> list[int]:
            async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
                client, found = AsyncAccountingClient(BASE_URL, "jwt", http=http), []
                for change in changes:
                    change()
                    found.append(await client.for_user("ann").output_limit("m"))
                return found

        if request.param == "async":
            return asyncio.run(asked())
        with httpx.Client(transport=httpx.MockTransport(service)) as http:
            client, found = AccountingClient(BASE_URL, "jwt", http=http), []
            for change in changes:
                change()
                found.append(client.for_user("ann").output_limit("m"))
            return found

    return ask


@pytest.mark.parametrize(("limit", "reserved"), [({"m": 900}, 900), ({"m": 64_000}, 4096), ({}, 4096)])
def test_a_request_without_a_limit_reserves_the_models_maximum_output_but_at_most_the_default(
    limits: Limits, limit: dict[str, int], reserved: int
) -> None:
    bank = Bank()
    bank.limits = limit

    assert limits(bank, bool, bool, bool) == [reserved] * 3
    assert bank.asked["price"] == 1, "the limit is cached"


FAILURES = [
    refusal(503, "UNAVAILABLE"),
    refusal(429, "RATE_LIMITED", "60"),
    refusal(401, "TOKEN_EXPIRED"),
    refusal(403, "RIGHT_MISSING"),
    httpx.Response(200, content=b"not JSON"),
    LOST,
]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_request_reserves_the_default_until_the_price_can_be_read(
    limits: Limits, failure: httpx.Response | httpx.ReadError, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank()
    bank.limits = {"m": 900}
    usual_answer = bank._price

    def fail() -> None:
        monkeypatch.setattr(bank, "_price", lambda _: answer_with(failure))

    def recover() -> None:
        monkeypatch.setattr(bank, "_price", usual_answer)

    assert limits(bank, fail, bool, recover, fail) == [4096, 4096, 900, 900]
    assert bank.asked["price"] == 3, "each request asks once, until the price is known"


def test_a_request_reserves_the_last_known_maximum_while_the_service_is_down(
    limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank()
    bank.limits = {"m": 900}

    def go_down() -> None:
        monkeypatch.setattr(estimates, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + 301))
        bank.is_down = True

    assert limits(bank, bool, go_down) == [900, 900]
    assert bank.asked["price"] == 2


@pytest.mark.parametrize("refused", [refusal(400, "MODEL_UNKNOWN"), refusal(404, "PRICE_NOT_FOUND")], ids=repr)
def test_a_missing_price_is_cached(limits: Limits, refused: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> None:
    bank = Bank()
    monkeypatch.setattr(bank, "_price", lambda _: answer_with(refused))

    assert limits(bank, bool, bool) == [4096, 4096]
    assert bank.asked["price"] == 1


def test_a_request_waits_at_most_two_seconds_for_the_models_maximum_output(limits: Limits) -> None:
    """The wait is short, because the request then also waits for its session to begin. The next request asks again."""
    timeouts: list[dict[str, float]] = []

    def late(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        raise httpx.ReadTimeout("too late")

    assert limits(late, bool, bool) == [4096, 4096]
    assert len(timeouts) == 2
    assert max(seconds for each in timeouts for seconds in each.values()) <= 2
