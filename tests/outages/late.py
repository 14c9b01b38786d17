"""Processes cache what they read, so a change may take up to LATE_SECONDS to reach every process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.client import described

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

LATE_SECONDS = 30


def until_refused(ask: Callable[[], httpx.Response], deadline: float | None = None) -> httpx.Response:
    """Repeat a request until it is refused. A request that begins after the deadline must be refused."""
    deadline = deadline or time.monotonic() + LATE_SECONDS
    began = time.monotonic()
    while (answer := ask()).is_success:
        assert began < deadline, f"still accepted after {LATE_SECONDS} seconds: {described(answer)}"
        time.sleep(1)
        began = time.monotonic()
    return answer


def sleep_until(deadline: float) -> None:
    """Wait until the deadline of a change. After the deadline, no process uses values from before the change."""
    time.sleep(max(0, deadline - time.monotonic()))
