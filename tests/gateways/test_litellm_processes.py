"""Two LiteLLM proxies keep unsettled sessions in the same file, the outbox, and are killed together."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from client.tests.bank import UNAVAILABLE, Bank, serving
from local import litellm
from tests.gateways.litellm_proxy import Proxy, chat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from client.tests.providers import Provider

PATIENCE_SECONDS = 120
CALLS_PER_PROXY = 3


def wait_until(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)


def settlements_in(outbox: Path) -> int:
    """How many sessions in the outbox have ended. The outbox also has the sessions that are still open."""
    with sqlite3.connect(outbox) as database:
        return int(database.execute("SELECT COUNT(*) FROM settlements WHERE ending IS NOT NULL").fetchone()[0])


def test_two_proxies_share_an_outbox_and_each_call_is_charged_once_after_both_are_killed(
    provider: Provider, tmp_path: Path
) -> None:
    bank, outbox = Bank(), tmp_path / "outbox"
    environ = {"ACCOUNTING_OUTBOX": str(outbox)}
    provider.plans(words=5, output_tokens=700)
    folders = tmp_path / "one", tmp_path / "other"
    calls = len(folders) * CALLS_PER_PROXY
    for folder in folders:
        folder.mkdir()
    litellm.install()
    with serving(bank) as url:
        bank.trouble["finalize"] = [UNAVAILABLE] * 10_000
        with ExitStack() as running:
            # One proxy with `--num_workers 2` would start more slowly: uvicorn restarts a worker if importing LiteLLM
            # takes the worker more than 5 seconds.
            proxies = [
                running.enter_context(Proxy.running(folder, url, "svc_01_secret", provider, **environ))
                for folder in folders
            ]
            for _ in range(CALLS_PER_PROXY):
                for proxy in proxies:
                    assert proxy.answer("/v1/chat/completions", chat(), user_id="ann").is_success
            wait_until(lambda: settlements_in(outbox) == calls, "the outbox has too few settlements")
            for proxy in proxies:
                os.killpg(proxy.process.pid, signal.SIGKILL)
        left = set(bank.open)
        del bank.trouble["finalize"]

        with Proxy.running(folders[0], url, "svc_01_secret", provider, **environ):
            wait_until(lambda: not bank.open, "a session was never settled")

    assert len(left) == len(bank.sessions) == calls
    assert {session.charges for session in bank.sessions.values()} == {1}
    assert {session.outcome for session in bank.sessions.values()} == {"finalize"}
    assert {(session.settled or {})["usage"]["outputTokens"] for session in bank.sessions.values()} == {700}
