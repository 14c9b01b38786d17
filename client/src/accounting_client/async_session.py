"""A streaming session for asyncio: heartbeats by a task, settled whatever becomes of the stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from accounting_client.call import Call
from accounting_client.exchange import refused
from accounting_client.routes.sessions import Aborted, Finalized, Initialized
from accounting_client.stream import Settling, Stream

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient


class AsyncStreamingSession(Stream):
    """See `AsyncAccountingClient.streaming_session`."""

    def __init__(
        self,
        client: AsyncAccountingClient,
        model_id: str,
        estimated_tokens: int,
        *,
        session_id: str | None,
        heartbeat_seconds: float,
        settle_seconds: float,
    ) -> None:
        self._woken = asyncio.Event()
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
        self._beating: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Hold the credits. Raises InsufficientCredits, SessionExists; when cancelled, what was held is released."""
        opening = self._client.keep(self._client.send(self._initialize_call()))
        try:
            self._opened(await asyncio.shield(opening))
        except BaseException as error:
            if not refused(error):  # carried out or not, nobody knows: release what may be held
                self._settling = self._client.keep(self._withdraw(opening))
            raise
        self._client.open_sessions.add(self)
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finalize or, after an exception, abort, unless it is settled already."""
        await (self.finalize() if error is None else self.abort())

    async def finalize(self, *, success: bool = True) -> None:
        """Settle with the tokens counted, unless it is settled already. Leaving the block does it by itself."""
        await self._resolve(self._finalize_call(success))

    async def abort(self) -> None:
        """Settle as aborted, unless it is settled already. Leaving the block by an exception does it by itself."""
        await self._resolve(self._abort_call())

    def _settled(self) -> bool:
        return self._settling is not None

    async def _resolve(self, call: Call[Finalized | Aborted]) -> None:
        """Settle, once. Who waits for it may be cancelled: it goes on, and closing the client waits for it."""
        if self._settling is None:
            if self._beating is not None:
                self._beating.cancel()
            self._client.open_sessions.discard(self)
            self._settling = self._client.keep(self._settle(call))
        await asyncio.shield(self._settling)

    async def _settle(self, call: Call[Finalized | Aborted]) -> None:
        try:
            async with asyncio.timeout(self._settle_seconds):
                self.result = await self._settled_by(call)
        except asyncio.CancelledError as cancelled:
            self._unsettled(cancelled)
            raise
        except Exception as error:  # the caller's token function may raise anything
            self._unsettled(error)

    async def _settled_by(self, call: Call[Finalized | Aborted]) -> Finalized | Aborted:
        settling = Settling(self._settle_retries)
        while True:
            try:
                return await self._client.send(call, settling.retries)
            except Exception as error:  # the caller's token function may raise anything
                pause = settling.pause() if self._may_settle_later(error) else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _withdraw(self, opening: asyncio.Task[Initialized]) -> None:
        """Release what was, or may have been, held for a block that is not entered."""
        try:
            await opening
        except Exception as error:
            if refused(error):
                return
        await self._settle(self._abort_call())

    async def _beat(self) -> None:
        meter = self._running()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._woken.wait()
            self._woken.clear()
            try:
                meter.beaten(await self._client.send(self._heartbeat_call(), self._beat_retries))
            except Exception as error:  # the caller's token function may raise anything
                if self._missed(error):
                    return
            await asyncio.sleep(self._gap_seconds)
