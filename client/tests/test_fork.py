"""A client in a process that forks, as preloading servers do: each process has its own connections and sessions."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient
from client.tests.accountant import Accountant
from client.tests.conftest import QUICK
from client.tests.played import BALANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHILD_SECONDS = 20

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Server:
    """A service on a socket, for one session.

    ``asked`` has, for each request, the last part of its path and the client's port.
    """

    def __init__(self) -> None:
        self.accountant = Accountant()
        self.asked: list[tuple[str, int]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def connections(self, step: str) -> list[int]:
        """The client's port of each request whose path ends with ``step``. Each connection has its own port."""
        return [port for asked, port in self.asked if asked == step]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.path.rpartition("/")[2], self.client_address[1]))
                if self.command == "GET":
                    content = json.dumps(BALANCE).encode()
                    status = 200
                else:
                    answer = server.accountant(httpx.Request("POST", server.url + self.path, content=body))
                    status, content = answer.status_code, answer.content
                self.send_response_only(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do  # noqa: N815 - `http.server` calls these names

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server().running() as running:
        yield running


def in_a_child(act: Callable[[], Any]) -> Any:
    """Run ``act`` in a forked process, and return its result, which must be JSON. If ``act`` raises, the test fails."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns if a process with threads forks
        child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)  # ends a child that has a deadlock
        try:
            outcome = {"result": act()}
        except BaseException:
            outcome = {"error": traceback.format_exc()}
        os.write(write_end, json.dumps(outcome).encode())
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as pipe:  # noqa: PTH123 - a pipe has no path
        content = pipe.read()
    os.waitpid(child, 0)
    assert content, "the child was stuck"
    outcome = json.loads(content)
    assert "error" not in outcome, outcome["error"]
    return outcome["result"]


def test_a_child_has_connections_of_its_own(server: Server) -> None:
    with AccountingClient(server.url, "jwt") as client:
        twin = client.with_token("another")
        client.balance()

        def child() -> list[int]:
            with client:
                return [client.balance().total_credits, twin.balance().total_credits]

        assert in_a_child(child) == [7, 7]
        client.balance()

    parents, *childs, parents_again = server.connections("balance")
    assert parents_again == parents
    assert len(childs) == 2
    assert parents not in childs


def test_a_grandchild_has_connections_of_its_own(server: Server) -> None:
    with AccountingClient(server.url, "jwt") as client:
        assert in_a_child(lambda: [client.balance().debt, in_a_child(lambda: client.balance().debt)]) == [0, 0]
        client.balance()
    assert len(set(server.connections("balance"))) == 3


def close_the_client(client: AccountingClient, session: Any) -> Any:
    client.close()


def settle(client: AccountingClient, session: Any) -> Any:
    session.finalize()
    session.abort()


def leave_the_block(client: AccountingClient, session: Any) -> Any:
    with suppress(SystemExit):
        try:
            sys.exit()
        finally:
            session.__exit__(*sys.exc_info())


@pytest.mark.parametrize("act", [close_the_client, settle, leave_the_block])
def test_a_child_leaves_its_parents_sessions_alone(
    server: Server, act: Callable[[AccountingClient, Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with AccountingClient(server.url, "jwt") as client, client.streaming_session("m", 100) as session:
        session.add_tokens(30)

        def child() -> list[str]:
            act(client, session)
            with pytest.raises(RuntimeError, match="belongs to the process that this one was forked from"):
                session.add_tokens(1)
            return caplog.messages

        assert in_a_child(child) == []
        assert server.accountant.steps() == ["initialize"]
        session.add_tokens(1)
    assert server.accountant.received == [("initialize", 100), ("finalize", 31)]


def test_a_child_sends_no_heartbeats_for_its_parents_sessions(server: Server) -> None:
    with (
        AccountingClient(server.url, "jwt", retries=QUICK) as client,
        client.streaming_session("m", 100, heartbeat_seconds=0.05),
    ):
        while not server.connections("heartbeat"):
            time.sleep(0.01)

        def child() -> int:
            time.sleep(0.3)
            return threading.active_count()

        assert in_a_child(child) == 1
        assert len(set(server.connections("heartbeat"))) == 1


def test_a_child_can_stream_with_a_client_that_was_unused_before_the_fork(server: Server) -> None:
    with AccountingClient(server.url, "jwt") as client:

        def child() -> Any:
            with client:
                session = client.streaming_session("m", 100).__enter__()
                session.add_tokens(30)
            return session.result and session.result.charged_credits

        assert in_a_child(child) == 3
    assert server.accountant.received == [("initialize", 100), ("abort", 30)]


def test_a_lock_held_during_the_fork_does_not_block_the_child(server: Server) -> None:
    """During the fork, another thread fetches a token and holds the token's lock.

    That thread does not exist in the child, so nothing in the child could release a copy of the lock.
    """
    fetching, go_on = threading.Event(), threading.Event()

    def token() -> str:
        if threading.current_thread() is not threading.main_thread():
            fetching.set()
            go_on.wait()
        return "jwt"

    with AccountingClient(server.url, token) as client:
        thread = threading.Thread(target=client.balance)
        thread.start()
        fetching.wait()
        try:
            assert in_a_child(lambda: client.balance().total_credits) == 7
        finally:
            go_on.set()
            thread.join()


def test_a_child_cannot_use_connections_that_its_parent_passed_to_the_client(server: Server) -> None:
    with httpx.Client() as http:
        client = AccountingClient(server.url, "jwt", http=http)
        client.balance()

        def child() -> None:
            with client, pytest.raises(RuntimeError, match="pass other ones after a fork"):
                client.balance()

        in_a_child(child)
    assert len(server.connections("balance")) == 1


def test_an_async_client_in_a_child_has_its_own_connections_and_sessions(server: Server) -> None:
    """During the fork, one task streams, and another task fetches a token and holds the token's lock."""

    async def slow_token() -> str:
        if os.getpid() == parent:
            await asyncio.sleep(0.2)
        return "jwt"

    async def in_child(client: AsyncAccountingClient, twin: AsyncAccountingClient, session: Any) -> list[int]:
        async with client:
            await session.abort()
            return [(await client.balance()).total_credits, (await twin.balance()).total_credits]

    async def run() -> None:
        async with AsyncAccountingClient(server.url, "jwt", retries=QUICK) as client:
            twin = client.with_token(slow_token)
            fetching = asyncio.create_task(twin.balance())
            async with client.streaming_session("m", 100) as session:
                session.add_tokens(30)
                assert not fetching.done()
                assert in_a_child(lambda: asyncio.run(in_child(client, twin, session))) == [7, 7]
                assert server.accountant.steps() == ["initialize"]
            await fetching

    parent = os.getpid()
    asyncio.run(run())
    assert server.accountant.received == [("initialize", 100), ("finalize", 30)]
    childs, parents = set(server.connections("balance")[:2]), set(server.connections("initialize"))
    assert len(childs) == 1
    assert childs.isdisjoint(parents)
