"""Sends the settlements that wait in a `Backlog`, in the background: in a thread, or in a task of the event loop."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from accounting_client.backlog import Backlog, PendingSettlement
from accounting_client.retries import Retries

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.client import AccountingClient

logger = logging.getLogger("accounting_client")

TICK_SECONDS = 20.0
"""How often this process reads its outbox, and renews its leases there (see `Outbox`)."""
ATTEMPT_SECONDS = 10.0
"""How long one attempt may take. It must be short, because leases are renewed only between two attempts."""
LOOK_SECONDS = 0.01
"""How often to check whether the attempt of another thread or task has ended."""
EXIT_SECONDS = 2.0
"""How long a program waits, before it exits, for the settlements of clients that were not closed."""


class _Unclosed(Protocol):
    def settle_at_exit(self, seconds: float) -> None: ...


unclosed: weakref.WeakSet[_Unclosed] = weakref.WeakSet()
"""The clients that are not closed yet."""


@atexit.register
def _at_exit() -> None:
    until = time.monotonic() + EXIT_SECONDS
    for client in tuple(unclosed):
        client.settle_at_exit(max(0.0, until - time.monotonic()))


def _once(seconds: float = ATTEMPT_SECONDS) -> Retries:
    return Retries(attempts=1, total_seconds=max(0.0, min(seconds, ATTEMPT_SECONDS)))


class ThreadSender:
    """Sends the settlements of an `AccountingClient` in a thread.

    With an outbox, the thread runs until `close`. Without an outbox, it runs while settlements wait.
    """

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, client: AccountingClient) -> None:
        """Start the thread if it is not running."""
        with self._lock:
            if self._thread is not None or self._closed.is_set():
                return
            thread = threading.Thread(target=self._run, args=(client,), name="settlements", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread can start now: closing the client sends what is left
                logger.warning("settlements can't be sent in the background: %s", error)
                return
            self._thread = thread

    def defer(self, pending: PendingSettlement) -> None:
        """Queue a settlement, and start sending."""
        self.backlog.defer(pending)
        self._woken.set()
        self.start(pending.client)

    def drain(self, seconds: float) -> None:
        """Send the remaining settlements, for at most ``seconds``."""
        until = time.monotonic() + seconds
        while not self.backlog.is_empty and (left := until - time.monotonic()) > 0:
            pending = self.backlog.take()
            pause = LOOK_SECONDS if pending is None else self._send(pending, left)
            time.sleep(max(0.0, min(pause, until - time.monotonic())))

    def close(self) -> None:
        """Stop sending, and log the settlements that are left."""
        self._closed.set()
        self._woken.set()
        self.backlog.close()

    def _run(self, client: AccountingClient) -> None:
        claimed_at = -TICK_SECONDS
        while not self._closed.is_set():
            if self.backlog.outbox and time.monotonic() - claimed_at >= TICK_SECONDS:
                claimed_at = time.monotonic()
                self._claim(client)
            self._woken.clear()
            pending = self.backlog.take()
            if pending is not None:
                self._closed.wait(self._send(pending))
            elif self.backlog.outbox:
                self._woken.wait(TICK_SECONDS)
            else:
                with self._lock:
                    if not self._woken.is_set():
                        self._thread = None
                        return

    def _send(self, pending: PendingSettlement, seconds: float = ATTEMPT_SECONDS) -> float:
        try:
            answer = pending.client.send(pending.settling.call, _once(seconds))
        except BaseException as error:  # the caller's token function may raise anything
            pause = self.backlog.receive(pending, error)
            if not isinstance(error, Exception):
                raise
            return pause
        return self.backlog.receive(pending, answer)

    def _claim(self, client: AccountingClient) -> None:
        try:
            self.backlog.claim(client, client.identity())
        except Exception as error:  # the caller's token function may raise anything
            logger.warning("settlements of earlier processes have to wait in the outbox: %s", error)


class TaskSender:
    """Sends the settlements of an `AsyncAccountingClient` in a task, as `ThreadSender` does in a thread."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    def start(self, client: AsyncAccountingClient) -> None:
        """Start the task if it is not running. Raises what the loop raises if it accepts no more tasks."""
        if (self._task is None or self._task.done()) and not self._is_closed:
            work = self._run(client)
            try:
                self._task = asyncio.get_running_loop().create_task(work, name="settlements")
            except BaseException:
                work.close()
                raise

    def defer(self, pending: PendingSettlement) -> None:
        """Queue a settlement, and start sending."""
        self.backlog.defer(pending)
        self._woken.set()
        self.start(pending.client)

    async def drain(self) -> None:
        """Send the remaining settlements."""
        while not self.backlog.is_empty:
            pending = self.backlog.take()
            await asyncio.sleep(LOOK_SECONDS if pending is None else await self._send(pending))

    async def close(self) -> None:
        """Stop sending, and log the settlements that are left."""
        self._is_closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self.backlog.close()

    async def _run(self, client: AsyncAccountingClient) -> None:
        claimed_at = -TICK_SECONDS
        try:
            while self.backlog.outbox or not self.backlog.is_empty:
                if self.backlog.outbox and time.monotonic() - claimed_at >= TICK_SECONDS:
                    claimed_at = time.monotonic()
                    await self._claim(client)
                self._woken.clear()
                pending = self.backlog.take()
                if pending is not None:
                    await asyncio.sleep(await self._send(pending))
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TICK_SECONDS if self.backlog.outbox else LOOK_SECONDS):
                            await self._woken.wait()
        except asyncio.CancelledError:  # by `close`, or because the loop ends
            self._is_closed = True
            self.backlog.close()
            raise

    async def _send(self, pending: PendingSettlement) -> float:
        try:
            answer = await pending.client.send(pending.settling.call, _once())
        except BaseException as error:  # the caller's token function may raise anything
            pause = self.backlog.receive(pending, error)
            if not isinstance(error, Exception):
                raise
            return pause
        return self.backlog.receive(pending, answer)

    async def _claim(self, client: AsyncAccountingClient) -> None:
        try:
            self.backlog.claim(client, await client.identity())
        except Exception as error:  # the caller's token function may raise anything
            logger.warning("settlements of earlier processes have to wait in the outbox: %s", error)
