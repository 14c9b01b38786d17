"""LangChain's models, accounted by a callback: every way to call them, and every way that a call ends.

Only functions import LangChain, because the import takes seconds (see `test_sdks.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, InsufficientCredits
from client.tests.accountant import Accountant
from client.tests.conftest import BASE_URL, QUICK
from client.tests.played import ok
from client.tests.providers import Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_openai import ChatOpenAI

pytestmark = pytest.mark.xdist_group("sdks")

PATIENCE_SECONDS = 30
NOTHING = {"inputTokens": 0, "outputTokens": 0, "requests": 0}


class Accountants:
    """A stand-in for the service with any number of sessions, each with ``credits`` credits of its own."""

    def __init__(self, credits: int = 10_000) -> None:
        self.credits = credits
        self.sessions: dict[str, Accountant] = {}
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            price = {"modelId": "ours", "pricePerThousandTokens": "1", "maxOutputTokens": 2_000, "history": []}
            return ok(price)
        session_id = json.loads(request.read())["sessionId"]
        with self._lock:
            accountant = self.sessions.setdefault(session_id, Accountant(self.credits))
        return accountant(request)

    @property
    def only(self) -> Accountant:
        (accountant,) = self.sessions.values()
        return accountant

    def settled(self, step: str) -> dict[str, Any]:
        """Return the body that settled the only session. The session must have been settled once, by this step."""
        assert self.only.steps() == ["initialize", step]
        (body,) = self.only.bodies_of(step)
        return body


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider.running() as running:
        yield running


def model_of(provider: Provider, **options: Any) -> ChatOpenAI:
    from langchain_openai import ChatOpenAI

    known: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "base_url": provider.base_url,
        "api_key": "none",
        "max_retries": 0,
        "max_tokens": 100,
        "stream_usage": True,
        "http_async_client": httpx.AsyncClient(),  # the default client keeps connections of earlier event loops
    }
    return ChatOpenAI(**{**known, **options})


def sync_client(service: Accountants) -> AccountingClient:
    http = httpx.Client(transport=httpx.MockTransport(service))
    return AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)


def async_client(service: Accountants) -> AsyncAccountingClient:
    http = httpx.AsyncClient(transport=httpx.MockTransport(service))
    return AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)


def callbacks(client: AccountingClient | AsyncAccountingClient, **options: Any) -> Any:
    """Return the configuration of a call that is accounted with this client, sync or async."""
    from accounting_client.langchain import AccountingCallback, AsyncAccountingCallback

    make: Any = AsyncAccountingCallback if isinstance(client, AsyncAccountingClient) else AccountingCallback
    return {"callbacks": [make(client, **options)]}


def call(way: str, service: Accountants, model: Any, prompt: Any = "Why?") -> Any:
    """Call a model in one of LangChain's ways; return the answer, or its pieces."""
    if way in ("invoke", "stream", "batch"):
        with sync_client(service) as client:
            config = callbacks(client)
            result = getattr(model, way)([prompt] if way == "batch" else prompt, config=config)
            return list(result) if way == "stream" else result

    async def run() -> Any:
        async with async_client(service) as client:
            config = callbacks(client)
            result = getattr(model, way)([prompt] if way == "abatch" else prompt, config=config)
            return [piece async for piece in result] if way == "astream" else await result

    return asyncio.run(run())


