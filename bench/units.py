"""Counts what requests need from the database: calls, items read, and billed units.

Write units are the emulator's ConsumedCapacity, indexes included. The emulator ignores the sizes of items that it
reads, so read units are computed from the items by DynamoDB's documented rules:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from tests.calls import Calls

READ_UNIT_BYTES = 4096
WRITE_UNIT_BYTES = 1024


@dataclass
class Units(Calls):
    """What ``Calls`` counts, and also the read units.

    The write units include those of refused updates and transactions, which are billed too.
    """

    read_units: float = 0

    def _note(self, operation: str, asked: dict[str, Any], answer: dict[str, Any]) -> None:
        super()._note(operation, asked, answer)
        if "Error" in answer:
            if operation == "UpdateItem":
                self.write_units += _write_units(answer.get("Item", {}))
            elif operation == "TransactWriteItems":
                actions = [action for each in asked["TransactItems"] for action in each.values()]
                self.write_units += sum(2 * _write_units(action.get("Item", {})) for action in actions)
        elif operation == "GetItem":
            self.read_units += _read_units(item_bytes(answer.get("Item", {})), strong=asked["ConsistentRead"])
        elif operation == "Query":
            size = sum(map(item_bytes, answer["Items"]))
            self.read_units += _read_units(size, strong=asked.get("ConsistentRead", False))
        elif operation == "BatchGetItem":
            for table, request in asked["RequestItems"].items():
                sizes = [item_bytes(item) for item in answer["Responses"].get(table, [])]
                sizes += [0] * (len(request["Keys"]) - len(sizes))  # a missing item costs the smallest unit
                self.read_units += sum(_read_units(size, strong=request["ConsistentRead"]) for size in sizes)


def _read_units(size: int, *, strong: bool) -> float:
    return max(1, ceil(size / READ_UNIT_BYTES)) * (1 if strong else 0.5)


def _write_units(item: dict[str, Any]) -> int:
    return ceil(max(1, item_bytes(item)) / WRITE_UNIT_BYTES)


def item_bytes(item: dict[str, Any]) -> int:
    """Return the size of an item by DynamoDB's rules: the names and values of its attributes."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    text = str(content)
    match kind:
        case "S":
            return len(text.encode())
        case "N":
            return ceil(len(text.lstrip("-").strip("0")) / 2) + 1 + text.startswith("-")
        case "BOOL" | "NULL":
            return 1
    raise ValueError(f"the service has no attributes of type {kind}")
