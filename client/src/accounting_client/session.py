"""A streaming session without asyncio: a thread sends heartbeats.

No matter how the stream ends, the session is settled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from accounting_client.alarm import ALARM
from accounting_client.errors import AccountingError, InsufficientCredits
from accounting_client.hold import Hold, IsGone, Terms
from accounting_client.retries import NEVER, Retries
from accounting_client.settling import Ending, Settling
from accounting_client.stream import Stream

if TYPE_CHECKING:
    from accounting_client.client import AccountingClient


class ThreadHold(Hold):
    """A hold with a thread that sends its heartbeats.

    The thread starts once the session has been open for ``_watch_seconds``, or earlier if a heartbeat is needed. Most
    streams end before that and need no thread.

    Any thread may call `settle`. Only the first call settles the hold.
    """

    _client: AccountingClient

    def __init__(self, client: AccountingClient, terms: Terms) -> None:
        super().__init__(client, terms)
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._is_open = False
        self.over = threading.Event()
        """Set when nothing is left to do for the session."""
        self._claim = threading.Lock()
        self._beginning = threading.Lock()
        self._is_beating = False
        self._is_gone: IsGone = bool
        self._claimed_by: int | None = None

    def settling_has_begun(self) -> bool:
        return self._ended.is_set()

    def wake(self) -> None:
        self._woken.set()
        with suppress(RuntimeError):  # no more threads can start; the alarm or the next counted token tries again
            self.begin_beating()

    def begin_beating(self) -> None:
        """Start the thread that sends the heartbeats. Raises RuntimeError if no more threads can start."""
        with self._beginning:
            if self._is_beating or self._ended.is_set() or not self.opened:
                return
            name = f"heartbeats of {self.session_id}"
            threading.Thread(target=self._beat, args=(self._is_gone,), name=name, daemon=True).start()
            self._is_beating = True

    def open(self, is_gone: IsGone) -> None:
        """Hold the credits and schedule the heartbeats. If this fails, release any credits that may be held."""
        opening = self._client.exchange(self.initialize_call())
        self.key = self._client.outbox_key(self.session_id)
        self.over.clear()
        self._client.open_sessions.add(self)
        self.backlog.opening(self.key)
        try:
            while True:
                try:
                    self._opened_as(self._client.carry(opening))
                    break
                except InsufficientCredits as refused:
                    if not self._shortened(refused):
                        raise
                    opening = self._client.exchange(self.initialize_call())
                except AccountingError as error:
                    if not self._allows(error):
                        raise
                    self._is_open = True
                    self._require_open_client()
                    self._begin_unheld(error)
                    return
            self._is_open = True
            self._require_open_client()
            self._is_gone = is_gone
            ALARM.get().after(self._watch_seconds, self)
        except BaseException as error:
            if self._may_be_held(opening, error):
                self.settle(self.aborted(), self._settle_retries if self.opened else NEVER)
            else:
                self.backlog.answered(self.key)
                self._finish()
            raise

    def settle(self, ending: Ending, retries: Retries | None = None) -> None:
        """Settle once. If another thread is settling, wait up to ``settle_seconds`` for it. Raises no network error."""
        if self.is_another_process:
            return
        if not self._claim.acquire(blocking=False):
            # A signal handler that interrupts this method must not wait for the thread that it interrupts.
            if self._claimed_by != threading.get_ident():
                self.over.wait(self.terms.settle_seconds)
            return
        self._claimed_by = threading.get_ident()
        try:
            self._ended.set()
            self._woken.set()
            self._settle(Settling(ending, self._settle_retries if retries is None else retries))
        finally:
            self._finish()

    def close(self, seconds: float) -> None:
        """Abort the session within ``seconds``, because its client is closing.

        If `open` is still running, `open` itself releases the hold when it notices that the client is closing.
        """
        self._ended.set()
        if self._is_open:
            limited = min(seconds, self.terms.settle_seconds)
            self.settle(self.aborted(), replace(self._settle_retries, total_seconds=max(0.0, limited)))

    def _finish(self) -> None:
        self._client.open_sessions.discard(self)
        self.over.set()

    def _settle(self, settling: Settling) -> None:
        self.backlog.ended(self.key, settling.ending)
        if self.is_unheld:
            self._put_off(settling)
            return
        try:
            while self.result is None:
                try:
                    self.result = settling.receive(self._client.send(settling.call, settling.retries))
                except Exception as error:  # the caller's token function may raise anything
                    pause = self._pause_after(error, settling)
                    if pause is None:
                        self._put_off(settling, error)
                        return
                    time.sleep(pause)
        except BaseException as interruption:
            self._put_off(settling, interruption)
            raise
        self.backlog.answered(self.key)

    def _beat(self, is_gone: IsGone) -> None:
        meter, is_woken = self.meter, self._woken.is_set()
        while meter is not None and not self._ended.is_set():
            self._woken.clear()
            if is_gone():
                self._abandoned()
                self.settle(self.aborted())
                return
            if self._must_beat(meter, is_woken=is_woken):
                report = meter.report()
                try:
                    heartbeat = self._client.send(self.heartbeat_call(report), self._beat_retries)
                    meter.answered(heartbeat, report)
                    self._note_expiry(heartbeat.expires_at)
                except Exception as error:  # the caller's token function may raise anything
                    if self._ended.is_set():
                        return
                    self._missed(error, report)
            self._ended.wait(self._gap_seconds)
            is_woken = self._woken.wait(self._watch_seconds)


def close_all(holds: AbstractSet[ThreadHold], seconds: float) -> None:
    """Abort all open sessions in parallel, within ``seconds``. The log names sessions that are not settled by then."""
    until, seen = time.monotonic() + seconds, set[ThreadHold]()
    try:
        while found := set(holds) - seen:
            seen |= found
            threadless = [hold for hold in found if not _closes_in_a_thread(hold, until - time.monotonic())]
            for hold in threadless:
                if time.monotonic() < until:
                    hold.close(until - time.monotonic())
            for hold in found:
                hold.over.wait(max(0.0, until - time.monotonic()))
    finally:
        for hold in seen:
            if not hold.over.is_set():
                hold.left_behind()


def _closes_in_a_thread(hold: ThreadHold, seconds: float) -> bool:
    try:
        threading.Thread(target=hold.close, args=(seconds,), daemon=True).start()
    except RuntimeError:  # no more threads can start
        return False
    return True


class StreamingSession(Stream[ThreadHold]):
    """See `AccountingClient.streaming_session`. Only one thread may count the stream's tokens."""

    def __init__(self, client: AccountingClient, terms: Terms) -> None:
        super().__init__(ThreadHold(client, terms))

    def __enter__(self) -> Self:
        """Hold the credits. Raises AccountingError, such as InsufficientCredits, SessionExists or SessionEnded."""
        self._hold.open(self._is_gone())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finalize the session, or abort it after an exception. If it is settled already, do nothing."""
        if error is None:
            self.finalize()
        else:
            self.abort()

    def finalize(
        self, *, success: bool = True, model_id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Settle what the stream used, unless the session is settled already. Leaving the block also settles it.

        For ``model_id``, see `served_by`; for ``metadata``, see `add_metadata`.
        """
        self._add_details(model_id, metadata)
        self._hold.settle(self._hold.finalized(success))

    def abort(self, *, model_id: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Settle as aborted, unless the session is settled already. An exception in the ``with`` block also aborts."""
        self._add_details(model_id, metadata)
        self._hold.settle(self._hold.aborted())
