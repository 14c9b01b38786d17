"""Counts the calls that a piece of code makes to the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast
from unittest.mock import patch

from botocore.exceptions import ClientError

from accounting.store import table
from accounting.store.table.wire import Wire


def the_wire() -> Wire:
    """Return the store's DynamoDB client."""
    client = table.client()
    assert isinstance(client, Wire)
    return client


@dataclass
class Calls:
    """The names of the operations in the order of the calls, the number of items read, and the write units.

    Write units are counted only for transactions and updates, and include those of the indexes.
    """

    operations: list[str] = field(default_factory=list)
    items: int = 0
    write_units: float = 0

    @classmethod
    @contextmanager
    def of(cls, wire: Wire) -> Iterator[Self]:
        """Count the calls over ``wire`` during the block."""
        counted, call = cls(), wire.call

        def counting(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            asked = {**request, "ReturnConsumedCapacity": "INDEXES"}
            try:
                answer = call(operation, asked)
            except ClientError as error:
                counted._note(operation, asked, cast("dict[str, Any]", error.response))
                raise
            counted._note(operation, asked, answer)
            return answer

        with patch.object(wire, "call", counting):
            yield counted

    @property
    def round_trips(self) -> int:
        return len(self.operations)

    def reset(self) -> None:
        self.operations.clear()
        self.items = 0
        self.write_units = 0

    def _note(self, operation: str, _asked: dict[str, Any], answer: dict[str, Any]) -> None:
        self.operations.append(operation)
        found = [answer.get("Items", ()), *answer.get("Responses", {}).values()]
        self.items += ("Item" in answer) + sum(map(len, found))
        if operation not in ("TransactWriteItems", "UpdateItem"):
            return
        consumed = answer.get("ConsumedCapacity", [])
        for part in consumed if isinstance(consumed, list) else [consumed]:
            self.write_units += part["CapacityUnits"]
