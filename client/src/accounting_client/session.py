"""A streaming session for threads: heartbeats by a thread of its own, settled whatever becomes of the stream."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from accounting_client.call import Call
from accounting_client.exchange import refused
from accounting_client.retries import NEVER, Retries
from accounting_client.routes.sessions import Aborted, Finalized
from accounting_client.stream import Settling, Stream

if TYPE_CHECKING:
    from accounting_client.client import AccountingClient


class StreamingSession(Stream):
    """See `AccountingClient.streaming_session`. Its tokens are counted by one thread."""

    def __init__(
        self,
        client: AccountingClient,
        model_id: str,
        estimated_tokens: int,
        *,
        session_id: str | None,
        heartbeat_seconds: float,
        settle_seconds: float,
    ) -> None:
        self._woken = threading.Event()
        super().__init__(
            client,
            self._woken,
            model_id,
            estimated_tokens,
            session_id=session_id,
            heartbeat_seconds=heartbeat_seconds,
            settle_seconds=settle_seconds,
        )
        self._client = client
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name=f"heartbeats of {self.session_id}", daemon=True)

    def __enter__(self) -> Self:
        """Hold the credits. Raises InsufficientCredits, SessionExists."""
        call = self._initialize_call()
        try:
            self._opened(self._client.send(call))
        except BaseException as error:
            if not refused(error):  # carried out or not, nobody knows: release what may be held
                self._settle(self._abort_call(), NEVER)
            raise
        self._client.open_sessions.add(self)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finalize or, after an exception, abort, unless it is settled already."""
        if error is None:
            self.finalize()
        else:
            self.abort()

    def finalize(self, *, success: bool = True) -> None:
        """Settle with the tokens counted, unless it is settled already. Leaving the block does it by itself."""
        self._resolve(self._finalize_call(success))

    def abort(self) -> None:
        """Settle as aborted, unless it is settled already. Leaving the block by an exception does it by itself."""
        self._resolve(self._abort_call())

    def _settled(self) -> bool:
        return self._ended.is_set()

    def _resolve(self, call: Call[Finalized | Aborted]) -> None:
        if self._ended.is_set():
            return
        self._client.open_sessions.discard(self)
        self._ended.set()
        self._woken.set()
        self._settle(call, self._settle_retries)

    def _settle(self, call: Call[Finalized | Aborted], retries: Retries) -> None:
        settling = Settling(retries)
        try:
            while self.result is None:
                try:
                    self.result = self._client.send(call, settling.retries)
                except Exception as error:  # the caller's token function may raise anything
                    pause = settling.pause() if self._may_settle_later(error) else None
                    if pause is None:
                        self._unsettled(error)
                        return
                    time.sleep(pause)
        except BaseException as interruption:
            self._unsettled(interruption)
            raise

    def _beat(self) -> None:
        meter = self._running()
        while True:
            self._woken.wait(self._heartbeat_seconds)
            if self._ended.is_set():
                return
            self._woken.clear()
            try:
                meter.beaten(self._client.send(self._heartbeat_call(), self._beat_retries))
            except Exception as error:  # the caller's token function may raise anything
                if self._ended.is_set() or self._missed(error):
                    return
            self._ended.wait(self._gap_seconds)
