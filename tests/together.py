"""Many callers at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

PATIENCE_SECONDS = 30


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The result of each call, in order, or the exception that it raised. All calls begin at the same moment."""
    ready = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        ready.wait(PATIENCE_SECONDS)
        try:
            return call()
        except Exception as error:  # the test decides whether it expected this exception
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def times(count: int, call: Callable[[], Any]) -> list[Callable[[], Any]]:
    """The call, ``count`` times, for ``together``."""
    return [call] * count
