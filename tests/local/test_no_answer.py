"""What the programs of `local/` print if the service does not answer, or if a proxy answers in its place."""

from __future__ import annotations

import json
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest
from botocore.exceptions import EndpointConnectionError

from local import demo, prices, run, screenshots, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = "<html>Sign in first</html>"
NO_CONNECTION = (httpx.ReadTimeout("timed out"), EndpointConnectionError(endpoint_url="http://localhost"))


class ProxyPage(BaseHTTPRequestHandler):
    status = 403

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a proxy that answers every request with an HTML page."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ProxyPage) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for name, value in {"CREDITS_PER_USD": "1000", "BASE_URL": address, "TOKEN": "token"}.items():
            monkeypatch.setenv(name, value)
        yield address
        server.shutdown()


@pytest.fixture
def stack_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the address of a service that is not running."""
    file = tmp_path / "stack.json"
    stack = {"baseUrl": "http://127.0.0.1:1", "jwtSecret": "x" * 32, "internalApiKey": "key"}
    file.write_text(json.dumps(stack))
    for module in (demo, screenshots):
        monkeypatch.setattr(module, "STACK_JSON", file)
    monkeypatch.setattr(tokens, "accepted_token", lambda *_: "token")
    return file


def raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("status", [200, 403, 502])
def test_make_prices_shows_what_a_proxy_answered(
    proxy: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProxyPage, "status", status)

    assert prices.main() == 1

    shown = capsys.readouterr().err
    assert PAGE in shown
    assert (f"{proxy}/api/pricing/import" if status == 200 else f"{status} ") in shown


def test_make_prices_refuses_a_base_url_that_is_not_a_url(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"CREDITS_PER_USD": "1000", "BASE_URL": "http://service:port", "TOKEN": "token"}.items():
        monkeypatch.setenv(name, value)

    assert prices.main() == 1
    assert capsys.readouterr().err.startswith("error: BASE_URL is not a URL")


def test_make_screenshots_shows_what_a_proxy_answered(
    proxy: str, stack_json: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack_json.write_text(json.dumps({"baseUrl": proxy}))

    assert screenshots.main() == 1
    assert capsys.readouterr().err == f"error: the service answered 403 {PAGE}\n"


@pytest.mark.usefixtures("stack_json")
def test_make_screenshots_says_that_the_service_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert screenshots.main() == 1
    assert capsys.readouterr().err.startswith("error: the service does not answer")


@pytest.mark.usefixtures("stack_json")
@pytest.mark.parametrize("error", NO_CONNECTION)
def test_make_demo_says_that_the_service_does_not_answer(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "_show", raising(error))

    assert demo.main() == 1
    assert capsys.readouterr().err.startswith("error: the service does not answer")


@pytest.mark.parametrize("error", NO_CONNECTION)
def test_make_run_says_that_the_local_aws_does_not_answer(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(run, "Running", object)
    monkeypatch.setattr(run, "_run", raising(error))

    assert run.main() == 1
    assert capsys.readouterr().err.startswith("error: the local AWS does not answer")
