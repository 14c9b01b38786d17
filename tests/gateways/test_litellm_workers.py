"""A LiteLLM proxy with two worker processes that share an outbox, and are killed together."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

from client.tests.bank import UNAVAILABLE, Bank, serving
from local import litellm
from tests.gateways.litellm_proxy import Proxy, chat

if TYPE_CHECKING:
    from pathlib import Path

    from client.tests.providers import Provider

MOST_CALLS = 60
PATIENCE_SECONDS = 120


def workers_in(outbox: Path) -> int:
    """How many processes have settlements in the outbox."""
    with sqlite3.connect(outbox) as database:
        ended = "SELECT COUNT(DISTINCT owner) FROM settlements WHERE ending IS NOT NULL"
        return int(database.execute(ended).fetchone()[0])


def test_two_workers_share_an_outbox_and_each_call_is_charged_once_after_both_are_killed(
    provider: Provider, tmp_path: Path
) -> None:
    bank, outbox, environ = Bank(), tmp_path / "outbox", {"ACCOUNTING_OUTBOX": str(tmp_path / "outbox")}
    provider.plans(words=5, output_tokens=700)
    litellm.ready()
    with serving(bank) as url:
        bank.trouble["finalize"] = [UNAVAILABLE] * 10_000
        with Proxy.running(tmp_path, url, "svc_01_secret", provider, workers=2, **environ) as proxy:
            for _ in range(MOST_CALLS):
                assert proxy.answer("/v1/chat/completions", chat(), user_id="ann").is_success
                if workers_in(outbox) == 2:
                    break
            assert workers_in(outbox) == 2, "one worker answers everything"
            os.killpg(proxy.process.pid, signal.SIGKILL)
        left = set(bank.open)
        del bank.trouble["finalize"]

        with Proxy.running(tmp_path, url, "svc_01_secret", provider, workers=2, **environ):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while bank.open:
                assert time.monotonic() < deadline, "they were never settled"
                time.sleep(0.2)

    assert len(left) >= 2
    assert {session.charges for session in bank.sessions.values()} == {1}
    finalized = [session.settled or {} for session in bank.sessions.values() if session.outcome == "finalize"]
    assert len(finalized) >= 2
    assert {settled["usage"]["outputTokens"] for settled in finalized} == {700}
