"""Settlements on disk: the next process settles the sessions that a killed process leaves open.

A session needs two SQLite transactions. The first adds the session's row, before credits are held. The second writes
the settlement into the row, before the settlement is sent. After the service has answered, the row is deleted, together
with other rows. If the process is killed before it deletes a row, the next process settles the session again, which
changes nothing.

Processes may share the file. Each process leases its rows and renews the leases, and takes over rows whose lease has
ended. If two processes send the same settlement, the service charges it once.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from accounting_client.backlog import Key
from accounting_client.meter import Progress
from accounting_client.settling import Ending

logger = logging.getLogger("accounting_client")

FORMAT = 1
PAGE_BYTES = 2048
"""The page size of a new file: small, because a transaction writes whole pages. A page has room for a few sessions."""
OPEN_LEASE_SECONDS = 600.0
"""If a process gives no sign of life for this time, another process aborts its open streams.

The time is long, so that a process that only pauses does not lose its streams.
"""
LEASE_SECONDS = 60.0
"""If a process gives no sign of life for this time, another process sends the settlements of its ended streams.

The time can be short, because sending a settlement twice does no harm.
"""
CLAIMED_AT_ONCE = 100
DELETED_AT_ONCE = 20
"""Settled sessions are deleted when there are this many, or when the leases are renewed, whichever comes first."""
BUSY_SECONDS = 5.0

TABLE = """
CREATE TABLE IF NOT EXISTS settlements (
    service TEXT NOT NULL,
    sender TEXT NOT NULL,
    user TEXT NOT NULL,
    session_id TEXT NOT NULL,
    ending TEXT,
    owner TEXT NOT NULL,
    leased_until REAL NOT NULL,
    PRIMARY KEY (service, sender, user, session_id)
) WITHOUT ROWID
"""
PUT = "INSERT OR REPLACE INTO settlements VALUES (?, ?, ?, ?, ?, ?, ?)"
DELETE = "DELETE FROM settlements WHERE service = ? AND sender = ? AND user = ? AND session_id = ?"
RENEW = "UPDATE settlements SET leased_until = CASE WHEN ending IS NULL THEN ? ELSE ? END WHERE owner = ?"
RELEASE = "UPDATE settlements SET leased_until = 0 WHERE owner = ?"
ABANDONED = """
SELECT user, session_id, ending FROM settlements
WHERE service = ? AND sender = ? AND owner != ? AND leased_until < ? LIMIT ?
"""


class Outbox:
    """One process's access to the file, for the settlements of the service at the address ``service``.

    Raises sqlite3.Error or OSError if the file can't be written, and ValueError if another version of the client wrote
    it. A later write that fails is only logged: the stream continues, and its settlement is kept in memory.
    """

    def __init__(self, path: str | os.PathLike[str], service: str) -> None:
        where = Path(path)
        self._service = service
        where.touch(mode=0o600)  # only for the file's owner, because the file shows what users used
        self._owner = uuid4().hex
        self._lock = threading.Lock()
        self._is_closed = False
        self._settled: set[tuple[str, ...]] = set()
        self._database = sqlite3.connect(where, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")  # survives a killed process, not always a power failure
        with self._transaction():
            (found,) = self._database.execute("PRAGMA user_version").fetchone()
            if found not in (0, FORMAT):
                raise ValueError(f"{where} is the outbox of another version of the client (format {found})")
            self._database.execute(TABLE)
            self._database.execute(f"PRAGMA user_version = {FORMAT}")

    def opening(self, key: Key) -> None:
        """Record that a session may be open from now on."""
        self._put(key, None, OPEN_LEASE_SECONDS)

    def ended(self, key: Key, ending: Ending) -> None:
        """Record how a session must be settled."""
        self._put(key, in_text(ending), LEASE_SECONDS)

    def delete(self, key: Key) -> None:
        """Delete a session that is settled, or whose settlement the service refuses."""
        self._write(DELETE, (self._service, *key))

    def delete_later(self, key: Key) -> None:
        """Delete, later and together with other rows, the row of a session that has nothing left to settle."""
        with self._lock:
            self._settled.add((self._service, *key))

    def renew(self) -> None:
        """Renew the leases of this process's rows."""
        now = time.time()
        self._write(RENEW, (now + OPEN_LEASE_SECONDS, now + LEASE_SECONDS, self._owner))

    def claim(self, sender: str) -> list[tuple[Key, Ending]]:
        """Take over the sessions of ``sender`` whose leases have ended, and return how to settle each session.

        A session without a settlement is returned with an ending that aborts it.
        """
        now = time.time()
        found: list[tuple[Key, Ending]] = []
        try:
            with self._transaction():
                rows = self._database.execute(
                    ABANDONED, (self._service, sender, self._owner, now, CLAIMED_AT_ONCE)
                ).fetchall()
                for user, session_id, text in rows:
                    ending = Ending(session_id, None, None) if text is None else from_text(text)
                    found.append((Key(sender, user, session_id), ending))
                leased = [
                    (self._service, *key, in_text(ending), self._owner, now + LEASE_SECONDS) for key, ending in found
                ]
                self._database.executemany(PUT, leased)
        except sqlite3.Error as error:
            logger.warning("the outbox can't be read: %s", error)
            return []
        return found

    def close(self) -> None:
        """End the leases of this process's rows, so that the next process can take them over at once."""
        self._write(RELEASE, (self._owner,))
        with self._lock:
            self._is_closed = True
            self._database.close()

    def _put(self, key: Key, ending: str | None, lease_seconds: float) -> None:
        row = (self._service, *key)
        with self._lock:
            self._settled.discard(row)  # a session may begin again under its id, for example after a refusal
        self._write(PUT, (*row, ending, self._owner, time.time() + lease_seconds))

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        try:
            with self._lock:
                if statement is PUT and len(self._settled) < DELETED_AT_ONCE:
                    self._database.execute(statement, values)  # a transaction of its own
                    return
            with self._transaction():
                self._database.executemany(DELETE, self._settled)
                self._database.execute(statement, values)
                self._settled.clear()
        except sqlite3.Error as error:
            if not self._is_closed:
                logger.error("the outbox can't be written: %s", error)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise sqlite3.ProgrammingError("the outbox is closed")
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise


in_text: Callable[[Ending], str] = json.JSONEncoder(default=vars).encode
"""Returns the text for the column ``ending``. An ending says how to settle a session."""


def from_text(text: str) -> Ending:
    """The ending in a text that `in_text` made."""
    fields = json.loads(text)
    progress = fields.pop("progress")
    return Ending(**fields, progress=None if progress is None else Progress(**progress))
