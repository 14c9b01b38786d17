"""Conditions of the service that can be taken away, in this process only: a simulation that misses that is blind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from accounting.store import idempotency, sessions, wallets
from accounting.store.table import Write

type Change = Callable[[dict[str, Any]], None]


def _unconditioned(put: dict[str, Any]) -> None:
    for name in ("ConditionExpression", "ExpressionAttributeValues", "ExpressionAttributeNames"):
        put.pop(name, None)


def _whatever_its_status(put: dict[str, Any]) -> None:
    put["ConditionExpression"] = put["ConditionExpression"].replace("#status = :active AND ", "")
    del put["ExpressionAttributeNames"]["#status"], put["ExpressionAttributeValues"][":active"]


SABOTAGES: dict[str, tuple[ModuleType, str, Change]] = {
    "wallet": (wallets, "put", _unconditioned),
    "session": (sessions, "replace", _whatever_its_status),
    "idempotency": (idempotency, "put", _unconditioned),
}
"""By name, whose write is built without its wallet's version, its session's status, its record's absence."""


@contextmanager
def sabotaged(name: str | None) -> Iterator[None]:
    """Without one of the conditions for the time of the block."""
    if name is None:
        yield
        return
    module, function, change = SABOTAGES[name]
    build: Callable[..., Write] = getattr(module, function)

    def weakened(*args: Any, **options: Any) -> Write:
        write = build(*args, **options)
        change(write.action["Put"])
        return write

    with patch.object(module, function, weakened):
        yield
