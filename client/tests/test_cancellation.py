"""If a caller, a time limit or a framework cancels a stream, the client settles it exactly once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from accounting_client import AsyncAccountingClient
from client.tests.accountant import Accountant
from client.tests.conftest import BASE_URL, QUICK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Slow:
    """A slow `Accountant`, the fake service. It waits ``seconds`` before it handles a request and before it answers."""

    def __init__(self, accountant: Accountant, seconds: float = 0.03) -> None:
        self._accountant = accountant
        self._seconds = seconds
        self.request_arrived = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request_arrived.set()
        await asyncio.sleep(self._seconds)
        answer = self._accountant(request)
        await asyncio.sleep(self._seconds)
        return answer


def cancelling(scenario: Callable[[AsyncAccountingClient, Slow], Awaitable[None]]) -> Accountant:
    """Run a scenario with a client, close the client, and return the accountant that received the requests."""
    accountant = Accountant(credits=100_000)

    async def run() -> None:
        slow = Slow(accountant)
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http,
            AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK) as client,
        ):
            await scenario(client, slow)

    asyncio.run(run())
    return accountant


async def answer(client: AsyncAccountingClient, chunks: int = 1000) -> AsyncIterator[int]:
    """Yield chunks of ten tokens, a moment apart, inside a session, as a proxy's generator does."""
    async with client.streaming_session("m", 100_000) as session:
        for number in range(chunks):
            session.add_tokens(10)
            yield number
            await asyncio.sleep(0.001)


async def stay_in_stream(client: AsyncAccountingClient, inside: asyncio.Event) -> None:
    """Stream some tokens, set ``inside``, and stay in the block."""
    async with client.streaming_session("m", 100) as session:
        session.add_tokens(30)
        inside.set()
        await asyncio.sleep(60)


async def consume(client: AsyncAccountingClient, until: int, reached: asyncio.Event) -> None:
    async for number in answer(client):
        if number == until:
            reached.set()
            await asyncio.sleep(60)


def test_cancelling_a_task_charges_what_its_stream_has_generated() -> None:
    async def scenario(client: AsyncAccountingClient, _: Slow) -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(stay_in_stream(client, inside))
        await inside.wait()
        (session,) = client.open_sessions
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert session.result, "the task ended before its session was settled"

    assert cancelling(scenario).received == [("initialize", 100), ("abort", 30)]


def test_cancelling_a_task_twice_still_settles_its_session_before_the_client_closes() -> None:
    async def scenario(client: AsyncAccountingClient, slow: Slow) -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(stay_in_stream(client, inside))
        await inside.wait()
        slow.request_arrived.clear()
        task.cancel()
        await slow.request_arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert cancelling(scenario).received == [("initialize", 100), ("abort", 30)]


def test_a_hold_is_released_if_the_task_is_cancelled_while_the_session_opens() -> None:
    async def scenario(client: AsyncAccountingClient, slow: Slow) -> None:
        async def stream() -> None:
            async with client.streaming_session("m", 100):
                pytest.fail("the session opened although its task was cancelled")

        task = asyncio.create_task(stream())
        await slow.request_arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert cancelling(scenario).received == [("initialize", 100), ("abort", 0)]


def test_cancelling_a_task_during_finalize_still_finalizes_the_session() -> None:
    async def scenario(client: AsyncAccountingClient, slow: Slow) -> None:
        async def stream() -> None:
            async with client.streaming_session("m", 100) as session:
                session.add_tokens(30)
                slow.request_arrived.clear()
                inside.set()

        inside = asyncio.Event()
        task = asyncio.create_task(stream())
        await inside.wait()
        await slow.request_arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert cancelling(scenario).received == [("initialize", 100), ("finalize", 30)]


def test_closing_a_generator_early_charges_what_it_has_generated() -> None:
    async def scenario(client: AsyncAccountingClient, _: Slow) -> None:
        chunks: Any = answer(client)
        async for number in chunks:
            if number == 4:
                break
        await chunks.aclose()

    assert cancelling(scenario).received == [("initialize", 100_000), ("abort", 50)]


def test_garbage_collection_of_a_generator_charges_what_it_has_generated() -> None:
    async def scenario(client: AsyncAccountingClient, _: Slow) -> None:
        async for number in answer(client):
            if number == 4:
                break
        await asyncio.sleep(0.2)

    assert cancelling(scenario).received == [("initialize", 100_000), ("abort", 50)]


def test_exceeding_a_time_limit_charges_what_the_stream_has_generated() -> None:
    async def scenario(client: AsyncAccountingClient, _: Slow) -> None:
        async def stream() -> None:
            async with asyncio.timeout(None) as limit, client.streaming_session("m", 100) as session:
                session.add_tokens(30)
                limit.reschedule(asyncio.get_running_loop().time())
                await asyncio.sleep(60)

        with pytest.raises(TimeoutError):
            await stream()

    assert cancelling(scenario).received == [("initialize", 100), ("abort", 30)]


def test_a_session_settles_even_if_a_framework_cancels_every_wait() -> None:
    """When a client disconnects, Starlette's cancel scope cancels the task at every turn of the event loop."""

    async def scenario(client: AsyncAccountingClient, _: Slow) -> None:
        reached = asyncio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(consume, client, 4, reached)
            await reached.wait()
            group.cancel_scope.cancel()

    assert cancelling(scenario).received == [("initialize", 100_000), ("abort", 50)]


def test_a_session_is_logged_as_unsettled_if_the_event_loop_ends(caplog: pytest.LogCaptureFixture) -> None:
    accountant = Accountant()
    client = AsyncAccountingClient(
        BASE_URL, "jwt", http=httpx.AsyncClient(transport=httpx.MockTransport(Slow(accountant)))
    )

    async def stream(inside: asyncio.Event) -> None:
        async with client.streaming_session("m", 100) as session:
            session.add_tokens(30)
            inside.set()

    async def run() -> None:
        inside = asyncio.Event()
        task = asyncio.create_task(stream(inside))
        await inside.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(run())
    assert "could not be settled with 30 tokens" in caplog.text
