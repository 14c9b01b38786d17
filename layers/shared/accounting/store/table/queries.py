"""Reads items by key, and ranges of items from the table and its indexes."""

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import batched, islice
from operator import itemgetter
from typing import Any

from accounting.settings import settings
from accounting.store import keys
from accounting.store.keys import Key, Range
from accounting.store.table.codec import Item, pack, unpack
from accounting.store.table.connection import attempts_at_a_batch, call, client
from accounting.times import iso

MAX_BATCH = 100


def get(key: Key) -> Item | None:
    """The item with the key ``key``, strongly consistent."""
    answer = call(client().get_item, TableName=settings().table_name, Key=pack(key), ConsistentRead=True)
    return unpack(answer["Item"]) if "Item" in answer else None


def get_many(wanted: Sequence[Key]) -> list[Item | None]:
    """The items with the keys ``wanted``, in this order, strongly consistent. The keys must differ."""
    table = settings().table_name
    found: dict[tuple[str, str], Item] = {}
    for batch in batched(wanted, MAX_BATCH, strict=False):
        left = list(map(pack, batch))
        for _ in attempts_at_a_batch():
            answer = call(client().batch_get_item, RequestItems={table: {"Keys": left, "ConsistentRead": True}})
            for item in map(unpack, answer["Responses"].get(table, [])):
                found[item["pk"], item["sk"]] = item
            left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            if not left:
                break
    return [found.get((key["pk"], key["sk"])) for key in wanted]


def query(pk: str, low: str, high: str, *, limit: int) -> list[Item]:
    """The last ``limit`` items with ``low <= sk <= high``, strongly consistent, in descending order."""
    return list(islice(_query(("pk", "sk"), pk, low, high, limit, ConsistentRead=True), limit))


def query_all(pk: str, low: str, high: str, *, forward: bool = False, attributes: Sequence[str] = ()) -> Iterator[Item]:
    """Every item with ``low <= sk <= high``, strongly consistent.

    The order is descending or, with ``forward``, ascending. The items are read lazily, up to 1 MB at a time. If
    ``attributes`` are given, only these are returned.
    """
    options: dict[str, Any] = {"ConsistentRead": True, "ScanIndexForward": forward}
    if attributes:
        options["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
    return _query(("pk", "sk"), pk, low, high, None, attributes, **options)


def newest(
    index: str, ranges: Sequence[Range], *, before: str | None, limit: int, skip: int = 0
) -> tuple[list[Item], str | None]:
    """A page of at most ``limit`` items from several ranges of an index, merged in descending order.

    The page begins after the first ``skip`` items. Items of different ranges are compared by position
    (``keys.position``). The second value is the ``before`` of the next page, or None on the last page.
    """
    page_size = min(MAX_BATCH, skip + limit + 2)
    merged = merge(*(positions(index, part, before, page_size) for part in ranges), key=itemgetter(0), reverse=True)
    # When an item's key in the index changes, the index may have the item twice for a moment.
    distinct: dict[tuple[str, str], tuple[str, Item]] = {}
    for position, item in merged:
        distinct[item["pk"], item["sk"]] = position, item
        if len(distinct) > skip + limit:
            break
    page = list(distinct.values())[skip:]
    return [item for _, item in page[:limit]], page[limit - 1][0] if len(page) > limit else None


def highest(index: str, pk: str, limit: int) -> tuple[list[Item], bool]:
    """The last ``limit`` items in a partition of an index, in descending order, and whether there are more."""
    low, high = keys.BEFORE_ALL_TIMES, keys.AFTER_ALL_TIMES
    found = list(islice(_query(keys.INDEX_KEYS[index], pk, low, high, limit + 1, IndexName=index), limit + 1))
    return found[:limit], len(found) > limit


def positions(index: str, part: Range, before: str | None, page_size: int) -> Iterator[tuple[str, Item]]:
    """The items in a range, with their positions, in descending order. With ``before``, only those below ``before``."""
    names = keys.INDEX_KEYS[index]
    high = part.prefix + before if before else part.high
    for item in _query(names, part.pk, part.low, high, page_size, IndexName=index):
        position = keys.position(index, part, item)
        if position != before:
            yield position, item


def forward(index: str, pk: str, low: str, high: str, *, page_size: int | None = MAX_BATCH) -> Iterator[list[Item]]:
    """The items in a partition of an index with ``low < sort key <= high``, in ascending order, in batches.

    Each item is read once, even if the caller leaves it in the partition. A request to DynamoDB reads at most 1 MB
    and, unless ``page_size`` is None, at most ``page_size`` items.
    """
    names = keys.INDEX_KEYS[index]
    found = _query(names, pk, low, high, page_size, IndexName=index, ScanIndexForward=True)
    for batch in batched((item for item in found if item[names[1]] != low), MAX_BATCH, strict=False):
        yield list(batch)


def due(pk: str, now: int) -> Iterator[list[Key]]:
    """The table keys of all items due by ``now`` in a partition of the index ``due``, earliest first, in batches."""
    for batch in forward(keys.DUE, pk, keys.BEFORE_ALL_TIMES, iso(now) + keys.AFTER_ALL_TIMES):
        yield [{"pk": item["pk"], "sk": item["sk"]} for item in batch]


def _query(
    names: tuple[str, str],
    pk: str,
    low: str,
    high: str,
    page_size: int | None,
    attributes: Sequence[str] = (),
    **options: Any,
) -> Iterator[Item]:
    request: dict[str, Any] = {
        "TableName": settings().table_name,
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
        "ExpressionAttributeNames": {"#pk": names[0], "#sk": names[1], **{f"#{name}": name for name in attributes}},
        "ExpressionAttributeValues": pack({":pk": pk, ":low": low, ":high": high}),
        "ScanIndexForward": False,
        **({"Limit": page_size} if page_size else {}),
        **options,
    }
    while True:
        answer = call(client().query, **request)
        yield from map(unpack, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
