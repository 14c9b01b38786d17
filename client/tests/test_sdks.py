"""Every way in which an accounted call can end, with the real SDKs of OpenAI and Anthropic and a local server.

An accounted call is a call of a model for which the client holds credits before the call and settles them afterwards.

Importing the SDKs takes seconds, and every process of `make test` imports this module. So the SDKs are
imported inside functions, and one process runs all tests of this module.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AsyncAccountingClient,
    InsufficientCredits,
    NotAccounted,
    Retries,
    ServiceCredential,
    Unavailable,
)
from client.tests.bank import Bank
from client.tests.conftest import BASE_URL
from client.tests.providers import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.xdist_group("sdks")

APIS = ("chat", "responses", "messages")
KINDS = ("sync", "async")
FORMATS = {"chat": "openai", "responses": "openai-responses", "messages": "anthropic"}
OUTPUTS = {"chat": "completion_tokens", "responses": "output_tokens", "messages": "output_tokens"}
NOTHING = {"inputTokens": 0, "outputTokens": 0, "requests": 0}
BRIEF = Retries(attempts=2, total_seconds=0.3, first_seconds=0.01)
WAIT_SECONDS = 30
SRC = Path(__file__).parent.parent / "src"
HELLO = [{"role": "user", "content": "hello"}]


class Leave(Exception):
    """Raised by a test to leave a stream in the middle."""


class Sdk:
    """One API of one SDK, sync or async, and the ``bank`` that plays the accounting service."""

    def __init__(self, api: str, kind: str, provider: Provider, bank: Bank) -> None:
        self.api, self.kind, self.provider, self.bank = api, kind, provider, bank

    def client(self, accounting: Any, **options: Any) -> Any:
        is_async = isinstance(accounting, AsyncAccountingClient)
        if self.api == "messages":
            import anthropic

            from accounting_client.anthropic import accounted as anthropic_accounted

            make = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
            client: Any = make(api_key="k", base_url=self.provider.origin, max_retries=0)
            return anthropic_accounted(client, accounting, **options)
        import openai

        from accounting_client.openai import accounted

        make_openai = openai.AsyncOpenAI if is_async else openai.OpenAI
        return accounted(
            make_openai(api_key="k", base_url=self.provider.base_url, max_retries=0), accounting, **options
        )

    def ask(self, client: Any, **request: Any) -> Any:
        if self.api == "chat":
            return client.chat.completions.create(**{"model": "m", "messages": HELLO, **request})
        if self.api == "responses":
            return client.responses.create(**{"model": "m", "input": "hello", **request})
        return client.messages.create(**{"model": "m", "messages": HELLO, "max_tokens": 1000, **request})

    def helper(self, client: Any) -> Any:
        """Open a stream with the SDK's own helper."""
        if self.api == "chat":
            return client.chat.completions.stream(model="m", messages=HELLO)
        if self.api == "responses":
            return client.responses.stream(model="m", input="hello")
        return client.messages.stream(model="m", messages=HELLO, max_tokens=1000)

    def run(self, body: Callable[[Talk], Any], retries: Retries = BRIEF, **options: Any) -> None:
        """Call ``body`` with a new ``Talk``."""
        token: Any = ServiceCredential("svc_01_secret")
        if self.kind == "async":
            asyncio.run(self._async(body, token, retries, options))
            return
        with (
            httpx.Client(transport=httpx.MockTransport(self.bank)) as http,
            AccountingClient(BASE_URL, token, http=http, retries=retries) as accounting,
        ):
            body(Talk(self, self.client(accounting, **options)))

    async def _async(self, body: Any, token: Any, retries: Retries, options: dict[str, Any]) -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(self.bank)) as http,
            AsyncAccountingClient(BASE_URL, token, http=http, retries=retries) as accounting,
        ):
            talk = Talk(self, self.client(accounting, **options))
            talk.loop = asyncio.get_running_loop()
            await asyncio.to_thread(body, talk)

    @property
    def settled(self) -> dict[str, Any]:
        """The body of the request that settled the only session."""
        return self.bank.only().settled or {}

    @property
    def output(self) -> int:
        """The output tokens that the only session was settled for."""
        settled = self.settled
        return int(settled["usage"][OUTPUTS[self.api]]) if "usage" in settled else int(settled["tokensGenerated"])


