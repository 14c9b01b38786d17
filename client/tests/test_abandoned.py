"""An abandoned session is aborted: its heartbeats stop, and what was used is charged.

A session is abandoned if it is garbage-collected before its block has ended.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, InsufficientCredits
from client.tests.accountant import Accountant
from client.tests.conftest import BASE_URL, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

BEAT_SECONDS = 0.05
PATIENCE_SECONDS = 5


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def dropped(client: AccountingClient) -> None:
    client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS).__enter__().add_tokens(30)


def dropped_in_a_reference_cycle(client: AccountingClient) -> None:
    session = client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS).__enter__()
    session.add_tokens(30)
    cycle: list[Any] = [session]
    cycle.append(cycle)


def dropped_with_its_stack(client: AccountingClient) -> None:
    stack = ExitStack()
    stack.enter_context(client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS)).add_tokens(30)


def dropped_after_a_refusal(client: AccountingClient) -> None:
    """Drop a session that has raised a refusal.

    The heartbeat thread keeps the refusal, and the session raises a copy of it. If the session raised the
    original, the thread would keep the session alive through the original's traceback.
    """
    session = client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS).__enter__()
    with suppress(InsufficientCredits):
        session.add_tokens(10**6)
    with suppress(InsufficientCredits):
        for _ in range(500):
            time.sleep(0.01)
            session.set_tokens(30)


WAYS = [dropped, dropped_in_a_reference_cycle, dropped_with_its_stack, dropped_after_a_refusal]


@pytest.mark.parametrize("drop", WAYS)
def test_an_abandoned_session_is_aborted_with_its_tokens(
    drop: Callable[[AccountingClient], None], caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant(credits=100)
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
        drop(client)
        gc.collect()
        wait_for(lambda: service.outcome)
        beats = len(service.tokens_of("heartbeat"))
        time.sleep(BEAT_SECONDS * 4)

    assert service.outcome == ("abort", 30)
    assert len(service.tokens_of("heartbeat")) == beats
    wait_for(lambda: not client.open_sessions)
    assert "was abandoned with 30 tokens" in caplog.text


def test_a_session_needs_no_variable_to_stay_open_inside_its_block() -> None:
    """Only the block references the session."""
    service = Accountant()
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
        with client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS):
            gc.collect()
            wait_for(lambda: len(service.tokens_of("heartbeat")) >= 3)
            assert service.outcome is None
    assert service.steps() == ["initialize", "finalize"]


async def dropped_async(client: AsyncAccountingClient) -> None:
    session = await client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS).__aenter__()
    session.add_tokens(30)


async def dropped_with_its_async_stack(client: AsyncAccountingClient) -> None:
    stack = AsyncExitStack()
    entering = stack.enter_async_context(client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS))
    (await entering).add_tokens(30)


@pytest.mark.parametrize("drop", [dropped_async, dropped_with_its_async_stack])
def test_an_abandoned_async_session_is_aborted_with_its_tokens(
    drop: Callable[[AsyncAccountingClient], Any], caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant(credits=100)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
            await asyncio.create_task(drop(client))
            gc.collect()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while service.outcome is None:
                    await asyncio.sleep(0.01)
            beats = len(service.tokens_of("heartbeat"))
            await asyncio.sleep(BEAT_SECONDS * 4)
            assert len(service.tokens_of("heartbeat")) == beats
            assert client.open_sessions == set()

    asyncio.run(run())
    assert service.outcome == ("abort", 30)
    assert "was abandoned with 30 tokens" in caplog.text


def test_an_async_session_needs_no_variable_to_stay_open_inside_its_block() -> None:
    service = Accountant()

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
            async with client.streaming_session("m", 100, heartbeat_seconds=BEAT_SECONDS):
                gc.collect()
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while len(service.tokens_of("heartbeat")) < 3:
                        await asyncio.sleep(0.01)

    asyncio.run(run())
    assert service.steps() == ["initialize", "finalize"]
