"""Settlements that have not succeeded yet: which one to send next, when, and what its outcome means.

This module does no input or output, except with the outbox: a file of settlements that a later process can send. The
clients send one settlement after another, in a thread or a task.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from accounting_client.errors import Forbidden, SessionEnded, SessionNotActive, Unauthorized
from accounting_client.settling import Settled, Settling, may_settle_later

if TYPE_CHECKING:
    from os import PathLike

    from accounting_client.hold import Hold
    from accounting_client.outbox import Outbox
    from accounting_client.retries import Retries
    from accounting_client.routes.sessions import Initialized
    from accounting_client.settling import Ending

logger = logging.getLogger("accounting_client")

LONGEST_PAUSE_SECONDS = 30.0
"""The longest pause between two attempts while the service cannot be reached."""
CLOSED = TimeoutError("the client was closed before the session was settled")


class Key(NamedTuple):
    """The key of a session in the outbox.

    ``sender`` is the identity behind the client's credential. ``user`` is the user that the client acts for, or '' for
    the credential's own user.
    """

    sender: str
    user: str
    session_id: str


@dataclass(eq=False)
class PendingSettlement:
    """A settlement that ``client`` sends. ``hold`` is None if the session belongs to an earlier process."""

    settling: Settling
    client: Any
    hold: Hold | None = None
    key: Key | None = None

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.settling.ending.session_id


class Backlog:
    """The settlements that this process still has to send. Threads may share a backlog."""

    def __init__(self, retries: Retries, service: str, outbox: str | PathLike[str] | None = None) -> None:
        """``outbox`` is the path of a file. Raises OSError, sqlite3.Error or ValueError if the file cannot be used."""
        self.outbox: Outbox | None = None
        if outbox is not None:
            from accounting_client.outbox import Outbox  # noqa: PLC0415 - only clients with an outbox import SQLite

            self.outbox = Outbox(outbox, service)
        self._retries = replace(retries, attempts=2**31, total_seconds=1e6, longest_seconds=LONGEST_PAUSE_SECONDS)
        self._lock = threading.Lock()
        self._waiting: deque[PendingSettlement] = deque()
        self._sending: set[PendingSettlement] = set()
        self._failures = 0
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether no settlement is waiting or being sent."""
        with self._lock:
            return not self._waiting and not self._sending

    def opening(self, key: Key | None) -> None:
        """Record that a session may be open from now on."""
        if self.outbox and key:
            self.outbox.opening(key)

    def ended(self, key: Key | None, ending: Ending) -> None:
        """Record how a session must be settled. Call it before the first attempt."""
        if self.outbox and key:
            self.outbox.ended(key, ending)

    def answered(self, key: Key | None) -> None:
        """Record that nothing is left to settle: the service has settled the session, or never held credits for it."""
        if self.outbox and key:
            self.outbox.delete_later(key)

    def defer(self, pending: PendingSettlement) -> None:
        """Queue a settlement, to be sent in the background."""
        with self._lock:
            if not self._is_closed:
                self._waiting.append(pending)
                return
        self.log_unsettled(pending, CLOSED)

    def claim(self, client: Any, sender: str) -> None:
        """Renew this process's leases in the outbox, and take over the settlements whose leases have ended."""
        if self.outbox is None:
            return
        self.outbox.renew()
        for key, ending in self.outbox.claim(sender):
            logger.info("session %s was left unsettled by an earlier process and will be settled now", key.session_id)
            acting = client.acting_for(key.user)
            self.defer(PendingSettlement(Settling(ending, self._retries), acting, key=key))

    def take(self) -> PendingSettlement | None:
        """The settlement to send now, or None. Pass its outcome to `receive`."""
        with self._lock:
            if not self._waiting:
                return None
            pending = self._waiting.popleft()
            self._sending.add(pending)
            return pending

    def receive(self, pending: PendingSettlement, outcome: Settled | Initialized | BaseException) -> float:
        """Process the outcome of sending a settlement. Return the seconds to wait before sending the next."""
        again, pause = False, 0.0
        if not isinstance(outcome, BaseException):
            self._failures = 0
            settled = pending.settling.receive(outcome)
            again = settled is None
            if settled is not None:
                self._settled(pending, settled)
        elif not isinstance(outcome, Exception) or pending.settling.corrected(outcome):
            again = True
        elif may_settle_later(outcome, renewable=pending.client.renewable):
            again = True
            self._failures += 1
            pause = self._retries.pause(self._failures, 0, 0, random.random()) or 0
        else:
            self.refused(pending, outcome)
        with self._lock:
            self._sending.discard(pending)
            is_queued = again and not self._is_closed
            if is_queued:
                self._waiting.append(pending) if pause else self._waiting.appendleft(pending)
        if again and not is_queued:
            self.log_unsettled(pending, CLOSED)
        return pause

    def close(self) -> None:
        """Log the remaining settlements. They stay in the outbox, if there is one."""
        with self._lock:
            self._is_closed = True
            left = [*self._waiting, *self._sending]  # nobody will wait for the answers to those being sent
            self._waiting.clear()
        for pending in left:
            self.log_unsettled(pending, CLOSED)
        if self.outbox:
            self.outbox.close()

    def _settled(self, pending: PendingSettlement, settled: Settled) -> None:
        self._delete(pending)
        if pending.hold is not None:
            pending.hold.result = settled
        logger.info("session %s was settled late: %d credits", pending.session_id, settled.charged_credits)

    def _delete(self, pending: PendingSettlement) -> None:
        """Delete a session from the outbox at once, so that no later process settles it again."""
        if self.outbox and pending.key:
            self.outbox.delete(pending.key)

    def refused(self, pending: PendingSettlement, error: Exception) -> None:
        """Log that a settlement was refused. If another credential may be able to send it, it stays in the outbox."""
        if not isinstance(error, Unauthorized | Forbidden):
            self._delete(pending)
        if pending.hold is not None:
            pending.hold.unsettled(error)
        elif not (isinstance(error, SessionNotActive | SessionEnded) and pending.settling.ending.progress is None):
            logger.error("session %s could not be settled: %s %s", pending.session_id, type(error).__name__, error)

    def log_unsettled(self, pending: PendingSettlement, why: BaseException) -> None:
        """Log that this process will not settle a session."""
        if pending.hold is not None:
            pending.hold.left_behind(why)
        elif self.outbox and pending.key:
            logger.warning("session %s is not settled yet, the outbox has it: %s", pending.session_id, why)
