"""Removes conditions from the service's writes, in this process only, to test that the simulation notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from accounting.store import budgets, entries, idempotency, sessions, wallets
from accounting.store.table import Write

type Change = Callable[[dict[str, Any]], None]


def _no_condition(put: dict[str, Any]) -> None:
    for name in ("ConditionExpression", "ExpressionAttributeValues", "ExpressionAttributeNames"):
        put.pop(name, None)


def _any_status(put: dict[str, Any]) -> None:
    put["ConditionExpression"] = put["ConditionExpression"].replace("#status = :active AND ", "")
    del put["ExpressionAttributeNames"]["#status"], put["ExpressionAttributeValues"][":active"]


def _any_heartbeat(put: dict[str, Any]) -> None:
    clause = " AND tokens = :tokens AND last_seen_at = :seen"
    put["ConditionExpression"] = put["ConditionExpression"].replace(clause, "")
    for name in (":tokens", ":seen"):
        put["ExpressionAttributeValues"].pop(name, None)


def _no_limit(update: dict[str, Any]) -> None:
    del update["ConditionExpression"], update["ExpressionAttributeValues"][":most"]


SABOTAGES: dict[str, list[tuple[ModuleType, str, Change]]] = {
    "wallet": [(wallets, "put", _no_condition)],
    "ledger": [(wallets, "put", _no_condition), (entries, "put", _no_condition)],
    "session": [(sessions, "replace", _any_status)],
    "heartbeat": [(sessions, "replace", _any_heartbeat)],
    "idempotency": [(idempotency, "put", _no_condition)],
    "budget": [(budgets, "commit", _no_limit)],
}
"""The writes that lose conditions, by the name of the sabotage.

With ``wallet``, the write of an outdated wallet still fails, because the number of its ledger entry is taken, and
the service answers 500. With ``ledger``, that write succeeds, and only the checks in ``books.py`` can notice.
"""


@contextmanager
def sabotaged(name: str | None) -> Iterator[None]:
    """Apply the sabotage with this name during the block. With None, change nothing."""
    with ExitStack() as stack:
        for module, function, change in SABOTAGES[name] if name else ():
            stack.enter_context(patch.object(module, function, _weakened(getattr(module, function), change)))
        yield


def _weakened(build: Callable[..., Write], change: Change) -> Callable[..., Write]:
    def weakened(*args: Any, **options: Any) -> Write:
        write = build(*args, **options)
        (action,) = write.action.values()
        change(action)
        return write

    return weakened
