"""Starts the heartbeat threads of sync sessions late, because most streams end before they need a thread."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
import weakref
from typing import Protocol

from accounting_client.process import PerProcess

logger = logging.getLogger("accounting_client")

RETRY_SECONDS = 1.0
"""How long to wait after a thread could not start, before the next attempt."""


class _Beating(Protocol):
    def begin_beating(self) -> None: ...


class Alarm:
    """A thread that starts the heartbeat threads of all sessions, each when it is due.

    The thread ends when no session waits. The alarm does not keep a session in memory: a garbage-collected session is
    skipped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._due: list[tuple[float, int, weakref.ref[_Beating]]] = []
        self._numbers = itertools.count()
        self._is_running = False

    def after(self, seconds: float, beating: _Beating) -> None:
        """Begin the heartbeats after ``seconds``. Raises RuntimeError if no more threads can start."""
        entry = time.monotonic() + seconds, next(self._numbers), weakref.ref(beating)
        with self._lock:
            if not self._is_running:
                # A session goes into the heap only after the thread has started, because the start may fail. The new
                # thread waits for the lock, so it finds the session in the heap.
                threading.Thread(target=self._run, name="heartbeats begin", daemon=True).start()
                self._is_running = True
            heapq.heappush(self._due, entry)
            if self._due[0] is entry:
                self._woken.set()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._woken.clear()
                if not self._due:
                    self._is_running = False
                    return
                seconds = self._due[0][0] - time.monotonic()
                beating = None if seconds > 0 else heapq.heappop(self._due)[2]()
            if beating is not None:
                try:
                    beating.begin_beating()
                except RuntimeError as error:  # no more threads can start
                    logger.warning("the heartbeats of a session can't begin yet: %s", error)
                    self.after(RETRY_SECONDS, beating)
                beating = None
            elif seconds > 0:
                self._woken.wait(seconds)


ALARM = PerProcess(Alarm)
