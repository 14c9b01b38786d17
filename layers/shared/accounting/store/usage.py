"""Usage records, in time order."""

import json
from collections.abc import Iterator
from decimal import Decimal

from accounting.domain.usage import Countable, UsageRecord, model_of
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.table import Item, Write


def put(record: UsageRecord) -> Write:
    """Add a record; its id was made for it."""
    return Write(table.put(to_item(record), condition="attribute_not_exists(pk)"))


def between(user_id: str, since: int, until: int) -> Iterator[Countable]:
    """What counts of every record with ``since <= at < until``, newest first: no metadata is read."""
    low, high = keys.usage(user_id, since, ""), keys.usage(user_id, until, "")
    for item in table.query_all(low["pk"], low["sk"], high["sk"], attributes=("at", "credits", "service", "operation")):
        yield Countable(item["at"], item["credits"], item["service"], model_of(item["service"], item["operation"]))


def newest(user_id: str, since: int | None, until: int | None, limit: int) -> list[UsageRecord]:
    """The newest ``limit`` records with ``since <= at < until``, newest first."""
    low = keys.usage(user_id, since or 0, "")
    high = keys.usage(user_id, until, "")["sk"] if until is not None else f"USAGE#{keys.AFTER_ALL_TIMES}"
    return [from_item(user_id, item) for item in table.query(low["pk"], low["sk"], high, limit=limit)]


def is_record(item: Item) -> bool:
    """Whether an item of the table is a usage record."""
    return keys.is_usage(item)


def from_image(item: Item) -> UsageRecord:
    """The record of an item as the table's stream has it."""
    return from_item(keys.user_in(item), {name: int(v) if isinstance(v, Decimal) else v for name, v in item.items()})


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
