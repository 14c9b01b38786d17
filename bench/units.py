"""What requests ask of the database: calls, the items read, and the units they are billed by.

Write units are the emulator's ConsumedCapacity, indexes included. Its read capacity is flat, so read units are
computed from the answers' items by DynamoDB's documented rules:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, cast

from tests.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_UNIT_BYTES = 4096
WRITE_UNIT_BYTES = 1024


@dataclass
class Units(Calls):
    """Also counts the read units, and the write units of conditional updates that were refused: they are billed."""

    read_units: float = 0

    def _ask(self, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        asked: dict[str, Any] = super()._ask(params)
        self._asked = asked
        return asked

    def _note(self, model: Any, parsed: dict[str, Any], **_: Any) -> None:
        super()._note(model, parsed)
        if "Error" in parsed:
            if model.name == "UpdateItem":
                self.write_units += ceil(max(1, item_bytes(parsed.get("Item", {}))) / WRITE_UNIT_BYTES)
        elif model.name == "GetItem":
            self.read_units += _read_units(item_bytes(parsed.get("Item", {})), strong=self._asked["ConsistentRead"])
        elif model.name == "Query":
            size = sum(map(item_bytes, parsed["Items"]))
            self.read_units += _read_units(size, strong=self._asked.get("ConsistentRead", False))
        elif model.name == "BatchGetItem":
            for table, request in self._asked["RequestItems"].items():
                sizes = [item_bytes(item) for item in parsed["Responses"].get(table, [])]
                sizes += [0] * (len(request["Keys"]) - len(sizes))  # an item that is not there costs the least unit
                self.read_units += sum(_read_units(size, strong=request["ConsistentRead"]) for size in sizes)


@contextmanager
def counting(client: Any) -> Iterator[Units]:
    """Count what ``client`` does for the time of the block."""
    with Units.of(client) as counted:
        yield cast("Units", counted)


def _read_units(size: int, *, strong: bool) -> float:
    return max(1, ceil(size / READ_UNIT_BYTES)) * (1 if strong else 0.5)


def item_bytes(item: dict[str, Any]) -> int:
    """Return the size of an item as DynamoDB counts it: the names and values of its attributes."""
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
