"""The contents of the functions' log groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.stack import Stack

PAGE = 10_000


def groups(service: Stack) -> list[str]:
    pages = service.aws.client("logs").get_paginator("describe_log_groups").paginate()
    return [group["logGroupName"] for page in pages for group in page["logGroups"]]


def group_of(service: Stack, function: str) -> str:
    return f"/aws/lambda/{service.stack_name}-{function}"


def events(service: Stack, group: str, since: int = 0) -> list[dict[str, Any]]:
    """Return the events of a log group in time order, from ``since`` (epoch milliseconds) on.

    The local AWS returns only the ``PAGE`` earliest events, and no token for the next page.
    """
    logs, found = service.aws.client("logs"), list[dict[str, Any]]()
    while True:
        page: list[dict[str, Any]] = logs.filter_log_events(logGroupName=group, startTime=since)["events"]
        if len(page) < PAGE:
            return found + page
        until = page[-1]["timestamp"]
        assert until > since, "more than PAGE events have the same timestamp"
        found += [event for event in page if event["timestamp"] < until]
        since = until
