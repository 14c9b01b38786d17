"""The functions' logs, read from CloudWatch Logs of the local AWS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack

# The lines that Lambda itself writes around an invocation.
PLATFORM_LINES = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
# Lines may become visible a little later than their timestamps.
OVERLAP_MILLISECONDS = 2_000


class Line(NamedTuple):
    """One line that a function wrote."""

    function: str
    message: str


class Tail:
    """Reads every line that a stack's functions write from now on, exactly once.

    The local AWS gives every invocation its own log stream, and writes the whole stream in one step. So a log stream
    is complete when it first appears.
    """

    def __init__(self, stack: Stack) -> None:
        self._logs = stack.aws.client("logs")
        self._prefix = f"/aws/lambda/{stack.stack_name}-"
        self._newest = int(time.time() * 1000) + OVERLAP_MILLISECONDS
        self._seen: set[str] = set()

    def read(self) -> list[Line]:
        """Return the lines written since the last call, in time order."""
        since = self._newest - OVERLAP_MILLISECONDS
        events = sorted(self._events(since), key=lambda event: event[1]["timestamp"])
        new = [(group, event) for group, event in events if event["logStreamName"] not in self._seen]
        self._seen = {event["logStreamName"] for _, event in events}
        self._newest = max([self._newest, *(event["timestamp"] for _, event in events)])
        return [
            Line(group.removeprefix(self._prefix), event["message"])
            for group, event in new
            if not event["message"].startswith(PLATFORM_LINES)
        ]

    def _events(self, since: int) -> Iterator[tuple[str, dict[str, Any]]]:
        pages = self._logs.get_paginator("filter_log_events")
        for group in self._logs.describe_log_groups(logGroupNamePrefix=self._prefix)["logGroups"]:
            name = group["logGroupName"]
            for page in pages.paginate(logGroupName=name, startTime=since):
                yield from ((name, event) for event in page["events"])
