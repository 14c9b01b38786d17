"""Small tools in `local/`: their messages about tokens and wrong arguments, and how `stop` ends `make run`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from local import bridge, check_token, running
from local.running import Running
from local.steps import Refused
from tests.providers import SigningKey, claims_of, issuer, key_server, key_set, make_key

if TYPE_CHECKING:
    from pathlib import Path

KEY = make_key("ES256", "key")


def test_check_token_does_not_say_refused_if_the_issuers_keys_cannot_be_fetched() -> None:
    token = KEY.sign(claims_of("https://one.example"))
    with key_server() as server:
        document = json.dumps([issuer("one", server)])
        with pytest.raises(Refused, match=r"^the token could not be checked, and may be good: .*\(UNAVAILABLE\)"):
            check_token.check(token, document)
    with key_server() as server:
        server.answers["/one"] = key_set(SigningKey("key", "ES256", make_key("ES256", "other").private))
        with pytest.raises(Refused, match=r"^refused: .*\(TOKEN_INVALID\)"):
            check_token.check(token, json.dumps([issuer("one", server)]))


@pytest.mark.parametrize(
    "arguments", [[], ["127.0.0.1"], ["127.0.0.1", "x"], *(["::1", p] for p in ("-1", "0", "65536"))]
)
def test_the_bridge_explains_wrong_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    stack = tmp_path / "stack.json"
    stack.write_text(json.dumps({"endpointUrl": "http://127.0.0.1:4566"}))
    monkeypatch.setattr(bridge, "STACK_JSON", stack)
    monkeypatch.setattr(sys, "argv", ["bridge", *arguments])
    monkeypatch.setattr("asyncio.Event.wait", lambda _: pytest.fail("the bridge started"))

    assert bridge.main() == 1
    assert "with a PORT from 1 to 65535" in capsys.readouterr().err


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Move the files of `make run` to an empty folder, and return the path of its lock."""
    path = tmp_path / "running"
    monkeypatch.setattr(running, "RUNNING", path)
    monkeypatch.setattr(running, "STACK_JSON", tmp_path / "stack.json")
    monkeypatch.setattr(running, "STOP_SECONDS", 10)
    return path


def test_stop_waits_until_a_starting_run_has_recorded_its_process(lock: Path) -> None:
    held = Running()
    lock.write_text("")
    process = subprocess.Popen(["sleep", "60"], pass_fds=[held.fileno()])

    def record_later() -> None:
        time.sleep(0.3)
        held.record(process.pid)
        held._file.close()

    recording = threading.Thread(target=record_later)
    recording.start()
    try:
        assert running.stop()
        assert process.wait() == -signal.SIGTERM
    finally:
        recording.join()
        process.kill()
        process.wait()


def test_stop_ends_processes_whose_session_leader_has_ended(lock: Path) -> None:
    held = Running()
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!"],
        pass_fds=[held.fileno()],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert leader.stdout
    rest = int(leader.stdout.readline())
    leader.wait()
    held.record(leader.pid, leads_session=True)
    held._file.close()
    assert os.getpgid(rest) == leader.pid

    try:
        assert running.stop()
        assert not running.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)


def test_stop_raises_refused_if_a_run_never_records_its_process(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "STOP_SECONDS", 0.2)
    held = Running()
    lock.write_text("")

    with pytest.raises(Refused, match="`make run` has not stopped"):
        running.stop()
    held._file.close()
