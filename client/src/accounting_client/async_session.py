"""A streaming session for asyncio. A task sends the heartbeats. The session is settled however the stream ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from accounting_client.backlog import PendingSettlement
from accounting_client.errors import AccountingError, InsufficientCredits
from accounting_client.exchange import Exchange
from accounting_client.hold import Hold, IsGone, Terms
from accounting_client.routes.sessions import Initialized
from accounting_client.settling import Ending, Settled, Settling
from accounting_client.stream import Stream

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, None]]


def task_of(work: Coroutine[Any, Any, T], *, at_once: bool = False) -> asyncio.Task[T]:
    """The task that runs ``work``. Raises what the loop raises if it can no longer make tasks.

    With ``at_once``, the task runs immediately until it first waits, which saves one turn of the loop. ``at_once`` has
    no effect on Python 3.11 or in a loop that has a task factory.
    """
    loop = asyncio.get_running_loop()
    try:
        if at_once and sys.version_info >= (3, 12) and loop.get_task_factory() is None:
            return asyncio.Task(work, loop=loop, eager_start=True)
        return loop.create_task(work)
    except BaseException:
        work.close()
        raise


class TaskHold(Hold):
    """A hold with a task that sends its heartbeats.

    The task starts once the session has been open for ``_watch_seconds``, or earlier if a heartbeat is needed. Most
    streams end before that and need no task.
    """

    _client: AsyncAccountingClient

    def __init__(self, client: AsyncAccountingClient, terms: Terms) -> None:
        super().__init__(client, terms)
        self._woken = asyncio.Event()
        self._withdraw: Work | None = None
        self._is_gone: IsGone = bool
        self._due: asyncio.TimerHandle | None = None
        self._beating: asyncio.Task[None] | None = None
        self._is_settling = False
        self._settling: asyncio.Future[None] | None = None

    def settling_has_begun(self) -> bool:
        return self._is_settling

    def wake(self) -> None:
        self._woken.set()
        with suppress(RuntimeError):  # without a running loop, no task can start; the next `wake` tries again
            self._begin_beating()

    def _begin_beating(self) -> None:
        if self._beating is None and not self._is_settling and self.opened:
            self._beating = task_of(self._beat(self._is_gone))

    async def open(self, is_gone: IsGone) -> None:
        """Hold the credits and schedule the heartbeats. If this fails, release any credits that may be held."""
        self.require_new()
        self.key = await self._client.outbox_key(self.session_id)
        exchange, opening = self._begin_opening()
        self._client.open_sessions.add(self)
        self.backlog.opening(self.key)
        try:
            while True:
                try:
                    self._opened_as(await asyncio.shield(opening))
                    break
                except InsufficientCredits as refused:
                    if not self._shortened(refused):
                        raise
                    exchange, opening = self._begin_opening()
                except AccountingError as error:
                    if not self._allows(error):
                        raise
                    self._require_open_client()
                    self._begin_unheld(error)
                    return
            self._require_open_client()
            self._is_gone = is_gone
            self._due = asyncio.get_running_loop().call_later(self._watch_seconds, self._begin_beating)
        except BaseException:
            if self._nothing_is_held(opening, exchange):
                self.backlog.answered(self.key)
                self._client.open_sessions.discard(self)
            else:
                await self.close()
            raise

    def _begin_opening(self) -> tuple[Exchange[Initialized], asyncio.Task[Initialized]]:
        exchange = self._client.exchange(self.initialize_call())
        opening = self._client.keep(self._client.carry(exchange))
        self._withdraw = partial(self._withdrawn, opening, exchange)
        return exchange, opening

    async def settle(self, ending: Ending) -> None:
        """Settle once. If the waiting caller is cancelled, settling continues, and closing the client waits for it."""
        if self.is_another_process:
            return
        if not self._is_settling:
            await self._begin_settling(partial(self._settle, ending))
        if self._settling is not None:
            await asyncio.shield(self._settling)

    async def close(self) -> None:
        """Abort the session or, if it is not open yet, withdraw its opening. If settling has begun, do nothing."""
        if not self._is_settling:
            aborting = partial(self._settle, self.aborted())
            await self._begin_settling(aborting if self.meter or self._withdraw is None else self._withdraw)

    async def _begin_settling(self, settling: Work) -> None:
        """Settle in a task or, if the loop can no longer make tasks, in this call."""
        self._is_settling = True
        if self._due is not None:
            self._due.cancel()
        if self._beating is not None and self._beating is not asyncio.current_task():
            self._beating.cancel()
        try:
            self._settling = self._client.keep(settling())
        except Exception:
            self._settling = asyncio.get_running_loop().create_future()
            self._settling.set_result(None)
            await settling()

    async def _settle(self, ending: Ending) -> None:
        settling = Settling(ending, self._settle_retries)
        self.backlog.ended(self.key, ending)
        try:
            if self.is_unheld:
                self._put_off(settling)
                return
            async with asyncio.timeout(self.terms.settle_seconds):
                self.result = await self._settled_by(settling)
            self.backlog.answered(self.key)
        except Exception as error:  # the caller's token function may raise anything
            self._put_off(settling, None if isinstance(error, TimeoutError) else error)
        except asyncio.CancelledError as cancelled:
            self.backlog.log_unsettled(PendingSettlement(settling, self._client, self, self.key), cancelled)
            raise
        finally:
            self._client.open_sessions.discard(self)

    async def _settled_by(self, settling: Settling) -> Settled:
        while True:
            try:
                if (settled := settling.receive(await self._client.send(settling.call, settling.retries))) is not None:
                    return settled
            except Exception as error:  # the caller's token function may raise anything
                pause = self._pause_after(error, settling)
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _withdrawn(self, opening: asyncio.Task[Initialized], exchange: Exchange[Initialized]) -> None:
        """Release what an opening has held or may have held. The opening may still be in progress."""
        try:
            await opening
        except asyncio.CancelledError as cancelled:
            self.left_behind(cancelled)
            raise
        except Exception:
            if self._nothing_is_held(opening, exchange):
                self.backlog.answered(self.key)
                self._client.open_sessions.discard(self)
                return
        await self._settle(self.aborted())

    def _nothing_is_held(self, opening: asyncio.Task[Initialized], exchange: Exchange[Initialized]) -> bool:
        """Whether the opening has ended and certainly held nothing."""
        if not opening.done() or opening.cancelled():
            return False
        error = opening.exception()
        return error is not None and not self._may_be_held(exchange, error)

    async def _beat(self, is_gone: IsGone) -> None:
        meter, is_woken = self.meter, self._woken.is_set()
        while meter is not None:
            self._woken.clear()
            if is_gone():
                self._abandoned()
                await self.close()
                return
            if self._must_beat(meter, is_woken=is_woken):
                report = meter.report()
                try:
                    heartbeat = await self._client.send(self.heartbeat_call(report), self._beat_retries)
                    meter.answered(heartbeat, report)
                    self._note_expiry(heartbeat.expires_at)
                except Exception as error:  # the caller's token function may raise anything
                    self._missed(error, report)
            await asyncio.sleep(self._gap_seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._watch_seconds):
                    await self._woken.wait()
            is_woken = self._woken.is_set()


class AsyncStreamingSession(Stream[TaskHold]):
    """See `AsyncAccountingClient.streaming_session`."""

    def __init__(self, client: AsyncAccountingClient, terms: Terms) -> None:
        super().__init__(TaskHold(client, terms))

    async def __aenter__(self) -> Self:
        """Hold the credits. Raises AccountingError, such as InsufficientCredits, SessionExists or SessionEnded.

        If entering is cancelled, what was held is released.
        """
        await self._hold.open(self._is_gone())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finalize the session, or abort it after an exception. If it is settled already, do nothing."""
        await (self.finalize() if error is None else self.abort())

    async def finalize(
        self, *, success: bool = True, model_id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Settle what the stream used, unless the session is settled already. Leaving the block also settles it.

        For ``model_id``, see `served_by`; for ``metadata``, see `add_metadata`.
        """
        self._add_details(model_id, metadata)
        await self._hold.settle(self._hold.finalized(success))

    async def abort(self, *, model_id: str | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        """Settle as aborted, unless the session is settled already. Leaving the block by an exception does the same."""
        self._add_details(model_id, metadata)
        await self._hold.settle(self._hold.aborted())
