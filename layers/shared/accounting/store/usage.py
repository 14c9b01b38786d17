"""Usage records, in time order."""

import json

from accounting.domain.usage import UsageRecord
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.table import Item, Write


def put(record: UsageRecord) -> Write:
    """Add a record; its id was made for it."""
    return Write(table.put(to_item(record), condition="attribute_not_exists(pk)"))


def to_item(record: UsageRecord) -> Item:
    """The item; metadata is one JSON text."""
    return {
        **keys.usage(record.user_id, record.at, record.id),
        "id": record.id,
        "service": record.service,
        "operation": record.operation,
        "credits": record.credits,
        "at": record.at,
        "metadata": table.compact(record.metadata),
        "ttl": (record.at + settings().usage_retention) // 1000,
    }


def from_item(user_id: str, item: Item) -> UsageRecord:
    """The record of an item."""
    return UsageRecord(
        id=item["id"],
        user_id=user_id,
        service=item["service"],
        operation=item["operation"],
        credits=item["credits"],
        at=item["at"],
        metadata=json.loads(item["metadata"]),
    )
