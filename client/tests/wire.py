"""A proxy in place of the network between the client and the gateway. Tests can make it lose requests or answers."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

type Moment = Literal["before", "after"]
"""``before`` loses a request before it is carried out. ``after`` loses the answer of a request that was carried out."""

FOREVER = 10**9
PATIENCE_SECONDS = 120
CONNECTION_HEADERS = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}
"""Headers that are not passed on: they belong to one connection."""


class Wire:
    """Carries requests to ``target``. ``answered`` counts the answered requests by the last part of their path."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self.answered: Counter[str] = Counter()
        self.is_cut: Callable[[str, Moment], bool] = lambda _step, _moment: False
        self._netloc = parts.netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = parts._replace(netloc=f"127.0.0.1:{self._server.server_address[1]}").geturl()

    @classmethod
    @contextmanager
    def to(cls, target: str) -> Iterator[Wire]:
        """Run a wire to ``target`` during the block."""
        wire = cls(target)
        thread = threading.Thread(target=wire._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            wire._server.shutdown()
            wire._server.server_close()
            thread.join()

    def cut(self, step: str, moment: Moment, times: int) -> None:
        """Lose the next ``times`` requests whose path ends with ``step``, or the answers of these requests."""
        left, lock = Counter({(step, moment): times}), threading.Lock()

        def is_cut(requested: str, when: Moment) -> bool:
            with lock:
                left[requested, when] -= 1
                return left[requested, when] >= 0

        self.is_cut = is_cut

    def mend(self) -> None:
        """Stop losing requests and answers."""
        self.is_cut = lambda _step, _moment: False

    def _carry(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self._netloc, timeout=PATIENCE_SECONDS)
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in CONNECTION_HEADERS}
        try:
            connection.request(handler.command, handler.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                step = urlsplit(self.path).path.rpartition("/")[2]
                self.close_connection = True
                if wire.is_cut(step, "before"):
                    return
                status, headers, content = wire._carry(self, body)
                if wire.is_cut(step, "after"):
                    return
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in CONNECTION_HEADERS:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(content)
                wire.answered[step] += 1

            do_GET = do_POST = do_PUT = do_DELETE = do  # noqa: N815 - http.server needs these names

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
