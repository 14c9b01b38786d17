"""The example chat proxy with the real service: every answer is paid for exactly once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting.domain.model_usage import Usage
from accounting.store import keys
from accounting.store.table import pack
from accounting.times import DAY
from client.tests.providers import Provider
from local.paths import ROOT
from tests.documentation.project import free_port
from tests.e2e.books import audited, dynamodb, items_of
from tests.e2e.client import PLAIN, Person

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack
    from tests.e2e.books import Item
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 30
PROMPT = "what is a ledger"


class Proxy:
    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    @contextmanager
    def ask(
        self, person: Person, max_tokens: int, prompt: str = PROMPT, headers: dict[bytes, bytes] | None = None
    ) -> Iterator[httpx.Response]:
        """Ask for an answer, with the user's token unless other ``headers`` are given, and yield the open stream."""
        if headers is None:
            headers = {b"Authorization": f"Bearer {person.token}".encode()}
        question = {"prompt": prompt, "max_tokens": max_tokens}
        with (
            httpx.Client(trust_env=False, verify=PLAIN, timeout=PATIENCE_SECONDS) as http,
            http.stream("POST", f"{self.url}/chat", json=question, headers=headers) as answer,
        ):
            yield answer


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """Return the server that plays the model provider."""
    with Provider.running() as running:
        yield running