class Talk:
    """An accounted client, sync or async. Tests use both kinds with the same code.

    An async client has a ``loop``, on which its calls run.
    """

    def __init__(self, sdk: Sdk, client: Any) -> None:
        self.sdk, self.client = sdk, client
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, work: Any) -> Any:
        """Return the result of ``work``, which may be a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_SECONDS) if self.loop else work

    def ask(self, client: Any = None, **request: Any) -> Any:
        return self(self.sdk.ask(client or self.client, **request))

    def read(self, at_most: int = 10**6, then: str = "nothing", client: Any = None, **request: Any) -> list[Any]:
        """Read at most this many parts of a stream, and then leave it in the way that ``then`` names."""
        work = self._aread if self.loop else self._read
        return list(self(work(client or self.client, at_most, then, request)))

    def _read(self, client: Any, at_most: int, then: str, request: dict[str, Any]) -> list[Any]:
        parts, stream = [], self.sdk.ask(client, stream=True, **request)
        if then in ("break in with", "raise in with"):
            with stream:
                for part in stream:
                    parts.append(part)
                    if len(parts) == at_most:
                        if then == "raise in with":
                            raise Leave
                        break
            return parts
        while len(parts) < at_most:
            try:
                parts.append(next(stream))
            except StopIteration:
                break
        if then == "close":
            stream.close()
        return parts

    async def _aread(self, client: Any, at_most: int, then: str, request: dict[str, Any]) -> list[Any]:
        parts, stream = [], await self.sdk.ask(client, stream=True, **request)
        if then in ("break in with", "raise in with"):
            async with stream:
                async for part in stream:
                    parts.append(part)
                    if len(parts) == at_most:
                        if then == "raise in with":
                            raise Leave
                        break
            return parts
        while len(parts) < at_most:
            try:
                parts.append(await anext(stream))
            except StopAsyncIteration:
                break
        if then == "close":
            await stream.close()
        return parts

    def help(self) -> str:
        """Return the text of a stream that the SDK's own helper opens."""
        return str(self(self._ahelp()) if self.loop else self._help())

    def _help(self) -> str:
        with self.sdk.helper(self.client) as stream:
            return "".join(_text(self.sdk.api, event) for event in stream)

    async def _ahelp(self) -> str:
        async with self.sdk.helper(self.client) as stream:
            return "".join([_text(self.sdk.api, event) async for event in stream])


def _text(api: str, event: Any) -> str:
    kind = {"chat": "content.delta", "responses": "response.output_text.delta", "messages": "text"}[api]
    if event.type != kind:
        return ""
    return str(event.text if api == "messages" else event.delta)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider.running() as running:
        yield running


@pytest.fixture(params=[(api, kind) for api in APIS for kind in KINDS], ids="-".join)
def sdk(request: pytest.FixtureRequest, provider: Provider) -> Sdk:
    provider.plans()
    api, kind = request.param
    return Sdk(api, kind, provider, Bank())


def test_a_call_is_settled_for_the_usage_that_its_provider_reports(sdk: Sdk) -> None:
    sdk.provider.plans(cached_tokens=4)

    sdk.run(lambda talk: talk.ask())

    session = sdk.bank.only()
    assert (session.outcome, session.charges) == ("finalize", 1)
    assert (sdk.settled["usageFormat"], sdk.output) == (FORMATS[sdk.api], 5)
    assert "metadata" not in sdk.settled
    assert session.opened["modelId"] == "m"
    assert session.opened["estimatedUsage"]["inputTokens"] > 0


