"""Local servers send streams in OpenAI's and Anthropic's formats. The client must account for each stream exactly."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient
from accounting_client.routes.usage import Usage
from tests.e2e.books import audited
from tests.e2e.client import Person, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.stack import Stack
    from tests.e2e.conftest import People

type Body = Callable[[Any], Iterator[object]]
type Script = list[dict[str, Any] | str]

PATIENCE_SECONDS = 60
PAUSE, CUT = "pause", "cut"
# Credits per million tokens, or per thousand searches. These are a frontier model's prices if 1 USD is 1,000 credits.
RATES = {
    "input": 3_000,
    "cachedInput": 300,
    "cacheWrite": 3_750,
    "cacheWrite1h": 6_000,
    "output": 15_000,
    "webSearch": 10_000,
}
LONG_CONTEXT = {"aboveInputTokens": 200_000, "rates": {"input": 6_000, "output": 22_500}}


class Provider:
    """Answers any request with scripted server-sent events: it waits for ``go`` at PAUSE, and hangs up at CUT."""

    def __init__(self, script: Script) -> None:
        self.go = threading.Event()
        self.asked: list[dict[str, Any]] = []
        self._script = script
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @classmethod
    @contextmanager
    def of(cls, script: Script) -> Iterator[Provider]:
        """Run a provider during the block."""
        provider = cls(script)
        thread = threading.Thread(target=provider._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            provider.go.set()
            provider._server.shutdown()
            provider._server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                provider.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                # Otherwise, the next request could reuse a connection that is about to close.
                self.send_header("Connection", "close")
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for event in provider._script:
                    if event == CUT:
                        return
                    if event == PAUSE:
                        provider.go.wait(PATIENCE_SECONDS)
                    else:
                        self._send(event)
                self.wfile.write(b"0\r\n\r\n")

            def _send(self, event: dict[str, Any] | str) -> None:
                name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
                data = event if isinstance(event, str) else json.dumps(event)
                text = f"{name}data: {data}\n\n".encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def chunk(text: str = "", usage: dict[str, Any] | None = None) -> dict[str, Any]:
    """A chunk of OpenAI's chat completions. The chunk with the usage has no choices."""
    choices = [] if usage else [{"index": 0, "delta": {"content": text}, "finish_reason": None}]
    return {"object": "chat.completion.chunk", "choices": choices, "usage": usage}


def openai_words(count: int) -> Script:
    return [chunk("word ") for _ in range(count)]


def anthropic_words(count: int) -> Script:
    delta = {"type": "text_delta", "text": "word "}
    return [{"type": "content_block_delta", "index": 0, "delta": delta} for _ in range(count)]


