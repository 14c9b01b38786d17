"""Closing a client settles all of its streams concurrently, in no more time than its retries allow."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, Retries, ServiceCredential
from accounting_client.hold import Terms
from accounting_client.session import ThreadHold
from client.tests.accountant import AT
from client.tests.conftest import BASE_URL, QUICK
from client.tests.played import ok, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVICE = ServiceCredential("svc_01_secret")
MANY = 20
SLOW_SECONDS = 0.2
OPENED = {"allocatedCredits": 12, "estimatedCredits": 10, "expiresAt": AT, "message": "Holding"}
ABORTED = {"status": "aborted", "partialCredits": 0, "refund": 12, "overrun": 0, "debt": 0}


class Service:
    """Holds and settles sessions, and counts concurrent settlements. If ``trouble`` is given, settling fails."""

    def __init__(self, trouble: httpx.Response | Exception | None = None) -> None:
        self.open: set[str] = set()
        self.settled: Counter[str] = Counter()
        self.most_at_once = 0
        self._settling = 0
        self._trouble = trouble
        self._lock = threading.Lock()

    def begin(self, request: httpx.Request) -> httpx.Response | None:
        """Answer a request to open a session. For a request to settle, return None: `end` answers it."""
        session_id = json.loads(request.content)["sessionId"]
        if request.url.path.endswith("initialize"):
            self.open.add(session_id)
            return ok(OPENED | {"sessionId": session_id})
        with self._lock:
            self._settling += 1
            self.most_at_once = max(self.most_at_once, self._settling)
        return None

    def end(self, request: httpx.Request) -> httpx.Response:
        """Settle a session."""
        session_id = json.loads(request.content)["sessionId"]
        with self._lock:
            self._settling -= 1
        if isinstance(self._trouble, Exception):
            raise self._trouble
        if self._trouble is not None:
            return httpx.Response(self._trouble.status_code, content=self._trouble.content)
        self.open.discard(session_id)
        self.settled[session_id] += 1
        return ok(ABORTED | {"sessionId": session_id})

    def sync(self, seconds: float = SLOW_SECONDS) -> httpx.Client:
        """Return an HTTP client whose requests to settle take ``seconds``."""

        def handle(request: httpx.Request) -> httpx.Response:
            if answer := self.begin(request):
                return answer
            time.sleep(seconds)
            return self.end(request)

        return httpx.Client(transport=httpx.MockTransport(handle))

    def asynchronous(self, seconds: float = SLOW_SECONDS) -> httpx.AsyncClient:
        """Like `sync`, for asyncio."""

        async def handle(request: httpx.Request) -> httpx.Response:
            if answer := self.begin(request):
                return answer
            await asyncio.sleep(seconds)
            return self.end(request)

        return httpx.AsyncClient(transport=httpx.MockTransport(handle))


def close_sync(
    service: Service, retries: Retries, seconds: float, many: int, **options: Any
) -> tuple[float, list[Any]]:
    """Open sessions and close the client. Return how many seconds the closing took, and the sessions."""
    with service.sync(seconds) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=retries)
        sessions = [client.streaming_session("m", 100, **options).__enter__() for _ in range(many)]
        began = time.monotonic()
        client.close()
        return time.monotonic() - began, sessions


def close_async(
    service: Service, retries: Retries, seconds: float, many: int, outbox: Path | None = None, **options: Any
) -> tuple[float, list[Any]]:
    """Like `close_sync`, for asyncio."""

    async def run() -> tuple[float, list[Any]]:
        async with service.asynchronous(seconds) as http:
            client = AsyncAccountingClient(BASE_URL, SERVICE, http=http, retries=retries, outbox=outbox)
            sessions = [await client.streaming_session("m", 100, **options).__aenter__() for _ in range(many)]
            began = time.monotonic()
            await client.aclose()
            return time.monotonic() - began, sessions

    return asyncio.run(run())


both = pytest.mark.parametrize("close", [close_sync, close_async])


@both
def test_all_sessions_are_settled_concurrently(close: Callable[..., Any]) -> None:
    service = Service()
    each_seconds = 1  # long enough that even a busy machine begins all settlements before the first one ends

    seconds, sessions = close(service, QUICK, each_seconds, MANY)

    assert service.open == set()
    assert set(service.settled.values()) == {1}
    assert {session.result.status for session in sessions} == {"aborted"}
    assert service.most_at_once == MANY
    assert seconds < each_seconds * MANY / 4


@both
@pytest.mark.parametrize(
    ("trouble", "takes"), [(refusal(503, "UNAVAILABLE"), 0), (httpx.ReadError("lost"), 0), (None, 30)], ids=repr
)
def test_closing_takes_no_longer_than_the_clients_retries_allow(
    close: Callable[..., Any], trouble: Any, takes: float, caplog: pytest.LogCaptureFixture
) -> None:
    retries = Retries(total_seconds=0.5, first_seconds=0.01, longest_seconds=0.02)

    seconds, sessions = close(Service(trouble), retries, takes, 5, settle_seconds=60) if not takes else hanging(close)

    assert seconds < 2
    for session in sessions:
        logged = [line for line in caplog.messages if f"session {session.session_id} could not be settled" in line]
        assert len(logged) == 1
        assert session.result is None


def hanging(close: Callable[..., Any], outbox: Path | None = None) -> tuple[float, list[Any]]:
    """Close a client while settling hangs. The hanging threads are daemons, so the tests can end."""
    retries = Retries(total_seconds=0.5)
    if close is close_async:
        return close_async(Service(), retries, 30, 5, outbox=outbox)
    http = Service().sync(30)  # left open, because the hanging threads use it
    client = AccountingClient(BASE_URL, SERVICE, http=http, retries=retries, outbox=outbox)
    sessions = [client.streaming_session("m", 100).__enter__() for _ in range(5)]
    began = time.monotonic()
    client.close()
    return time.monotonic() - began, sessions


def test_sessions_are_settled_even_if_no_thread_for_settling_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    start = threading.Thread.start

    def start_only_heartbeats(thread: threading.Thread) -> None:
        if not thread.name.startswith("heartbeats"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_only_heartbeats)

    close_sync(service, QUICK, 0, 3)
    assert len(service.settled) == 3


def opening_in_a_thread(client: AccountingClient, raised: list[str], **options: Any) -> threading.Thread:
    """Start a thread in which opening a session must fail. It adds the text of the RuntimeError to ``raised``."""

    def stream() -> None:
        try:
            with client.streaming_session("m", **options):
                pytest.fail("entered")
        except RuntimeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=stream)
    thread.start()
    return thread


def test_closing_settles_a_session_that_is_still_opening() -> None:
    service, entered = Service(), threading.Event()
    raised: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("initialize"):
            entered.set()
            time.sleep(SLOW_SECONDS)
            return service.begin(request) or ok({})
        service.begin(request)
        return service.end(request)

    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)

        thread = opening_in_a_thread(client, raised, estimated_tokens=100)
        entered.wait()
        client.close()
        assert (service.open, len(service.settled)) == (set(), 1)
        thread.join()
    assert "the client was closed while session" in raised[0]


def test_closing_settles_an_async_session_that_is_still_opening() -> None:
    service = Service()

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("initialize"):
            await asyncio.sleep(SLOW_SECONDS)
            return service.begin(request) or ok({})
        service.begin(request)
        return service.end(request)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
            opening = asyncio.create_task(client.streaming_session("m", 100).__aenter__())
            await asyncio.sleep(SLOW_SECONDS / 2)
            await client.aclose()
            assert (service.open, len(service.settled)) == (set(), 1)
            with pytest.raises(RuntimeError, match="the client was closed while session"):
                await opening

    asyncio.run(run())


UNHELD: dict[str, Any] = {"estimated_usage": {"outputTokens": 100}, "on_unreachable": "allow"}


def test_a_session_that_may_begin_without_a_hold_does_not_begin_after_the_client_is_closed() -> None:
    service, entered = Service(), threading.Event()
    raised: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        service.begin(request)
        if request.url.path.endswith("initialize"):
            entered.set()
            time.sleep(SLOW_SECONDS)
            return refusal(503, "UNAVAILABLE")
        return service.end(request)

    with httpx.Client(transport=httpx.MockTransport(handle)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=Retries(attempts=1))

        thread = opening_in_a_thread(client, raised, **UNHELD)
        entered.wait()
        client.close()
        thread.join()
    assert [text for text in raised if "the client was closed while session" in text] == raised != []
    assert (service.open, len(service.settled)) == (set(), 1)


def test_an_async_session_that_may_begin_without_a_hold_does_not_begin_after_the_client_is_closed() -> None:
    service = Service()

    async def handle(request: httpx.Request) -> httpx.Response:
        service.begin(request)
        if request.url.path.endswith("initialize"):
            await asyncio.sleep(SLOW_SECONDS)
            return refusal(503, "UNAVAILABLE")
        return service.end(request)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(handle)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=Retries(attempts=1))
            opening = asyncio.create_task(client.streaming_session("m", **UNHELD).__aenter__())
            await asyncio.sleep(SLOW_SECONDS / 2)
            await client.aclose()
            with pytest.raises(RuntimeError, match="the client was closed while session"):
                await opening
            assert (service.open, len(service.settled)) == (set(), 1)

    asyncio.run(run())


def test_leaving_a_session_waits_until_the_closing_client_has_settled_it() -> None:
    service = Service()
    with service.sync() as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
        closing = threading.Thread(target=client.close)
        with client.streaming_session("m", 100) as session:
            closing.start()
            while not service.most_at_once:
                time.sleep(0.001)
        assert session.result
        closing.join()
    assert set(service.settled.values()) == {1}


@both
def test_closing_logs_that_the_outbox_has_the_open_sessions(
    close: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, sessions = hanging(close, outbox=tmp_path / "outbox")

    for session in sessions:
        (told,) = [line for line in caplog.messages if session.session_id in line]
        assert told.startswith(f"session {session.session_id} is not settled yet, the outbox has it")
    assert "sweeper" not in caplog.text


def test_a_session_is_logged_once_even_if_several_threads_give_it_up() -> None:
    logged: list[str] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.05)
            logged.append(record.getMessage())

    def give_up() -> None:
        at_once.wait()
        hold.left_behind()
        counts.append(len(logged))

    handler, counts, at_once = Slow(), list[int](), threading.Barrier(8)
    logging.getLogger("accounting_client").addHandler(handler)
    try:
        with Service().sync() as http:
            hold = ThreadHold(AccountingClient(BASE_URL, "jwt", http=http), Terms("m", 100))
            threads = [threading.Thread(target=give_up) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        logging.getLogger("accounting_client").removeHandler(handler)
    assert counts == [1] * 8
