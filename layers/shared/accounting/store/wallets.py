"""Wallets: one small item for each account. A write replaces the whole item if it has not changed since it was read."""

from collections.abc import Iterator

from accounting.domain.accounts import AccountId
from accounting.domain.wallet import Wallet
from accounting.store import keys, lots, table
from accounting.store.formats import unknown
from accounting.store.stale import StaleRead
from accounting.store.table import Item, Write

_PLAIN = (
    "version",
    "entry_seq",
    "allocations",
    "held",
    "debt",
    "granted",
    "charged",
    "removed",
    "expired",
    "updated_at",
    "format",
)
_KNOWN = {*_PLAIN, "lots", "due_at", "head", "frozen", "erased", "passed", "terms", "budgets"}


def get(account_id: AccountId) -> Wallet:
    """The account's wallet, strongly consistent; an empty wallet if there is no item."""
    return from_item(account_id, table.get(keys.wallet(account_id)))


def put(before: Wallet, after: Wallet) -> Write:
    """Replace the wallet.

    If the wallet has changed since ``before`` was read, the write raises StaleRead with the newer ``wallet``.
    """
    if before.version:
        condition, values = "version = :seen", {":seen": before.version}
    else:
        condition, values = "attribute_not_exists(pk)", None
    return Write(
        table.put(to_item(after), condition=condition, values=values),
        refused=lambda old: StaleRead(wallet=from_item(after.account_id, old)),
    )


def due(now: int) -> Iterator[list[Wallet]]:
    """The wallets that the sweeper must look at by ``now``, in batches. The index finds them, and the table is read."""
    for pk in keys.due_wallets_of_all():
        for found in table.due(pk, now):
            items = table.get_many(found)
            yield [from_item(keys.account_in(key), item) for key, item in zip(found, items, strict=True) if item]


def to_item(wallet: Wallet) -> Item:
    """Convert a wallet to an item, including attributes that a newer release of the service wrote."""
    when_due = {} if wallet.due_at is None else keys.wallet_due(wallet.account_id, wallet.due_at)
    return {
        **wallet.more,
        **keys.wallet(wallet.account_id),
        **keys.wallet_of_all(wallet.account_id),
        **when_due,
        **{name: getattr(wallet, name) for name in _PLAIN},
        "lots": lots.to_text(wallet.lots),
        "due_at": wallet.due_at,
        "head": wallet.head,
        "frozen": wallet.frozen or None,
        "erased": wallet.erased or None,
        "terms": wallet.terms or None,
        "budgets": wallet.budgets or None,
        "passed": wallet.passed or None,
    }


def from_item(account_id: AccountId, item: Item | None) -> Wallet:
    """Convert an item to a wallet. Without an item, the wallet is empty."""
    if item is None:
        return Wallet(account_id)
    return Wallet(
        account_id,
        lots=lots.from_text(item["lots"]),
        due_at=item.get("due_at"),
        head=item["head"],
        frozen=item.get("frozen", False),
        erased=item.get("erased", False),
        terms=item.get("terms", 0),
        budgets=item.get("budgets", 0),
        passed=item.get("passed", 0),
        more=unknown(item, _KNOWN),
        **{name: item[name] for name in _PLAIN},
    )