ways = pytest.mark.parametrize("way", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
streams = pytest.mark.parametrize("way", ["stream", "astream"])
whole_answers = pytest.mark.parametrize("way", ["invoke", "ainvoke"])


@ways
def test_the_providers_usage_is_settled(provider: Provider, way: str) -> None:
    service = Accountants()
    provider.plans(input_tokens=2_000, cached_tokens=1_500, output_tokens=700)

    call(way, service, model_of(provider))

    usage = {"inputTokens": 2_000, "cachedInputTokens": 1_500, "outputTokens": 700}
    assert service.settled("finalize") == {"usage": usage, "usageFormat": "canonical", "success": True}
    (opened,) = service.only.bodies_of("initialize")
    assert (opened["modelId"], opened["estimatedUsage"]["outputTokens"]) == ("gpt-4o-mini", 100)
    assert opened["estimatedUsage"]["inputTokens"] > 0


@ways
def test_a_refusal_is_raised_before_the_model_is_called(provider: Provider, way: str) -> None:
    provider.plans()

    with pytest.raises(InsufficientCredits):
        call(way, Accountants(credits=0), model_of(provider))

    assert provider.asked == []


@ways
def test_a_provider_that_fails_before_the_first_word_costs_nothing(provider: Provider, way: str) -> None:
    service = Accountants()
    provider.plans(status=500)

    with pytest.raises(Exception, match="no answer today"):
        call(way, service, model_of(provider))

    assert service.settled("abort")["usage"] == NOTHING


@streams
def test_a_broken_stream_is_charged_for_the_words_that_arrived(provider: Provider, way: str) -> None:
    service = Accountants()
    provider.plans(words=20, cut_after=10)

    with pytest.raises(Exception, match="Connection error"):
        call(way, service, model_of(provider))

    assert service.settled("abort") == {"tokensGenerated": 10, "metadata": {"estimated": True}}


@streams
def test_a_stream_without_usage_is_settled_by_the_number_of_its_pieces(provider: Provider, way: str) -> None:
    service = Accountants()
    provider.plans(words=20, reports_usage=False)

    call(way, service, model_of(provider))

    settled = service.settled("finalize")
    assert (settled["actualTokens"], settled["metadata"]) == (20, {"estimated": True})


@whole_answers
def test_an_answer_without_usage_is_settled_by_its_length(provider: Provider, way: str) -> None:
    service = Accountants()
    plan = provider.plans(words=20, reports_usage=False)

    call(way, service, model_of(provider))

    settled = service.settled("finalize")
    assert (settled["actualTokens"], settled["metadata"]) == (-(-len(plan.text) // 3), {"estimated": True})


def test_a_reader_who_leaves_pays_for_what_they_saw(provider: Provider) -> None:
    service = Accountants()
    provider.plans(words=20, pause_after=5)
    with sync_client(service) as client:
        pieces: Any = model_of(provider).stream("Why?", config=callbacks(client))
        while "word4" not in str(next(pieces).content):
            pass
        pieces.close()

        assert service.settled("abort") == {"tokensGenerated": 5, "metadata": {"estimated": True}}


def test_a_reader_who_leaves_an_async_stream_pays_for_what_they_saw(provider: Provider) -> None:
    service = Accountants()
    provider.plans(words=20, pause_after=5)

    async def run() -> None:
        async with async_client(service) as client:
            pieces: Any = model_of(provider).astream("Why?", config=callbacks(client))
            async for piece in pieces:
                if "word4" in str(piece.content):
                    break
            await pieces.aclose()
            assert service.settled("abort") == {"tokensGenerated": 5, "metadata": {"estimated": True}}

    asyncio.run(run())


async def _until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def _cancelled(task: asyncio.Task[Any], when: Callable[[], object]) -> None:
    await _until(when)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("streaming", [True, False])
def test_nothing_stays_held_if_a_task_is_cancelled_while_the_model_thinks(provider: Provider, streaming: bool) -> None:
    service = Accountants()
    provider.plans(pause_after=0)

    async def run() -> None:
        async with async_client(service) as client:
            model = model_of(provider, streaming=streaming)
            task = asyncio.create_task(model.ainvoke("Why?", config=callbacks(client)))
            await _cancelled(task, lambda: provider.asked)
            await _until(lambda: service.only.steps() != ["initialize"])
            assert service.settled("abort")["usage"] == NOTHING

    asyncio.run(run())


def test_nothing_stays_held_if_a_task_is_cancelled_before_the_model_is_called(provider: Provider) -> None:
    """The task waits for LangChain's rate limiter. LangChain does not tell the callback that the task has ended."""
    from langchain_core.rate_limiters import BaseRateLimiter

    class Never(BaseRateLimiter):
        """Makes a call wait forever."""

        is_asked = False

        def acquire(self, *, blocking: bool = True) -> bool:
            raise AssertionError("the test makes an asynchronous call")

        async def aacquire(self, *, blocking: bool = True) -> bool:
            self.is_asked = True
            return bool(await asyncio.get_running_loop().create_future())

    service, limiter = Accountants(), Never()
    provider.plans()

    async def run() -> None:
        async with async_client(service) as client:
            model: Any = model_of(provider, rate_limiter=limiter)
            config = callbacks(client)
            task: asyncio.Task[Any] = asyncio.create_task(anext(model.astream("Why?", config=config)))
            await _cancelled(task, lambda: limiter.is_asked)
            await _until(lambda: service.only.steps() != ["initialize"])
            assert service.settled("abort")["usage"] == NOTHING

    asyncio.run(run())
    assert provider.asked == []


def test_a_stream_survives_the_end_of_the_task_that_began_it(provider: Provider) -> None:
    """A web server may read the first piece in one task and the rest in a second task."""
    service = Accountants()
    provider.plans(words=5, output_tokens=9)

    async def run() -> None:
        async with async_client(service) as client:
            config = callbacks(client)
            pieces: Any = model_of(provider).astream("Why?", config=config)
            await asyncio.create_task(anext(pieces))
            await asyncio.sleep(0.1)
            async for _ in pieces:
                pass

    asyncio.run(run())
    assert service.settled("finalize")["usage"]["outputTokens"] == 9


@streams
def test_a_stream_stops_when_its_hold_cannot_be_raised(provider: Provider, way: str) -> None:
    service = Accountants(credits=12)  # each credit pays for 10 tokens
    provider.plans(words=4_000)

    with pytest.raises(InsufficientCredits):
        call(way, service, model_of(provider))

    assert service.only.steps() == ["initialize", "abort"]
    assert 120 < service.only.bodies_of("abort")[0]["tokensGenerated"] < 4_000


@pytest.mark.parametrize("way", ["batch", "abatch"])
def test_each_concurrent_call_has_a_session_of_its_own(provider: Provider, way: str) -> None:
    service = Accountants()
    provider.plans()
    prompts: list[Any] = [f"Why {number}?" for number in range(6)]
    if way == "batch":
        with sync_client(service) as client:
            model_of(provider).batch(prompts, config=callbacks(client))
    else:

        async def run() -> None:
            async with async_client(service) as client:
                await model_of(provider).abatch(prompts, config=callbacks(client))

        asyncio.run(run())

    assert [each.steps() for each in service.sessions.values()] == [["initialize", "finalize"]] * 6


@whole_answers
def test_an_answer_from_langchains_cache_costs_nothing(provider: Provider, way: str) -> None:
    from langchain_core.caches import InMemoryCache

    first, second = Accountants(), Accountants()
    provider.plans()
    model = model_of(provider, cache=InMemoryCache())

    call(way, first, model)
    call(way, second, model)

    assert first.settled("finalize")["usage"]["outputTokens"] == 5
    assert second.settled("finalize")["usage"] == NOTHING
    assert len(provider.asked) == 1


@whole_answers
def test_a_text_completion_model_is_accounted(way: str) -> None:
    from langchain_core.language_models import FakeListLLM

    service = Accountants()

    call(way, service, FakeListLLM(responses=["a text of some letters"]))

    assert service.settled("finalize") == {"actualTokens": 8, "metadata": {"estimated": True}, "success": True}


def test_the_callback_and_the_price_decide_what_is_held_for_a_call(provider: Provider) -> None:
    service = Accountants()
    provider.plans()
    with sync_client(service) as client:
        paid: Any = {"account_id": "org:acme", "run_id": "r-1", "model_id": "ours"}
        config = callbacks(client, **paid, estimate=7, metadata={"chain": "summary"})
        model_of(provider, max_tokens=None).invoke("Why?", config=config)

    (opened,) = service.only.bodies_of("initialize")
    estimate = {"inputTokens": 7, "outputTokens": 2_000}
    payer = {"accountId": "org:acme", "runId": "r-1", "modelId": "ours"}
    assert opened == {**payer, "estimatedUsage": estimate, "metadata": {"chain": "summary"}}


def test_several_prompts_in_one_call_are_refused(provider: Provider) -> None:
    from langchain_core.messages import HumanMessage

    service = Accountants()
    provider.plans()
    prompts: Any = [[HumanMessage("Why?")], [HumanMessage("How?")]]
    with sync_client(service) as client, pytest.raises(ValueError, match="use batch"):
        model_of(provider).generate(prompts, **callbacks(client))

    assert (service.sessions, provider.asked) == ({}, [])


def test_a_sync_callback_in_an_async_call_is_refused_and_so_is_the_reverse(provider: Provider) -> None:
    service = Accountants()
    provider.plans()
    model = model_of(provider)

    async def run() -> None:
        with sync_client(service) as client, pytest.raises(RuntimeError, match="use AsyncAccountingCallback"):
            await model.ainvoke("Why?", config=callbacks(client))

    asyncio.run(run())
    config = callbacks(async_client(service))
    with pytest.raises(RuntimeError, match="use AccountingCallback"):
        model.invoke("Why?", config=config)

    assert (service.sessions, provider.asked) == ({}, [])


def test_an_async_callback_in_a_sync_call_inside_a_coroutine_raises_an_error(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """The first call fails after the model has answered. Later calls fail before the model is called."""
    service = Accountants()
    provider.plans()
    model = model_of(provider)

    async def run() -> None:
        config = callbacks(async_client(service))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="use AccountingCallback"):
                model.invoke("Why?", config=config)

    with caplog.at_level(logging.CRITICAL), contextlib.suppress(RuntimeError):
        asyncio.run(run())
    assert (service.sessions, len(provider.asked)) == ({}, 1)


@pytest.mark.parametrize(
    ("details", "parts"),
    [
        ({}, {}),
        ({"input_token_details": {"cache_read": 5, "cache_creation": 0}}, {"cachedInputTokens": 5}),
        ({"input_token_details": {"cache_creation": 6}}, {"cacheWriteTokens": 6}),
        (
            {
                "input_token_details": {
                    "cache_creation": 0,
                    "ephemeral_5m_input_tokens": 4,
                    "ephemeral_1h_input_tokens": 2,
                }
            },
            {"cacheWriteTokens": 4, "cacheWrite1hTokens": 2},
        ),
        (
            {"input_token_details": {"cache_creation": 6, "ephemeral_1h_input_tokens": 2}},
            {"cacheWriteTokens": 4, "cacheWrite1hTokens": 2},
        ),
        ({"output_token_details": {"reasoning": 3, "audio": 1}}, {"reasoningTokens": 3, "outputAudioTokens": 1}),
        ({"output_token_details": {"flex_reasoning": 3, "flex": 7}}, {"reasoningTokens": 3}),
        (
            {"input_token_details": {"priority_cache_read": 5, "audio": 2}},
            {"cachedInputTokens": 5, "inputAudioTokens": 2},
        ),
    ],
)
def test_usage_metadata_is_converted_to_canonical_form(details: dict[str, Any], parts: dict[str, int]) -> None:
    from accounting_client.langchain import canonical_usage

    usage = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30, **details}

    assert canonical_usage(usage) == {"inputTokens": 20, "outputTokens": 10, **parts}
