"""Sessions that fail to open, and threads and tasks that cannot start.

If a session fails to open, the client releases the credits that the service may hold for the session. If the service
cannot hold any, the client sends and logs nothing more.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AsyncAccountingClient,
    Forbidden,
    SessionEnded,
    SessionExists,
    TokenExpired,
    Unavailable,
    alarm,
    session,
)
from accounting_client.alarm import Alarm
from accounting_client.hold import Hold
from accounting_client.process import PerProcess
from client.tests.accountant import Accountant
from client.tests.conftest import BASE_URL, QUICK
from client.tests.played import refusal
from client.tests.test_streaming import LOST, Run, stream  # noqa: F401 - a fixture

NEVER_CONNECTED = [
    httpx.ConnectError("[Errno 111] Connection refused"),
    httpx.ConnectError("[Errno -2] Name or service not known"),
    httpx.ConnectTimeout("too late"),
    httpx.PoolTimeout("no connection was free"),
    httpx.ProxyError("407 Proxy Authentication Required"),
]


def entered(_: Any) -> Any:
    pytest.fail("entered")


@pytest.mark.parametrize("trouble", NEVER_CONNECTED, ids=repr)
def test_nothing_is_logged_or_released_if_an_opening_never_connects(
    stream: Run,  # noqa: F811
    trouble: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Accountant()
    service.trouble = {step: [trouble] * 100 for step in ("initialize", "abort")}

    with pytest.raises(Unavailable):
        stream(service, entered)
    assert set(service.steps()) == {"initialize"}
    assert caplog.text == ""


def test_a_refused_connection_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With real sockets: port 1 of this machine, where nothing listens."""
    http = httpx.Client(trust_env=False)
    client = AccountingClient("http://127.0.0.1:1", "jwt", http=http, retries=QUICK)
    with client, pytest.raises(Unavailable), client.streaming_session("m", 100):
        pytest.fail("entered")

    async def run() -> None:
        http = httpx.AsyncClient(trust_env=False)
        async with AsyncAccountingClient("http://127.0.0.1:1", "jwt", http=http, retries=QUICK) as client:
            with pytest.raises(Unavailable):
                await client.streaming_session("m", 100).__aenter__()
            assert client.open_sessions == set()

    asyncio.run(run())
    assert client.open_sessions == set()
    assert caplog.text == ""


def test_a_token_function_that_fails_before_anything_is_sent_leaves_nothing_to_release(
    stream: Run,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Accountant()

    def token() -> str:
        raise OSError("the sign-in service is away")

    with pytest.raises(OSError, match="is away"):
        stream(service, entered, token=token)
    assert service.received == []
    assert caplog.text == ""


@pytest.mark.parametrize("trouble", [refusal(401, "TOKEN_EXPIRED"), refusal(403, "USER_DISABLED")], ids=repr)
def test_the_hold_is_released_if_the_answer_to_initialize_is_lost_and_the_repeat_is_refused(
    stream: Run,  # noqa: F811
    trouble: httpx.Response,
) -> None:
    service = Accountant()
    service.afterwards["initialize"] = [LOST]

    def answers(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("initialize") and service.tokens_of("initialize"):
            return httpx.Response(trouble.status_code, content=trouble.content)
        return service(request)

    with pytest.raises((TokenExpired, Forbidden)):
        stream(answers, entered)  # type: ignore[arg-type]
    assert service.outcome == ("abort", 0)


@pytest.mark.parametrize(("code", "kind"), [("SESSION_EXISTS", SessionExists), ("SESSION_ENDED", SessionEnded)])
def test_nothing_is_released_after_a_lost_answer_if_the_session_id_is_taken(
    stream: Run,  # noqa: F811
    code: str,
    kind: type[Exception],
) -> None:
    service = Accountant()
    service.trouble["initialize"] = [LOST, refusal(409, code)]

    with pytest.raises(kind):
        stream(service, entered, session_id="mine")
    assert service.steps() == ["initialize", "initialize"]


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("can't start new thread")


def test_an_opening_that_can_start_no_thread_releases_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Accountant()
    service.trouble["abort"] = [LOST] * 5
    alarms = PerProcess(Alarm)
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
        monkeypatch.setattr(threading.Thread, "start", fail)
        monkeypatch.setattr(session, "ALARM", alarms)
        with pytest.raises(RuntimeError, match="can't start new thread"), client.streaming_session("m", 100):
            pytest.fail("entered")
    assert service.outcome == ("abort", 0)
    assert client.open_sessions == set()
    assert alarms.get()._due == []


def test_a_heartbeat_thread_that_cannot_start_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service, start, refused = Accountant(), threading.Thread.start, list[str]()

    def starts(thread: threading.Thread) -> None:
        if thread.name.startswith("heartbeats of") and not refused:
            refused.append(thread.name)
            fail()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    monkeypatch.setattr(alarm, "RETRY_SECONDS", 0.01)
    with (
        httpx.Client(transport=httpx.MockTransport(service)) as http,
        AccountingClient(BASE_URL, "jwt", http=http, retries=QUICK) as client,
        client.streaming_session("m", 100, heartbeat_seconds=0.02),
    ):
        until = time.monotonic() + 10
        while not service.tokens_of("heartbeat"):
            assert time.monotonic() < until
            time.sleep(0.01)
    assert len(refused) == 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_an_async_opening_that_cannot_schedule_heartbeats_releases_the_hold() -> None:
    service = Accountant()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(loop, "call_later", fail)
                with pytest.raises(RuntimeError, match="can't start"):
                    await client.streaming_session("m", 100).__aenter__()
            async with asyncio.timeout(10):
                while client.open_sessions:
                    await asyncio.sleep(0)
            assert service.outcome == ("abort", 0)
            assert client.open_sessions == set()

    asyncio.run(run())


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_stream_is_settled_even_if_no_task_can_start_when_it_ends() -> None:
    service = Accountant()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http, retries=QUICK)
            async with client.streaming_session("m", 100) as session:
                session.add_tokens(30)
                loop.set_task_factory(fail)
            loop.set_task_factory(None)
            assert session.result

    asyncio.run(run())
    assert service.outcome == ("finalize", 30)


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()], ids=repr)
def test_a_failure_after_the_opening_releases_the_hold(
    stream: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    service = Accountant()
    opened_as = Hold._opened_as

    def fails(hold: Hold, opened: Any) -> None:
        opened_as(hold, opened)
        raise error

    monkeypatch.setattr(Hold, "_opened_as", fails)

    with pytest.raises(type(error)):
        stream(service, entered)
    assert service.outcome == ("abort", 0)
