"""Usage records in time order, stored with the account that paid.

If another account paid for a user, the user's own account has a pointer to the record.
"""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import batched, islice
from typing import Any

from accounting.domain.accounts import AccountId, personal, stored, user_of
from accounting.domain.model_usage import Usage, counts_in
from accounting.domain.usage import Countable, ProviderUsage, UsageRecord, model_of
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.table import Item, Write


def put(record: UsageRecord) -> Write:
    """Add a record. Its id must be new."""
    return Write(table.put(to_item(record), condition="attribute_not_exists(pk)"))


def put_pointer(record: UsageRecord) -> Write:
    """Add a pointer from the user's own account to a record that another account pays for."""
    known = to_item(record)
    own = keys.usage(personal(record.user_id), record.at, record.id)
    pointer = {**known, **own, "metadata": None, "provider_usage": None, "user_id": None, "paid_by": record.account_id}
    return Write(table.put(pointer, condition="attribute_not_exists(pk)"))


type Wanted = Callable[[Item], bool]
"""Whether to select an item: a usage record, a pointer to one, or a daily sum."""


def every(_: Item) -> bool:
    """Select what the account paid, and what other accounts paid for its user."""
    return True


def paid(item: Item) -> bool:
    """Select only what the account itself paid."""
    return "paid_by" not in item


def paid_by(payer: AccountId) -> Wanted:
    """Select only what another account, ``payer``, paid for the account's user."""
    return lambda item: item.get("paid_by") == payer


def with_key(key_id: str | None, wanted: Wanted) -> Wanted:
    """Select what is ``wanted`` and was recorded with this API key; if ``key_id`` is None, all that is ``wanted``."""
    return wanted if key_id is None else lambda item: item.get("key_id") == key_id and wanted(item)


def between(account_id: AccountId, since: int, until: int, wanted: Wanted = every) -> Iterator[Countable]:
    """The ``wanted`` records with ``since <= at < until``, newest first, each reduced to what statistics need."""
    low, high = keys.usage(account_id, since, ""), keys.usage(account_id, until, "")
    needed = ("at", "credits", "service", "operation", "paid_by", "key_id", "usage", "unclassified", "priced_as")
    for item in table.query_all(low["pk"], low["sk"], high["sk"], attributes=needed):
        if wanted(item):
            yield countable(item)


def countable(item: Item) -> Countable:
    """The part of a stored record, or of a pointer to a record, that statistics need."""
    model_id = item.get("priced_as") or model_of(item["service"], item["operation"])
    counts = counts_in(_usage_in(item), item.get("unclassified", 0))
    return Countable(item["at"], item["credits"], item["service"], model_id, counts)


def newest(
    account_id: AccountId, since: int | None, until: int | None, limit: int, wanted: Wanted = every
) -> list[UsageRecord]:
    """The newest ``wanted`` records with ``since <= at < until``, at most ``limit``, newest first."""
    low = keys.usage(account_id, since or 0, "")
    high = keys.usage(account_id, until, "")["sk"] if until is not None else f"USAGE#{keys.AFTER_ALL_TIMES}"
    if wanted is every:
        items = table.query(low["pk"], low["sk"], high, limit=limit)
    else:
        items = list(islice(filter(wanted, table.query_all(low["pk"], low["sk"], high)), limit))
    return [from_item(_payer(item), item) for item in _followed(items)]


def records(account_id: AccountId, since: int, until: int) -> Iterator[UsageRecord]:
    """Every record with ``since <= at < until``, newest first, read lazily."""
    low, high = (keys.usage(account_id, at, "") for at in (since, until))
    for batch in batched(table.query_all(low["pk"], low["sk"], high["sk"]), table.MAX_BATCH, strict=False):
        for item in _followed(list(batch)):
            yield from_item(_payer(item), item)


def _followed(items: list[Item]) -> list[Item]:
    """The items, with each pointer replaced by its record. A pointer whose record is gone is kept."""
    pointers = [item for item in items if "paid_by" in item]
    if not pointers:
        return items
    found = table.get_many([keys.usage(stored(item["paid_by"]), item["at"], item["id"]) for item in pointers])
    records = {item["id"]: item for item in found if item}
    return [records.get(item["id"], item) if "paid_by" in item else item for item in items]


def _payer(item: Item) -> AccountId:
    return stored(item["paid_by"]) if "paid_by" in item else keys.account_in(item)


def is_record(item: Item) -> bool:
    """Whether an item of the table is a usage record and not a pointer to one."""
    return keys.is_usage(item) and "paid_by" not in item


def from_image(item: Item) -> UsageRecord:
    """Convert an item from the table's stream to a record."""
    plain = {name: int(value) if isinstance(value, Decimal) else value for name, value in item.items()}
    return from_item(keys.account_in(item), plain)


def to_item(record: UsageRecord) -> Item:
    """Convert a record to an item; metadata becomes one JSON text."""
    return {
        **keys.usage(record.account_id, record.at, record.id),
        "id": record.id,
        "user_id": None if user_of(record.account_id) == record.user_id else record.user_id,
        "service": record.service,
        "operation": record.operation,
        "credits": record.credits,
        "at": record.at,
        "metadata": table.compact(record.metadata),
        "usage": record.usage and record.usage.to_text(),
        "provider_usage": record.provider_usage and table.compact(record.provider_usage),
        "unclassified": record.unclassified or None,
        "priced_as": record.priced_as,
        "variant": record.variant,
        "actor": record.actor,
        "key_id": record.key_id,
        "run_id": record.run_id,
        "ttl": (record.at + settings().usage_retention) // 1000,
    }


def from_item(account_id: AccountId, item: Item) -> UsageRecord:
    """Convert an item to a record that the account paid for.

    Raises LookupError if neither the item nor the account names a user.
    """
    user_id = item.get("user_id") or user_of(account_id)
    if user_id is None:
        raise LookupError(f"a usage record of {account_id} names no user")
    metadata: dict[str, Any] = json.loads(item.get("metadata", "{}"))
    return UsageRecord(
        id=item["id"],
        account_id=account_id,
        user_id=user_id,
        service=item["service"],
        operation=item["operation"],
        credits=item["credits"],
        at=item["at"],
        metadata=metadata,
        usage=_usage_in(item),
        provider_usage=ProviderUsage(*json.loads(item["provider_usage"])) if item.get("provider_usage") else None,
        unclassified=item.get("unclassified", 0),
        priced_as=item.get("priced_as"),
        variant=item.get("variant"),
        actor=item.get("actor"),
        key_id=item.get("key_id"),
        run_id=item.get("run_id"),
    )


def _usage_in(item: Item) -> Usage | None:
    return Usage.from_text(item["usage"]) if item.get("usage") else None
