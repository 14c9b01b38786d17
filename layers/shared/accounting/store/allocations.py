"""Allocations: the grants as they were made, numbered without gaps so that any page of the list is one range."""

from dataclasses import dataclass

from accounting.store import keys, table
from accounting.store.table import Item, Write


@dataclass(frozen=True, slots=True)
class Allocation:
    """A grant as it was made: ``number`` counts the user's grants from 1, times are epoch milliseconds."""

    user_id: str
    number: int
    id: str
    credits: int
    allocated_by: str
    allocated_at: int
    expires_at: int
    notes: str = ""


def put(allocation: Allocation) -> Write:
    """Add an allocation; its number is free whenever the wallet's version is as read."""
    return Write(table.put(to_item(allocation), condition="attribute_not_exists(pk)"))


def page(user_id: str, *, last: int, limit: int) -> list[Allocation]:
    """Up to ``limit`` allocations with ``number <= last``, newest first."""
    first = max(1, last - limit + 1)
    if first > last:
        return []
    low, high = keys.allocation(user_id, first), keys.allocation(user_id, last)
    items = table.query(low["pk"], low["sk"], high["sk"], limit=limit)
    return [from_item(user_id, item) for item in items]


def to_item(allocation: Allocation) -> Item:
    """The item."""
    return {
        **keys.allocation(allocation.user_id, allocation.number),
        "number": allocation.number,
        "id": allocation.id,
        "credits": allocation.credits,
        "allocated_by": allocation.allocated_by,
        "allocated_at": allocation.allocated_at,
        "expires_at": allocation.expires_at,
        "notes": allocation.notes or None,
    }


def from_item(user_id: str, item: Item) -> Allocation:
    """The allocation of an item."""
    return Allocation(
        user_id=user_id,
        number=item["number"],
        id=item["id"],
        credits=item["credits"],
        allocated_by=item["allocated_by"],
        allocated_at=item["allocated_at"],
        expires_at=item["expires_at"],
        notes=item.get("notes", ""),
    )
