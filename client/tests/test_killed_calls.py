"""Programs that call models with a wrapped SDK, and are killed at any moment or end in the middle of a stream.

An outbox is a file that stores settlements, so that a later process can settle the sessions of a killed one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from client.tests.bank import Bank, serving
from client.tests.played import ok
from client.tests.providers import Plan, Provider
from client.tests.test_outbox import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("killed calls")]  # all of these tests share one `Forker`
ROOT = Path(__file__).parent.parent.parent
KILLS = 12
MOST_KILLS = 60
MOST_CALLS = 4
"""A process is killed before it has made this many calls."""
CALL_SECONDS = 0.06
"""About how long a call takes."""
OUTPUTS = {"chat": "completion_tokens", "responses": "output_tokens", "messages": "output_tokens"}


class Slow(Provider):
    """A provider that pauses before each word, so that most processes are killed in the middle of an answer."""

    def pause(self, plan: Plan, word: int | None) -> None:
        time.sleep(0.003)

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Slow]:
        with super().running() as provider:
            assert isinstance(provider, Slow)
            yield provider

    @property
    def called(self) -> set[str]:
        """The session ids of the calls that reached the provider. `caller.py` sends the session id as the model."""
        return {body["model"] for _, body in self.asked}


class Forker:
    """Runs child processes of `caller.py`, one after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Forker]:
        path = os.pathsep.join([str(ROOT), str(ROOT / "client/src")])
        environ = {**os.environ, "PYTHONPATH": path, "NO_PROXY": "*", "no_proxy": "*"}
        command = [sys.executable, str(ROOT / "client/tests/caller.py")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        ) as process:
            yield cls(process)

    def run(self, order: dict[str, Any], kill_after: float | None = None) -> set[str]:
        """Run a process to its end, or kill it after ``kill_after`` calls. 2.5 means in the middle of the third call.

        Return the session ids that the process printed: one for each call whose answer it has read or stopped reading.
        """
        process = self._process
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{json.dumps(order)}\n")
        process.stdin.flush()
        pid, ended = int(process.stdout.readline().removeprefix("pid ")), set()
        if kill_after is not None:
            ended |= {process.stdout.readline().strip() for _ in range(int(kill_after))}
            time.sleep(kill_after % 1 * CALL_SECONDS)
            os.kill(pid, signal.SIGKILL)
        while (session_id := process.stdout.readline().strip()) != "ended":
            ended.add(session_id)
        return ended


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    """Return the program that forks the processes of these tests. It imports the SDKs once, which takes seconds."""
    with Forker.running() as running:
        yield running


class Callers:
    """Processes that call the models of a provider, one after another."""

    def __init__(self, forker: Forker, kind: str, url: str, provider: Provider, outbox: Path | None = None) -> None:
        self._forker = forker
        self._order = {"kind": kind, "url": url, "origin": provider.origin, "file": outbox and str(outbox)}
        self.ended: set[str] = set()
        """The session ids that the processes printed (see `Forker.run`)."""

    def run_and_kill(self, least: int, chance: random.Random, *, until: Callable[[], bool]) -> int:
        """Kill ``least`` processes at random moments. Then kill more until ``until()`` is true.

        Return the number of killed processes, which is at most `MOST_KILLS`.
        """
        kills = 0
        while kills < least or (not until() and kills < MOST_KILLS):
            self.ended |= self._forker.run({**self._order, "is_last": False}, chance.random() * MOST_CALLS)
            kills += 1
        return kills

    def run_the_last(self) -> None:
        """Run a process until the outbox is empty."""
        self.ended |= self._forker.run({**self._order, "is_last": True})


