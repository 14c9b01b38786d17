"""A proxy between a function and the database, with which a test decides the outcome of each call."""

from __future__ import annotations

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

type Moment = tuple[str, str]
"""The point in a call (``before`` or ``after`` the database handles it), and the name of the call's operation."""


class Cut(Exception):
    """Closes the caller's connection without an answer."""


class Proxy:
    """A proxy to the database. Before and after each call, it runs ``on_moment``, which may wait or raise Cut."""

    def __init__(self, target: str) -> None:
        self.on_moment: Callable[[Moment], None] = _pass
        self._target = urlsplit(target).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @classmethod
    @contextmanager
    def to(cls, target: str) -> Iterator[Proxy]:
        """Run a proxy to this address during the block."""
        proxy = cls(target)
        thread = threading.Thread(target=proxy._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.on_moment = _pass
            proxy._server.shutdown()
            proxy._server.server_close()
            thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _forward(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(self._target, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Content-Type"]
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                try:
                    proxy.on_moment(("before", operation))
                    status, content, content_type = proxy._forward(self.path, body, dict(self.headers))
                    proxy.on_moment(("after", operation))
                except Cut:
                    self.close_connection = True
                    return
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", content_type)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:  # the caller has given up
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _pass(_moment: Moment) -> None:
    pass
