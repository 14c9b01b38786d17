"""The outbox keeps settlements on disk. Whenever a process is killed, a later process settles its sessions."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, Retries, ServiceCredential, outbox
from accounting_client.backlog import Key
from accounting_client.credentials import identity_of
from accounting_client.meter import Progress
from accounting_client.outbox import DELETED_AT_ONCE, Outbox
from accounting_client.settling import Ending
from client.tests.bank import Bank, serving
from client.tests.conftest import BASE_URL
from client.tests.played import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = Path(__file__).parent / "worker.py"
SRC = Path(__file__).parent.parent / "src"
SERVICE = ServiceCredential("svc_01_secret")
KILLS = 5
KEY = Key("Service svc_01", "u1", "s1")
ENDING = Ending("s1", True, Progress(7, 7, {"prompt_tokens": 1, "completion_tokens": 7}, "openai"), metadata={"a": 1})


def worker(kind: str, url: str, file: Path, *last: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), kind, url, str(file), *last]
    environ = {**os.environ, "PYTHONPATH": str(SRC), "NO_PROXY": "*", "no_proxy": "*"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_session_is_settled_exactly_once_even_if_processes_are_killed_at_any_moment(
    kind: str, tmp_path: Path
) -> None:
    file, bank, chance, ended = tmp_path / "outbox", Bank(), random.Random(4), dict[str, int]()

    with serving(bank, loses=0.1) as url:
        for _ in range(KILLS):
            processes = [worker(kind, url, file), worker(kind, url, file)]
            for process in processes:
                assert process.stdout
                lines = [process.stdout.readline() for _ in range(chance.randrange(6))]
                time.sleep(chance.random() / 20)
                process.kill()
                lines += process.communicate()[0].split("\n")[:-1]
                ended |= {session_id: int(tokens) for session_id, tokens in map(str.split, lines)}
        last = worker(kind, url, file, "last")
        assert last.wait(60) == 0

    del ended["ready"]
    assert len(ended) > KILLS
    assert bank.open == set()
    assert {session.charges for session in bank.sessions.values()} == {1}
    settled = [session for session in bank.sessions.values() if session.outcome == "finalize"]
    assert len(settled) > KILLS
    for session_id, tokens in ended.items():
        session = bank.sessions[session_id]
        settlement = session.settled or {}
        if session.outcome == "finalize":
            assert settlement["actualTokens"] == tokens
        else:  # the process was killed after it printed the tokens and before it wrote them to the outbox
            assert "tokensGenerated" not in settlement
    assert rows(file) == []


def rows(file: Path) -> list[Any]:
    """The ids of the sessions in an outbox, and whether each is open."""
    with sqlite3.connect(file) as database:
        return database.execute("SELECT session_id, ending IS NULL FROM settlements").fetchall()


def test_an_outbox_is_readable_by_its_owner_only_and_has_the_ending_of_a_session(tmp_path: Path) -> None:
    file = tmp_path / "outbox"
    box = Outbox(file, "https://a")

    box.opening(KEY)
    assert rows(file) == [("s1", 1)]
    box.ended(KEY, ENDING)
    box.close()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Outbox(file, "https://a").claim(KEY.sender) == [(KEY, ENDING)]


def test_a_session_takes_two_transactions(tmp_path: Path) -> None:
    statements: list[str] = []
    with (
        httpx.Client(transport=httpx.MockTransport(Bank())) as http,
        AccountingClient(BASE_URL, SERVICE, http=http, outbox=tmp_path / "outbox") as client,
    ):
        box = client.background.backlog.outbox
        assert box
        box._database.set_trace_callback(statements.append)
        for _ in range(30):
            with client.for_user("ann").streaming_session("m", 100):
                pass
        box._database.set_trace_callback(None)
    renewals = sum(statement.strip().startswith(("UPDATE", "SELECT")) for statement in statements)
    assert sum(statement.startswith("INSERT") for statement in statements) == 60
    assert statements.count("BEGIN IMMEDIATE") - renewals <= 1, "settled sessions were not deleted together"
    assert rows(tmp_path / "outbox") == []


def test_settled_sessions_are_deleted_together_when_there_are_enough_of_them(tmp_path: Path) -> None:
    file = tmp_path / "outbox"
    box = Outbox(file, "https://a")
    for number in range(DELETED_AT_ONCE):
        box.opening(key := KEY._replace(session_id=f"settled-{number}"))
        box.delete_later(key)
        assert len(rows(file)) == number + 1

    box.opening(KEY)
    assert rows(file) == [("s1", 1)]


def test_a_session_that_begins_again_under_the_same_id_stays_in_the_outbox(tmp_path: Path) -> None:
    file = tmp_path / "outbox"
    box = Outbox(file, "https://a")
    box.opening(KEY)
    box.delete_later(KEY)
    box.opening(KEY)

    box.renew()
    assert rows(file) == [("s1", 1)]


def test_a_settled_session_is_deleted_by_the_next_write_that_succeeds(tmp_path: Path) -> None:
    file, other = tmp_path / "outbox", KEY._replace(session_id="s2")
    box = Outbox(file, "https://a")
    box.ended(KEY, ENDING)
    box.delete_later(KEY)
    with sqlite3.connect(file, isolation_level=None) as busy:
        box._database.execute("PRAGMA busy_timeout = 1")
        busy.execute("BEGIN IMMEDIATE")
        box.opening(other)
        busy.execute("ROLLBACK")
    assert rows(file) == [("s1", 0)]

    box.renew()
    assert rows(file) == []


def test_exactly_one_process_takes_over_the_settlement_of_a_process_that_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "outbox"
    alive, one, other = Outbox(file, "https://a"), Outbox(file, "https://a"), Outbox(file, "https://a")
    alive.ended(KEY, ENDING)
    assert one.claim(KEY.sender) == []

    monkeypatch.setattr(outbox, "LEASE_SECONDS", -1)
    alive.renew()
    monkeypatch.undo()

    assert one.claim(KEY.sender) == [(KEY, ENDING)]
    assert other.claim(KEY.sender) == []


def test_an_open_stream_of_a_killed_process_is_aborted_without_a_count_of_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "OPEN_LEASE_SECONDS", -1)
    Outbox(tmp_path / "outbox", "https://a").opening(KEY)

    assert Outbox(tmp_path / "outbox", "https://a").claim(KEY.sender) == [(KEY, Ending("s1", None, None))]


@pytest.mark.parametrize(("service", "caller"), [("https://b", KEY.sender), ("https://a", "Service svc_02")])
def test_settlements_are_sent_only_to_the_same_service_and_only_by_the_same_caller(
    tmp_path: Path, service: str, caller: str
) -> None:
    mine = Outbox(tmp_path / "outbox", "https://a")
    mine.ended(KEY, ENDING)
    mine.close()

    assert Outbox(tmp_path / "outbox", service).claim(caller) == []
    assert len(rows(tmp_path / "outbox")) == 1


def test_an_outbox_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "outbox") as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(ValueError, match="another version"):
        AccountingClient(BASE_URL, "jwt", outbox=tmp_path / "outbox")


def test_an_outbox_that_cannot_be_written_is_refused_when_the_client_is_made(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none-such"):
        AccountingClient(BASE_URL, "jwt", outbox=tmp_path / "none-such" / "outbox")


def test_a_users_own_token_is_refused_because_a_restart_would_lose_it(tmp_path: Path) -> None:
    bank = Bank()
    with (
        httpx.Client(transport=httpx.MockTransport(bank)) as http,
        AccountingClient(BASE_URL, SERVICE, http=http, outbox=tmp_path / "outbox") as client,
    ):
        with (
            pytest.raises(ValueError, match="use for_user instead of with_token"),
            client.with_token("jwt").streaming_session("m", 100),
        ):
            pytest.fail("entered")
        with client.for_user("ann").streaming_session("m", 100):
            pass
    assert bank.only().user == "ann"
    assert rows(tmp_path / "outbox") == []


def test_the_next_client_sends_a_settlement_that_the_closed_client_could_not_send(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bank, brief = Bank(), Retries(total_seconds=0.2, first_seconds=0.01)
    with (
        httpx.Client(transport=httpx.MockTransport(bank)) as http,
        AccountingClient(BASE_URL, SERVICE, http=http, retries=brief, outbox=tmp_path / "outbox") as client,
        client.for_user("ann").streaming_session("m", 100, settle_seconds=0.01) as session,
    ):
        session.add_tokens(42)
        bank.is_down = True
    assert f"session {session.session_id} is not settled yet, the outbox has it" in caplog.text
    assert session.result is None

    bank.is_down = False
    with (
        httpx.Client(transport=httpx.MockTransport(bank)) as http,
        AccountingClient(BASE_URL, SERVICE, http=http, outbox=tmp_path / "outbox") as client,
    ):
        wait_until(lambda: not bank.open)
    assert (bank.only().outcome, (bank.only().settled or {})["actualTokens"]) == ("finalize", 42)
    assert rows(tmp_path / "outbox") == []


def test_a_settlement_stays_in_the_outbox_if_the_credential_is_refused(tmp_path: Path) -> None:
    bank = Bank()
    bank.trouble["finalize"] = [refusal(401, "SERVICE_CREDENTIAL_INVALID")]
    with (
        httpx.Client(transport=httpx.MockTransport(bank)) as http,
        AccountingClient(BASE_URL, SERVICE, http=http, outbox=tmp_path / "outbox") as client,
    ):
        with client.for_user("ann").streaming_session("m", 100):
            pass
        assert len(rows(tmp_path / "outbox")) == 1
    with (
        httpx.Client(transport=httpx.MockTransport(bank)) as http,
        AccountingClient(BASE_URL, ServiceCredential("svc_01_rotated"), http=http, outbox=tmp_path / "outbox"),
    ):
        wait_until(lambda: not bank.open)
    assert rows(tmp_path / "outbox") == []


@pytest.mark.parametrize(
    ("header", "identity"),
    [
        ("Service svc_01K0_se_cret", "Service svc_01K0"),
        ("ApiKey acct_01K0_secret", "ApiKey acct_01K0"),
        ("Bearer e30." + b64encode(b'{"sub": "ann", "iss": "https://i"}').decode() + ".x", "Bearer https://i ann"),
        ("Bearer a.b.c", "Bearer"),
        ("Bearer acct_01_secret", "Bearer acct_01"),
        (None, " "),
    ],
)
def test_the_identity_behind_a_credential_does_not_depend_on_its_secret(header: str | None, identity: str) -> None:
    assert identity_of(header) == identity


def wait_until(done: Callable[[], object], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)