def output_of(session_id: str, settled: dict[str, Any]) -> int | None:
    """The output tokens in the usage that a session was settled for; None if it was settled without a usage."""
    api = session_id.split("-")[1]
    return settled["usage"].get(OUTPUTS[api]) if "usage" in settled else None


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_call_is_settled_exactly_once_even_if_its_process_is_killed_at_any_moment(
    forker: Forker, kind: str, tmp_path: Path
) -> None:
    file, bank, chance = tmp_path / "outbox", Bank(), random.Random(5)

    with Slow.running() as provider, serving(bank, loses=0.05) as url:
        callers = Callers(forker, kind, url, provider, file)
        callers.run_and_kill(KILLS, chance, until=lambda: callers.ended < provider.called)
        callers.run_the_last()
        called = provider.called

    assert callers.ended < called, "some processes were killed during a call"
    assert called <= bank.sessions.keys(), "no model is called without a hold"
    assert bank.open == set()
    assert {session.charges for session in bank.sessions.values()} == {1}
    for session_id, session in bank.sessions.items():
        settled, reader_left = session.settled or {}, session_id.startswith("leave-")
        if session.outcome == "finalize":
            assert output_of(session_id, settled) == provider.plan.output_tokens
        elif not reader_left:  # killed before the usage was known: the service charges the last heartbeat
            assert session_id not in callers.ended
            assert not {"usage", "tokensGenerated"} & settled.keys()
        elif session_id in callers.ended:
            assert settled["metadata"] == {"estimated": True}
            assert {"usage", "tokensGenerated"} & settled.keys()
    assert rows(file) == []


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_without_an_outbox_no_process_settles_the_session_of_a_killed_process(forker: Forker, kind: str) -> None:
    bank, chance = Bank(), random.Random(6)

    with Slow.running() as provider, serving(bank) as url:
        callers = Callers(forker, kind, url, provider)
        kills = callers.run_and_kill(KILLS // 3, chance, until=lambda: bool(bank.open))
        open_before, ended = bank.open, {*callers.ended}
        kills += callers.run_and_kill(1, chance, until=lambda: callers.ended > ended)

    assert open_before
    assert callers.ended > ended, "later processes have made calls"
    still_open = bank.open
    assert open_before <= still_open, "only the service's sweeper ends these sessions"
    assert len(still_open) <= kills
    assert callers.ended <= bank.sessions.keys() - still_open
    assert {session.charges for session_id, session in bank.sessions.items() if session_id not in still_open} == {1}


SYNC = """
import logging, os, signal, sys, urllib.request
from openai import OpenAI
from accounting_client import AccountingClient, Retries
from accounting_client.openai import accounted
logging.basicConfig()
url, provider, end = sys.argv[1:]
client = accounted(
    OpenAI(api_key="k", base_url=provider), AccountingClient(url, "jwt", retries=Retries(attempts=1)),
    settle_seconds=0.2,
)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
streams = [
    client.with_accounting(session_id=f"open-{number}").chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=50, stream=True
    )
    for number in range(2)
]
for stream in streams:
    next(stream)
urllib.request.urlopen(url + "/down", b"{}")
if end == "raise":
    raise LookupError("unhandled")
if end == "SIGTERM":
    os.kill(os.getpid(), signal.SIGTERM)
"""
ASYNC = """
import asyncio, logging, os, signal, sys, urllib.request
from openai import AsyncOpenAI
from accounting_client import AsyncAccountingClient, Retries
from accounting_client.openai import accounted
logging.basicConfig()
url, provider, end = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

async def main():
    client = accounted(
        AsyncOpenAI(api_key="k", base_url=provider), AsyncAccountingClient(url, "jwt", retries=Retries(attempts=1)),
        settle_seconds=0.2,
    )
    streams = [
        await client.with_accounting(session_id=f"open-{number}").chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hello"}], max_tokens=50, stream=True
        )
        for number in range(2)
    ]
    for stream in streams:
        await anext(stream)
    urllib.request.urlopen(url + "/down", b"{}")
    if end == "raise":
        raise LookupError("unhandled")
    if end == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)

asyncio.run(main())
"""


class Failing(Bank):
    """A stand-in for the service that is down after a request to ``/down``."""

    def answer(self, path: str, content: bytes, user: str) -> Any:
        if path.endswith("/down"):
            self.is_down = True
            return ok({})
        return super().answer(path, content, user)


@pytest.mark.parametrize("end", ["raise", "SIGTERM", "end"])
@pytest.mark.parametrize("program", [SYNC, ASYNC], ids=["sync", "async"])
def test_without_an_outbox_each_open_session_is_logged_when_the_program_ends(
    forker: Forker, program: str, end: str, tmp_path: Path
) -> None:
    stderr = tmp_path / "stderr"
    with Slow.running() as provider, serving(bank := Failing()) as url:
        forker.run({"program": program, "args": [url, provider.base_url, end], "stderr": str(stderr)})
    log = stderr.read_text()

    # The exit status is not checked, because CPython 3.13.0 may crash at the end, when it frees a stream of the SDK.
    assert ("LookupError: unhandled" in log) == (end == "raise")
    assert bank.open == {"open-0", "open-1"}
    for session_id in bank.open:
        assert f"session {session_id} could not be settled" in log