def test_a_stream_is_settled_for_the_usage_that_its_provider_reports(sdk: Sdk) -> None:
    sdk.run(lambda talk: talk.read())

    assert sdk.bank.only().outcome == "finalize"
    assert (sdk.settled["usageFormat"], sdk.output) == (FORMATS[sdk.api], 5)


def test_the_sdks_own_helper_for_streams_is_accounted(sdk: Sdk) -> None:
    texts = []
    sdk.run(lambda talk: texts.append(talk.help()))

    assert texts == [sdk.provider.plan.text]
    assert (sdk.bank.only().outcome, sdk.output) == ("finalize", 5)


def test_a_user_without_enough_credits_is_refused_before_the_model_is_called(sdk: Sdk) -> None:
    sdk.bank.credits = 50

    def body(talk: Talk) -> None:
        for request in ({}, {"stream": True}):
            with pytest.raises(InsufficientCredits) as refused:
                talk.ask(**request)
            assert refused.value.affordable_output_tokens == 50

    sdk.run(body)
    assert sdk.provider.asked == []
    assert sdk.bank.sessions == {}


@pytest.mark.parametrize("stream", [False, True])
def test_an_output_is_shortened_to_what_the_user_can_pay_for(sdk: Sdk, stream: bool) -> None:
    sdk.bank.credits = 50
    limit = {"chat": "max_completion_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}[sdk.api]

    sdk.run(lambda talk: talk.read() if stream else talk.ask(), when_short="shorten")

    ((_, asked),) = sdk.provider.asked
    assert asked[limit] == 50
    assert (sdk.bank.only().outcome, sdk.output) == ("finalize", 5)


def test_a_call_costs_nothing_if_the_provider_refuses_it(sdk: Sdk) -> None:
    import anthropic
    import openai

    sdk.provider.plans(status=500)

    def body(talk: Talk) -> None:
        with pytest.raises((openai.InternalServerError, anthropic.InternalServerError)):
            talk.ask()

    sdk.run(body)
    assert sdk.bank.only().outcome == "abort"
    assert sdk.settled["usage"] == NOTHING


@pytest.mark.parametrize("then", ["close", "break in with", "raise in with"])
def test_leaving_a_stream_early_costs_only_what_was_read(sdk: Sdk, then: str) -> None:
    sdk.provider.plans(words=6, pause_after=4)

    def body(talk: Talk) -> None:
        try:
            talk.read(5, then=then)
        except Leave:
            assert then == "raise in with"
        assert sdk.bank.only().outcome == "abort", "leaving the stream did not abort the session"

    sdk.run(body)
    assert 2 <= sdk.output <= 10
    assert sdk.settled["metadata"] == {"estimated": True}


def test_leaving_after_the_last_part_costs_the_reported_usage_if_the_report_has_arrived(sdk: Sdk) -> None:
    counts: list[int] = []

    def body(talk: Talk) -> None:
        counts.append(len(talk.read(client=talk.client.with_accounting(session_id="first"))))
        talk.read(counts[0], then="close", client=talk.client.with_accounting(session_id="second"))

    sdk.run(body)
    first, second = (sdk.bank.sessions[name] for name in ("first", "second"))
    assert first.settled
    assert second.settled
    if sdk.api == "chat":  # the usage comes in one more chunk, which the reader does not see
        assert (second.outcome, second.settled["metadata"]) == ("abort", {"estimated": True})
        assert sdk.provider.plan.words <= second.settled["tokensGenerated"] <= 10
    else:
        assert (second.outcome, second.settled["usage"]) == ("finalize", first.settled["usage"])


def test_the_heartbeats_abort_the_session_of_a_garbage_collected_stream(sdk: Sdk) -> None:
    sdk.provider.plans(words=6, pause_after=4)

    def body(talk: Talk) -> None:
        talk.read(5)
        until = time.monotonic() + WAIT_SECONDS
        while sdk.bank.open:
            gc.collect()
            assert time.monotonic() < until
            time.sleep(0.02)

    sdk.run(body, heartbeat_seconds=0.05)
    assert sdk.bank.only().outcome == "abort"


def test_a_stream_that_breaks_off_is_settled_for_what_was_read(sdk: Sdk) -> None:
    import httpx2
    import openai

    sdk.provider.plans(words=6, cut_after=3)

    def body(talk: Talk) -> None:
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            talk.read()

    sdk.run(body)
    assert sdk.bank.only().outcome == "abort"
    assert sdk.output >= 3


def test_if_no_usage_is_reported_the_counted_tokens_are_charged_and_marked_as_estimated(sdk: Sdk) -> None:
    sdk.provider.plans(words=6, reports_usage=False)
    # For Anthropic, the client sends a usage without counts. The real service rejects it, too.
    sdk.bank.rejects_usage = True

    sdk.run(lambda talk: talk.read())

    session = sdk.bank.only()
    assert session.outcome == "finalize"
    assert sdk.settled["actualTokens"] >= 6
    assert sdk.settled["metadata"] == {"estimated": True}


@pytest.mark.parametrize("stream", [False, True])
def test_if_a_usage_is_rejected_the_counted_tokens_are_charged_and_marked_as_estimated(sdk: Sdk, stream: bool) -> None:
    sdk.bank.rejects_usage = True

    sdk.run(lambda talk: talk.read() if stream else talk.ask())

    assert sdk.settled["metadata"] == {"estimated": True}
    assert sdk.settled["actualTokens"] >= 4


def test_the_model_is_not_called_if_the_service_is_down(sdk: Sdk) -> None:
    sdk.bank.is_down = True

    def body(talk: Talk) -> None:
        with pytest.raises(Unavailable):
            talk.ask()

    sdk.run(body)
    assert sdk.provider.asked == []


def test_a_call_that_began_without_the_service_is_charged_when_the_service_is_back(sdk: Sdk) -> None:
    sdk.bank.is_down = True

    def body(talk: Talk) -> None:
        talk.read()
        sdk.bank.is_down = False
        until = time.monotonic() + WAIT_SECONDS
        while not sdk.bank.sessions or sdk.bank.open:
            assert time.monotonic() < until
            time.sleep(0.01)

    sdk.run(body, on_unreachable="allow")
    assert (sdk.bank.only().outcome, sdk.output) == ("finalize", 5)


def test_a_stream_that_ends_while_the_service_is_down_is_charged_once(sdk: Sdk) -> None:
    def body(talk: Talk) -> None:
        talk.read(2, client=talk.client.with_accounting(session_id="other"), then="close")
        sdk.bank.trouble["finalize"] = [httpx.ReadError("lost")] * 5
        talk.read()

    sdk.run(body, retries=Retries(total_seconds=10, first_seconds=0.01, longest_seconds=0.02), settle_seconds=0.01)
    assert sdk.bank.open == set()
    assert {session.charges for session in sdk.bank.sessions.values()} == {1}


def test_a_client_acts_for_the_user_of_the_call(sdk: Sdk) -> None:
    def body(talk: Talk) -> None:
        talk.ask(talk.client.with_accounting(user="ann", metadata={"chat": 7}, account_id="org:acme", run_id="r1"))
        talk.ask(talk.client.with_accounting(user="bob").with_options(timeout=5))
        talk.ask()

    sdk.run(body, user="carl")
    assert [session.user for session in sdk.bank.sessions.values()] == ["ann", "bob", "carl"]
    opened = next(iter(sdk.bank.sessions.values())).opened
    assert (opened["metadata"], opened["accountId"], opened["runId"]) == ({"chat": 7}, "org:acme", "r1")


def test_an_account_and_a_run_can_be_set_for_all_calls_of_a_client(sdk: Sdk) -> None:
    def body(talk: Talk) -> None:
        talk.ask()
        talk.ask(talk.client.with_accounting(account_id=None, run_id=None))

    sdk.run(body, account_id="org:acme", run_id="r1")
    paid, own = (session.opened for session in sdk.bank.sessions.values())
    assert (paid["accountId"], paid["runId"]) == ("org:acme", "r1")
    assert not {"accountId", "runId"} & own.keys()


def test_a_request_without_a_limit_reserves_the_models_maximum_output(sdk: Sdk) -> None:
    if sdk.api == "messages":
        pytest.skip("Anthropic's requests always have a limit")
    sdk.bank.limits = {"m": 900}

    sdk.run(lambda talk: talk.ask())
    assert sdk.bank.only().opened["estimatedUsage"]["outputTokens"] == 900


def test_the_callers_own_estimate_decides_what_is_held(sdk: Sdk) -> None:
    sdk.run(lambda talk: talk.ask(), estimate=lambda request: len(request["model"]) * 70)
    assert sdk.bank.only().opened["estimatedUsage"]["inputTokens"] == 70


@pytest.mark.parametrize("raw", ["with_raw_response", "with_streaming_response"])
def test_a_raw_response_is_refused_before_anything_is_sent(sdk: Sdk, raw: str) -> None:
    async def enter(talk: Talk) -> None:
        made = sdk.ask(getattr(talk.client, raw))
        await (made.__aenter__() if raw == "with_streaming_response" else made)

    def body(talk: Talk) -> None:
        with pytest.raises(NotAccounted, match="raw responses"):
            talk(enter(talk)) if talk.loop else sdk.ask(getattr(talk.client, raw)).__enter__()

    sdk.run(body)
    assert (sdk.provider.asked, sdk.bank.sessions) == ([], {})


def test_a_cancelled_task_pays_for_what_was_read(provider: Provider) -> None:
    for api in APIS:
        provider.plans(words=6, pause_after=3)
        bank = Bank()
        sdk = Sdk(api, "async", provider, bank)

        async def scenario(sdk: Sdk = sdk) -> None:
            async with (
                httpx.AsyncClient(transport=httpx.MockTransport(sdk.bank)) as http,
                AsyncAccountingClient(BASE_URL, "jwt", http=http) as accounting,
            ):
                seen = asyncio.Event()

                async def read() -> None:
                    count = 0
                    async for _ in await sdk.ask(sdk.client(accounting), stream=True):
                        count += 1
                        if count == 4:
                            seen.set()

                task = asyncio.create_task(read())
                await seen.wait()
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert sdk.bank.only().outcome == "abort"

        asyncio.run(scenario())
        assert sdk.output >= 1


def test_cancelling_a_call_before_it_is_answered_costs_only_the_input(provider: Provider) -> None:
    provider.plans(pause_after=0)
    sdk = Sdk("chat", "async", provider, Bank())

    async def scenario() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(sdk.bank)) as http,
            AsyncAccountingClient(BASE_URL, "jwt", http=http) as accounting,
        ):
            task = asyncio.create_task(sdk.ask(sdk.client(accounting)))
            while not provider.asked:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    assert sdk.bank.only().outcome == "abort"
    assert (sdk.settled["tokensGenerated"], sdk.settled["metadata"]) == (0, {"estimated": True})


