"""What a piece of code asks of the database: its calls, and the write units that they consume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Calls:
    """The calls made, by operation name in order, the items they read, and the write units, indexes included."""

    operations: list[str] = field(default_factory=list)
    items: int = 0
    write_units: float = 0

    @classmethod
    @contextmanager
    def of(cls, client: Any) -> Iterator[Calls]:
        """Count what ``client`` does for the time of the block."""
        counted = cls()
        events = client.meta.events
        events.register("provide-client-params.dynamodb", counted._ask, unique_id="calls-ask")
        events.register("after-call.dynamodb", counted._note, unique_id="calls-note")
        try:
            yield counted
        finally:
            events.unregister("provide-client-params.dynamodb", unique_id="calls-ask")
            events.unregister("after-call.dynamodb", unique_id="calls-note")

    @property
    def round_trips(self) -> int:
        return len(self.operations)

    def reset(self) -> None:
        """Forget what was counted."""
        self.operations.clear()
        self.items = 0
        self.write_units = 0

    def _ask(self, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {**params, "ReturnConsumedCapacity": "INDEXES"}

    def _note(self, model: Any, parsed: dict[str, Any], **_: Any) -> None:
        self.operations.append(model.name)
        found = [parsed.get("Items", ()), *parsed.get("Responses", {}).values()]
        self.items += ("Item" in parsed) + sum(map(len, found))
        if model.name not in ("TransactWriteItems", "UpdateItem", "PutItem", "DeleteItem"):
            return
        consumed = parsed.get("ConsumedCapacity", [])
        for part in consumed if isinstance(consumed, list) else [consumed]:
            self.write_units += part["CapacityUnits"]