@contextmanager
def proxy_of(service: Stack, provider: Provider, **environ: str) -> Iterator[Proxy]:
    port = free_port()
    environ = {
        **os.environ,
        "ACCOUNTING_URL": service.base_url,
        "ACCOUNTING_SERVICE_KEY": service.internal_api_key,
        "HEARTBEAT_SECONDS": "0.2",
        "PYTHONPATH": str(ROOT / "client/src"),
        "NO_PROXY": "127.0.0.1",
        "OPENAI_BASE_URL": provider.base_url,
        "OPENAI_API_KEY": "none",
        **environ,
    }
    command = [sys.executable, "-m", "uvicorn", "examples.chat_proxy.app:app", "--port", port]
    process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, env=environ)
    try:
        _wait_until_it_listens(int(port))
        yield Proxy(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def proxy(service: Stack, provider: Provider) -> Iterator[Proxy]:
    """Return a proxy, shared by the tests that neither kill nor configure it."""
    with proxy_of(service, provider) as running:
        yield running


def test_a_streamed_answer_is_paid_for(service: Stack, people: People, proxy: Proxy, provider: Provider) -> None:
    person = people(credits=100)
    plan = provider.plans(words=20, input_tokens=2_000, cached_tokens=500, output_tokens=700)
    with proxy.ask(person, 1_000) as answer:
        events = _events(answer)

    assert "".join(event.get("text", "") for event in events) == plan.text
    assert events[-1]["usage"] == plan.chat_usage
    books = audited(service, person)
    (record,) = books.usage
    assert (record["service"], record["credits"]) == ("chat-streaming", 3)
    assert Usage.from_text(record["usage"]) == Usage(2_000, 700, cached_input=500)
    assert books.balance["heldCredits"] == 0


def test_a_user_without_enough_credits_gets_a_refusal_with_the_affordable_tokens(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    provider.plans()
    with proxy.ask(people(), 2000) as answer:
        answer.read()

    assert answer.status_code == 402
    assert answer.json()["code"] == "INSUFFICIENT_CREDITS"
    assert answer.json()["details"]["affordableOutputTokens"] == 0
    assert provider.asked == []


def test_a_refused_token_is_reported_to_the_caller(people: People, proxy: Proxy) -> None:
    person = people()
    with proxy.ask(Person(person.http, person.id, f"{person.token}x"), 5) as answer:
        answer.read()

    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID")


def test_an_api_key_acts_for_its_owner(service: Stack, people: People, proxy: Proxy, provider: Provider) -> None:
    person = people(credits=100)
    provider.plans()
    made = person.ok("POST", "api-keys", {"name": "chat", "permissions": ["sessions:write"]})
    with proxy.ask(person, 5, headers={b"Authorization": f"apikey {made['key']}".encode()}) as answer:
        assert _events(answer)[-1]["usage"]["completion_tokens"] == 5

    assert audited(service, person).usage[0]["credits"] == 1


def test_the_authorization_scheme_may_be_in_capitals(people: People, proxy: Proxy, provider: Provider) -> None:
    person = people(credits=100)
    provider.plans()
    with proxy.ask(person, 5, headers={b"Authorization": f"BEARER {person.token}".encode()}) as answer:
        answer.read()

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Basic dXNlcjpwYXNz", "Bearer a b", "Bearer \u00e9", "ApiKey acct_\N{OWL}", "\u00e9"]
)
def test_the_proxy_refuses_a_request_without_a_token_or_key(people: People, proxy: Proxy, sent: str) -> None:
    headers = {b"Authorization": sent.encode()} if sent else {}
    with proxy.ask(people(), 5, headers=headers) as answer:
        answer.read()

    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_REQUIRED")


@pytest.mark.slow
def test_details_of_network_errors_are_only_in_the_log(
    service: Stack, people: People, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        proxy_of(service, provider, ACCOUNTING_URL="http://127.0.0.1:1") as cut_off,
        cut_off.ask(people(), 5) as answer,
    ):
        answer.read()

    refusal = {"message": "Accounting is not available just now", "code": "UNAVAILABLE", "details": {}}
    assert (answer.status_code, answer.json()) == (503, refusal)
    assert "ConnectError" in capfd.readouterr().err


def test_a_failed_model_call_costs_nothing(people: People, proxy: Proxy, provider: Provider) -> None:
    person = people(credits=100)
    provider.plans(status=400)
    with proxy.ask(person, 50) as answer:
        answer.read()

    assert (answer.status_code, answer.json()["code"]) == (502, "MODEL_UNAVAILABLE")
    balance = person.balance()
    assert (balance["totalCredits"], balance["heldCredits"]) == (100, 0)


def test_a_stream_that_breaks_off_is_charged_for_the_generated_tokens(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, cut_after=30)
    with proxy.ask(person, 50) as answer:
        *streamed, end = _events(answer)

    assert (len(streamed), end["error"]) == (30, "MODEL_UNAVAILABLE")
    books = audited(service, person)
    (record,) = books.usage
    metadata = json.loads(record["metadata"])
    assert (record["service"], metadata["estimated"]) == ("chat-streaming-aborted", True)
    assert (metadata["tokens"], record["credits"], books.balance["totalCredits"]) == (60, 1, 99), "2 tokens for a word"


def test_a_stream_ends_with_an_error_event_if_its_hold_cannot_be_raised(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=2)
    provider.plans(words=4_000, pause_after=3_000)
    with proxy.ask(person, 500) as answer:
        lines = answer.iter_lines()
        assert any("word2999" in line for line in lines)
        time.sleep(2)  # until a heartbeat was refused
        provider.go.set()
        *streamed, end = (json.loads(line.removeprefix("data: ")) for line in lines if line)

    assert (end["error"], bool(end["message"])) == ("INSUFFICIENT_CREDITS", True)
    assert len(streamed) < 10
    assert all("text" in event for event in streamed)
    books = audited(service, person)
    (record,) = books.usage
    assert record["service"] == "chat-streaming-aborted"
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (0, 0)


def test_a_stream_ends_with_an_error_event_if_its_session_is_aborted(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, pause_after=5)
    with proxy.ask(person, 4000) as answer:
        lines = answer.iter_lines()
        assert "text" in next(lines)
        (session,) = _active(service, person)
        person.ok("POST", "streaming-sessions/abort", {"sessionId": session["session_id"], "tokensGenerated": 7})
        time.sleep(2)  # until a heartbeat was refused
        provider.go.set()
        *_, end = (json.loads(line.removeprefix("data: ")) for line in lines if line)

    assert end["error"] == "SESSION_NOT_ACTIVE"
    books = audited(service, person)
    assert [json.loads(record["metadata"])["tokens"] for record in books.usage] == [7]
    assert books.balance["heldCredits"] == 0


def test_the_generated_tokens_are_charged_if_the_caller_closes_the_stream(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, pause_after=20)
    with proxy.ask(person, 2000) as answer:
        assert any("word19" in line for line in answer.iter_lines())

    (record,) = _wait_for(lambda: _under(service, person, "USAGE#"))
    assert record["service"] == "chat-streaming-aborted"
    assert 20 <= json.loads(record["metadata"])["tokens"] <= 80
    assert audited(service, person).balance["heldCredits"] == 0


def test_the_sweeper_charges_the_last_heartbeat_of_a_session_whose_proxy_was_killed(
    service: Stack, people: People, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, pause_after=20)
    with proxy_of(service, provider) as doomed, doomed.ask(person, 4000) as answer:
        lines = answer.iter_lines()
        assert "text" in next(lines)
        session = _wait_for(lambda: [found for found in _active(service, person) if found["tokens"] > 10])
        os.kill(doomed.process.pid, signal.SIGKILL)
        doomed.process.wait(PATIENCE_SECONDS)
    (orphan,) = _active(service, person)
    assert orphan["session_id"] == session[0]["session_id"]
    assert orphan["tokens"] >= session[0]["tokens"] > 10
    _let_a_day_pass(service, orphan)

    swept = service.aws.client("lambda").invoke(FunctionName=f"{service.stack_name}-sweeper:live", Payload=b"{}")

    assert json.loads(swept["Payload"].read())["sessions"] == 1
    books = audited(service, person)
    (record,) = books.usage
    assert record["service"] == "chat-streaming-expired"
    assert json.loads(record["metadata"])["tokens"] == orphan["tokens"]
    assert record["credits"] == 1
    assert books.balance["heldCredits"] == 0
    late = person.finalize(orphan["session_id"], orphan["tokens"] + 100_000).json()
    assert late["lateCredits"] == late["actualCredits"] - record["credits"] > 0


def _events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line]


def _wait_until_it_listens(port: int) -> None:
    def listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    assert _wait_for(listening)


def _wait_for(read: Any) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (result := read()):
        assert time.monotonic() < deadline, "the awaited result did not come in time"
        time.sleep(0.1)
    return result


def _active(service: Stack, person: Person) -> list[Item]:
    return [session for session in _under(service, person, "SESSION#") if session["status"] == "active"]


def _under(service: Stack, person: Person, prefix: str) -> list[Item]:
    """Return a user's items of one kind. Unlike `audited`, this checks nothing, since requests may be in progress."""
    return [item for item in items_of(service, person.id) if item["sk"].startswith(prefix)]


def _let_a_day_pass(service: Stack, session: Item) -> None:
    """Move a session's last heartbeat back by a day."""
    last_seen_at = session["last_seen_at"] - DAY
    due = keys.active_session(session["user_id"], session["session_id"], session["started_at"], last_seen_at)
    dynamodb(service).update_item(
        TableName=service.table_name,
        Key=pack({"pk": session["pk"], "sk": session["sk"]}),
        UpdateExpression="SET last_seen_at = :seen, due_sk = :due",
        ExpressionAttributeValues=pack({":seen": last_seen_at, ":due": due["due_sk"]}),
    )