def test_the_stream_stops_if_its_hold_cannot_be_raised(provider: Provider) -> None:
    provider.plans(words=200, pause_after=100)
    sdk = Sdk("chat", "sync", provider, Bank())
    sdk.bank.trouble["heartbeat"] = [httpx.Response(402, json={"code": "INSUFFICIENT_CREDITS", "message": "no"})]

    def body(talk: Talk) -> None:
        threading.Timer(0.5, provider.go.set).start()
        with pytest.raises(InsufficientCredits):
            talk.read()

    sdk.run(body, heartbeat_seconds=0.05)
    assert sdk.bank.only().outcome == "abort"


def test_a_stream_shows_its_usage_only_if_the_caller_asks_for_it(provider: Provider) -> None:
    provider.plans()
    sdk = Sdk("chat", "sync", provider, Bank())
    read: dict[str, list[Any]] = {}

    def body(talk: Talk) -> None:
        read["plain"] = talk.read()
        read["asked"] = talk.read(stream_options={"include_usage": True})

    sdk.run(body)
    assert [part.usage for part in read["plain"]] == [None] * len(read["plain"])
    assert read["asked"][-1].usage.completion_tokens == 5
    assert len(read["asked"]) == len(read["plain"]) + 1


def test_embeddings_are_settled_for_their_input(provider: Provider) -> None:
    provider.plans()
    sdk = Sdk("chat", "sync", provider, Bank())
    sdk.run(lambda talk: talk.client.embeddings.create(model="m", input=["hello"], encoding_format="float"))

    assert sdk.bank.only().opened["estimatedUsage"]["outputTokens"] == 0
    assert sdk.settled["usage"] == {"inputTokens": 10, "outputTokens": 0}


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda client: client.images.generate(prompt="a cat"), "/images/generations can't be accounted for"),
        (lambda client: client.completions.create(model="m", prompt="a"), "/completions can't be accounted for"),
        (lambda client: client.responses.create(model="m", input="a", background=True), "in the background"),
        (lambda client: client.responses.create(input="a"), "names no model"),
        (lambda client: client.responses.connect(), "websockets"),
        (lambda client: client.realtime, "realtime"),
        (lambda client: client.live, "realtime"),
        (lambda client: client.with_options(timeout=5).images.generate(prompt="a cat"), "can't be accounted for"),
    ],
)
def test_a_call_that_cannot_be_accounted_is_refused(provider: Provider, act: Callable[[Any], Any], why: str) -> None:
    provider.plans()
    sdk = Sdk("chat", "sync", provider, Bank())

    def body(talk: Talk) -> None:
        with pytest.raises(NotAccounted, match=why):
            act(talk.client)

    sdk.run(body)
    assert (provider.asked, sdk.bank.sessions) == ([], {})


