"""Allocations: the records of grants.

An account's allocations are numbered without gaps, so a page is a range of numbers.
"""

from accounting.domain.accounts import AccountId
from accounting.domain.allocations import Allocation
from accounting.store import keys, table
from accounting.store.table import Item, Write


def put(allocation: Allocation) -> Write:
    """Add an allocation.

    Its number is the wallet's count of allocations. No other allocation can have this number, because the transaction
    fails if the wallet has changed.
    """
    return Write(table.put(to_item(allocation), condition="attribute_not_exists(pk)"))


def page(account_id: AccountId, *, last: int, limit: int) -> list[Allocation]:
    """Up to ``limit`` allocations with ``number <= last``, newest first."""
    first = max(1, last - limit + 1)
    if first > last:
        return []
    low, high = keys.allocation(account_id, first), keys.allocation(account_id, last)
    items = table.query(low["pk"], low["sk"], high["sk"], limit=limit)
    return [from_item(account_id, item) for item in items]


def to_item(allocation: Allocation) -> Item:
    return {
        **keys.allocation(allocation.account_id, allocation.number),
        "number": allocation.number,
        "id": allocation.id,
        "credits": allocation.credits,
        "allocated_by": allocation.allocated_by,
        "allocated_at": allocation.allocated_at,
        "expires_at": allocation.expires_at,
        "notes": allocation.notes or None,
    }


def from_item(account_id: AccountId, item: Item) -> Allocation:
    return Allocation(
        account_id=account_id,
        number=item["number"],
        id=item["id"],
        credits=item["credits"],
        allocated_by=item["allocated_by"],
        allocated_at=item["allocated_at"],
        expires_at=item["expires_at"],
        notes=item.get("notes", ""),
    )
