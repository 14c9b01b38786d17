"""Whether `make run` is running in this folder, and which process to end in order to stop it.

This module needs only the standard library, because `make stop` runs without the installed packages.

`make run` holds a lock on a file, and the kernel releases the lock when the process ends. The file has the id of the
process to stop. The id alone does not show whether `make run` is running: the id remains in the file after a
kill, and another process could get the same id.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from typing import TYPE_CHECKING, TypedDict

from local import private
from local.paths import RUNNING, STACK_JSON
from local.steps import Refused

if TYPE_CHECKING:
    from typing import TextIO

STOP_SECONDS = 60


class Recorded(TypedDict):
    """The process to stop, and whether it leads a process session."""

    pid: int
    leadsSession: bool


class Running:
    """The lock that `make run` holds in this folder. Raises Refused if another process holds the lock."""

    def __init__(self) -> None:
        private.folder(RUNNING.parent)
        self._file = open(RUNNING, "a+", opener=private.opener)  # noqa: SIM115 - open as long as we run
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            where = _base_url()
            raise Refused(f"`make run` is already running{where and ' at ' + where}: stop it with `make stop`") from exc
        self.record(os.getpid())

    def record(self, pid: int, *, leads_session: bool = False) -> None:
        """Record which process to stop. If it leads a process session, `stop` also ends the rest of the session."""
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": pid, "leadsSession": leads_session}))
        self._file.flush()

    def fileno(self) -> int:
        """Return the file descriptor of the lock; a process that inherits it holds the lock too."""
        return self._file.fileno()


def stop() -> bool:
    """Stop `make run`, and wait until it has ended. Return False if nothing was running.

    Raises Refused if it has not ended after STOP_SECONDS.
    """
    if not RUNNING.exists():
        return False
    with RUNNING.open() as file:
        if _released(file.fileno()):
            return False
        asked: Recorded | None = None
        deadline = time.monotonic() + STOP_SECONDS
        while not _released(file.fileno()):
            if time.monotonic() > deadline:
                who = f"process {asked['pid']}" if asked else "`make run`"
                raise Refused(f"{who} has not stopped within {STOP_SECONDS} s")
            recorded = _recorded(file)
            if recorded and recorded != asked:
                _ask_to_end(recorded)
                asked = recorded
            time.sleep(0.1)
        if asked:
            _end_session(asked)
    STACK_JSON.unlink(missing_ok=True)
    return True


def _recorded(file: TextIO) -> Recorded | None:
    """Return which process to stop, or None while `make run` is writing the file."""
    file.seek(0)
    try:
        recorded: Recorded = json.load(file)
    except json.JSONDecodeError:
        return None
    return recorded


def _ask_to_end(recorded: Recorded) -> None:
    """Ask the process to end. If it has already ended, end the rest of its session, which may hold the lock."""
    try:
        os.kill(recorded["pid"], signal.SIGTERM)
    except ProcessLookupError:
        _end_session(recorded)


def _end_session(recorded: Recorded) -> None:
    if recorded["leadsSession"]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(recorded["pid"], signal.SIGKILL)


def _released(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _base_url() -> str:
    try:
        return str(json.loads(STACK_JSON.read_text())["baseUrl"])
    except FileNotFoundError:
        return ""
