"""Wallets: one small item a user, replaced whole under the condition that its version is the one that was read."""

import json
from collections.abc import Iterator
from typing import cast

from accounting.domain.wallet import Lot, Wallet
from accounting.store import keys, table
from accounting.store.moved import Moved
from accounting.store.table import Item, Write


def get(user_id: str) -> Wallet:
    """The user's wallet, strongly consistent; without an item it is empty."""
    return from_item(user_id, table.get(keys.wallet(user_id)))


def put(before: Wallet, after: Wallet) -> Write:
    """Replace the wallet, if nobody has since ``before`` was read; else Moved with the newer ``wallet``."""
    if before.version:
        condition, values = "version = :seen", {":seen": before.version}
    else:
        condition, values = "attribute_not_exists(pk)", None
    return Write(
        table.put(to_item(after), condition=condition, values=values),
        refused=lambda old: Moved(wallet=from_item(after.user_id, old)),
    )


def due(now: int) -> Iterator[list[Wallet]]:
    """The wallets that are to be looked at by ``now``, in batches, as they stand in the table."""
    for pk in keys.wallets_of_all():
        for found in table.due(pk, now):
            items = table.get_many(found)
            yield [from_item(keys.user_in(key), item) for key, item in zip(found, items, strict=True) if item]


def to_item(wallet: Wallet) -> Item:
    """The item. Lots are one JSON text, ``[[id, credits, expiresAt, grace], …]``: no condition looks into them."""
    when_due = {} if wallet.due_at is None else keys.wallet_due(wallet.user_id, wallet.due_at)
    return {
        **keys.wallet(wallet.user_id),
        **when_due,
        "version": wallet.version,
        "entry_seq": wallet.entry_seq,
        "allocations": wallet.allocations,
        "lots": table.compact([[*lot[:3], int(lot.grace)] for lot in wallet.lots]),
        "held": wallet.held,
        "debt": wallet.debt,
        "granted": wallet.granted,
        "charged": wallet.charged,
        "removed": wallet.removed,
        "expired": wallet.expired,
        "updated_at": wallet.updated_at,
        "due_at": wallet.due_at,
        "head": wallet.head,
        "frozen": wallet.frozen or None,
    }


def from_item(user_id: str, item: Item | None) -> Wallet:
    """The wallet of an item; without one, the empty wallet that every user begins with."""
    if item is None:
        return Wallet(user_id)
    lots = cast("list[tuple[str, int, int, int]]", json.loads(item["lots"]))
    return Wallet(
        user_id=user_id,
        version=item["version"],
        entry_seq=item["entry_seq"],
        allocations=item["allocations"],
        lots=tuple(Lot(lot, credits, at, bool(grace)) for lot, credits, at, grace in lots),
        held=item["held"],
        debt=item["debt"],
        granted=item["granted"],
        charged=item["charged"],
        removed=item["removed"],
        expired=item["expired"],
        updated_at=item["updated_at"],
        due_at=item.get("due_at"),
        head=item.get("head", ""),
        frozen=item.get("frozen", False),
    )