@pytest.mark.parametrize(
    ("method", "path", "is_free"),
    [
        ("get", "/responses/r", True),
        ("delete", "/files/f", True),
        ("post", "/files", True),
        ("post", "/responses/input_tokens", True),
        ("post", "/responses/r/cancel", True),
        ("post", "/responses/compact", False),
        ("post", "/audio/speech", False),
        ("post", "/batches", False),
    ],
)
def test_only_routes_that_use_no_model_are_allowed_without_accounting(method: str, path: str, is_free: bool) -> None:
    import openai

    from accounting_client.openai import PROVIDER

    options = openai._models.FinalRequestOptions(method=method, url=path)
    if is_free:
        assert PROVIDER.route(options) is None
    else:
        with pytest.raises(NotAccounted):
            PROVIDER.route(options)


@pytest.mark.parametrize("make", ["OpenAI", "AsyncOpenAI"])
def test_combining_a_sync_and_an_async_client_raises_type_error(make: str) -> None:
    import openai

    from accounting_client.openai import accounted

    other: Any = AsyncAccountingClient if make == "OpenAI" else AccountingClient
    with pytest.raises(TypeError, match="AccountingClient"):
        accounted(getattr(openai, make)(api_key="k"), other(BASE_URL))


def test_wrapping_a_client_does_not_change_it() -> None:
    import openai

    from accounting_client.openai import accounted

    plain = openai.AzureOpenAI(api_key="k", azure_endpoint="https://a.example.com", api_version="1")
    assert plain.chat is not None
    wrapped: Any = accounted(plain, AccountingClient(BASE_URL))

    assert isinstance(wrapped, openai.AzureOpenAI)
    assert type(plain) is openai.AzureOpenAI
    assert wrapped.chat.completions._client is wrapped
    assert wrapped.copy().chat.completions._client is not wrapped
    assert plain.chat.completions._client is plain


def test_importing_the_client_imports_no_sdk() -> None:
    sdks = {"openai", "anthropic", "litellm", "langchain_core", "sqlite3"}
    program = f"import accounting_client, sys; print(sorted({sdks!r} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SRC)}
    )
    assert run.stdout == "[]\n"