def message_start(usage: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": usage}}


def message_delta(usage: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def events_of(url: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Request a stream from a provider, and return its events as they arrive."""
    with (
        httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as http,
        http.stream("POST", url, json={"stream": True, **request}) as answer,
    ):
        for line in answer.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: "))


def openai(provider: Provider) -> Body:
    """A proxy's code for OpenAI's stream."""

    def body(session: Any) -> Iterator[object]:
        request = {"messages": [], "stream_options": {"include_usage": True}}
        for event in events_of(f"{provider.url}/chat/completions", request):
            if event["usage"]:
                session.set_usage(event["usage"], "openai")
            else:
                session.add_tokens(1)
            yield event

    return body


def anthropic(provider: Provider) -> Body:
    """A proxy's code for Anthropic's stream."""

    def body(session: Any) -> Iterator[object]:
        for event in events_of(f"{provider.url}/messages", {"messages": []}):
            match event["type"]:
                case "message_start":
                    session.set_usage(event["message"]["usage"], "anthropic")
                case "content_block_delta":
                    session.add_tokens(1)
                case "message_delta":
                    session.set_usage(event["usage"], "anthropic")
            yield event

    return body


def sync_stream(service: Stack, person: Person, model: str, body: Body, **options: Any) -> Any:
    with (
        httpx.Client(trust_env=False) as http,
        AccountingClient(service.base_url, person.token, http=http, timeout_seconds=PATIENCE_SECONDS) as client,
    ):
        session = client.streaming_session(model, settle_seconds=PATIENCE_SECONDS, **options)
        try:
            with session:
                for _ in body(session):
                    time.sleep(0.001)
        except httpx.RemoteProtocolError:
            pass
        return session


def async_stream(service: Stack, person: Person, model: str, body: Body, **options: Any) -> Any:
    async def run() -> Any:
        async with (
            httpx.AsyncClient(trust_env=False) as http,
            AsyncAccountingClient(
                service.base_url, person.token, http=http, timeout_seconds=PATIENCE_SECONDS
            ) as client,
        ):
            session = client.streaming_session(model, settle_seconds=PATIENCE_SECONDS, **options)
            try:
                async with session:
                    for _ in body(session):
                        await asyncio.sleep(0.001)
            except httpx.RemoteProtocolError:
                pass
            return session

    return asyncio.run(run())


both_clients = pytest.mark.parametrize("stream", [sync_stream, async_stream])


@pytest.fixture(scope="module")
def model(admin: Person) -> str:
    """Return the id of a model whose price has ``RATES`` and the tier ``LONG_CONTEXT``."""
    model = new_id("model")
    admin.ok("POST", "pricing", {"modelId": model, "rates": RATES, "tiers": [LONG_CONTEXT]})
    return model


def only_record(service: Stack, person: Person) -> dict[str, Any]:
    """Check that a user who got 10,000 credits has no hold, no debt and one usage record. Return the record."""
    balance = audited(service, person).balance
    assert (balance["heldCredits"], balance["debt"]) == (0, 0)
    (record,) = person.ok("GET", "usage/stats")["recentActivity"]
    assert balance["totalCredits"] == 10_000 - record["credits"]
    found: dict[str, Any] = record
    return found


STARTED = {
    "input_tokens": 412,
    "cache_creation_input_tokens": 1_000,
    "cache_read_input_tokens": 3_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 600, "ephemeral_1h_input_tokens": 400},
    "output_tokens": 1,
    "service_tier": "standard",
}
ESTIMATE = {"inputTokens": 5_000, "outputTokens": 1_000}


@both_clients
def test_anthropics_cumulative_usage_is_charged_exactly(
    service: Stack, people: People, model: str, stream: Any
) -> None:
    script = [
        {"type": "ping"},
        message_start(STARTED),
        *anthropic_words(40),
        message_delta({"output_tokens": 200}),
        *anthropic_words(40),
        message_delta({"output_tokens": 350}),
        {"type": "message_stop"},
    ]
    person = people(credits=10_000)
    with Provider.of(script) as provider:
        session = stream(service, person, model, anthropic(provider), estimated_usage=ESTIMATE)

    # (5,000 x 3,000 + 1,000 x 15,000) / 1,000,000 = 30. The hold is 20 % more.
    assert (session.opened.estimated_credits, session.opened.allocated_credits) == (30, 36)
    # (412 x 3,000 + 3,000 x 300 + 600 x 3,750 + 400 x 6,000 + 350 x 15,000) / 1,000,000 = 12.036
    assert (session.result.charged_credits, session.result.refund) == (13, 23)
    assert session.result.usage == Usage(
        4_412, 350, cached_input_tokens=3_000, cache_write_tokens=600, cache_write_1h_tokens=400, requests=1
    )
    record = only_record(service, person)
    assert (record["service"], record["usageFormat"]) == ("chat-streaming", "anthropic")
    assert record["providerUsage"] == STARTED | {"output_tokens": 350}
    assert "estimated" not in record["metadata"]


@both_clients
def test_openais_usage_at_the_end_is_charged_exactly(service: Stack, people: People, model: str, stream: Any) -> None:
    usage = {
        "prompt_tokens": 2_048,
        "completion_tokens": 300,
        "total_tokens": 2_348,
        "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 128},
    }
    script = [*openai_words(60), chunk(usage=usage), "[DONE]"]
    person = people(credits=10_000)
    with Provider.of(script) as provider:
        session = stream(service, person, model, openai(provider), estimated_usage=ESTIMATE)

    assert provider.asked == [{"stream": True, "messages": [], "stream_options": {"include_usage": True}}]
    # (1,024 x 3,000 + 1,024 x 300 + 300 x 15,000) / 1,000,000 = 7.8792
    assert (session.opened.allocated_credits, session.result.charged_credits, session.result.refund) == (36, 8, 28)
    assert session.result.usage == Usage(2_048, 300, cached_input_tokens=1_024, reasoning_tokens=128, requests=1)
    assert only_record(service, person)["providerUsage"] == usage


@both_clients
def test_crossing_a_context_tier_in_mid_stream_raises_the_hold_at_once(
    service: Stack, people: People, model: str, stream: Any
) -> None:
    """The results of the model's searches lengthen its input. The hold is raised before the next heartbeat is due."""
    searched = {"input_tokens": 230_000, "output_tokens": 500, "server_tool_use": {"web_search_requests": 2}}
    script: Script = [
        message_start({"input_tokens": 190_000, "output_tokens": 1}),
        *anthropic_words(40),
        message_delta(searched),
        *anthropic_words(1),
        PAUSE,
        *anthropic_words(40),
        message_delta(searched | {"output_tokens": 1_500}),
        {"type": "message_stop"},
    ]
    person, held = people(credits=10_000), set[int]()
    with Provider.of(script) as provider:

        def body(session: Any) -> Iterator[object]:
            for event in anthropic(provider)(session):
                deadline = time.monotonic() + PATIENCE_SECONDS
                while session.tokens == 501 and not provider.go.is_set():
                    held.add(person.balance()["heldCredits"])
                    if max(held) > 738:
                        provider.go.set()
                    assert time.monotonic() < deadline, held
                    yield event
                yield event

        estimate = {"inputTokens": 195_000, "outputTokens": 2_000}
        session = stream(service, person, model, body, estimated_usage=estimate, heartbeat_seconds=600)

    # The estimate: (195,000 x 3,000 + 2,000 x 15,000) / 1,000,000 = 615. The hold is 20 % more.
    assert session.opened.allocated_credits == 738
    # 500 reported output tokens, and one that was counted after the report:
    # (230,000 x 6,000 + 501 x 22,500) / 1,000,000 + 2 x 10 = 1,411.2725, rounded up. The hold is 20 % more.
    assert held - {738} == {1_695}
    # (230,000 x 6,000 + 1,500 x 22,500) / 1,000,000 + 2 x 10 = 1,433.75
    assert (session.result.charged_credits, session.result.refund, session.result.overrun) == (1_434, 261, 0)
    assert only_record(service, person)["usage"] == {
        "inputTokens": 230_000,
        "outputTokens": 1_500,
        "requests": 1,
        "webSearches": 2,
    }


@both_clients
def test_the_estimated_input_and_the_counted_output_are_charged_if_a_stream_is_cut_before_any_usage_report(
    service: Stack, people: People, model: str, stream: Any
) -> None:
    person = people(credits=10_000)
    with Provider.of([*openai_words(25), CUT]) as provider:
        session = stream(service, person, model, openai(provider), estimated_usage=ESTIMATE)

    # (5,000 x 3,000 + 25 x 15,000) / 1,000,000 = 15.375
    assert (session.result.status, session.result.charged_credits, session.result.refund) == ("aborted", 16, 20)
    record = only_record(service, person)
    assert (record["service"], record["usage"]) == (
        "chat-streaming-aborted",
        {"inputTokens": 5_000, "outputTokens": 25, "requests": 1},
    )
    assert "providerUsage" not in record


@both_clients
def test_the_reported_input_and_the_counted_output_are_charged_if_a_stream_is_cut_after_its_first_usage_report(
    service: Stack, people: People, model: str, stream: Any
) -> None:
    person = people(credits=10_000)
    with Provider.of([message_start(STARTED), *anthropic_words(99), CUT]) as provider:
        session = stream(service, person, model, anthropic(provider), estimated_usage=ESTIMATE)

    # The stream reports 1 output token, and the client counts 99 more:
    # (412 x 3,000 + 3,000 x 300 + 600 x 3,750 + 400 x 6,000 + 100 x 15,000) / 1,000,000 = 8.286
    assert (session.result.status, session.result.charged_credits, session.result.refund) == ("aborted", 9, 27)
    assert only_record(service, person)["providerUsage"] == STARTED | {"output_tokens": 100}


@both_clients
def test_the_estimated_input_and_the_counted_output_are_charged_if_the_service_rejects_the_usage(
    service: Stack, people: People, model: str, stream: Any
) -> None:
    """The usage has more cached tokens than input, so it cannot be priced."""
    broken = {"prompt_tokens": 10, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 1_024}}
    person = people(credits=10_000)
    with Provider.of([*openai_words(25), chunk(usage=broken), "[DONE]"]) as provider:
        session = stream(
            service,
            person,
            model,
            openai(provider),
            estimated_usage=ESTIMATE,
            metadata={"chat": 7},
            heartbeat_seconds=0.1,
        )

    assert (session.result.status, session.result.charged_credits) == ("completed", 16)
    record = only_record(service, person)
    assert (record["metadata"]["estimated"], record["metadata"]["chat"]) == (True, 7)
    assert record["usage"] == {"inputTokens": 5_000, "outputTokens": 25, "requests": 1}
