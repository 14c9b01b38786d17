"""An account's sums of usage for each UTC day, service and model.

The transaction that adds a usage record also adds the record to the sums.

For each day, a pair of service and model has up to ``PARTS`` items. Records that deduct credits are counted in the
first item: they also change the wallet, so they can only be written one after another. Records that deduct no credits
may be written at the same time. Each of these is counted in a random item, so that their writes rarely conflict. A
user's personal account has separate items for usage that another account paid for (``paid_by``) and for usage with an
API key (``key_id``): up to ``PARTS`` for each combination of payer and key.

The size of an item does not depend on the number of services and models.
"""

from collections.abc import Iterator

from accounting.domain.accounts import AccountId, personal
from accounting.domain.model_usage import COUNTS
from accounting.domain.usage import Sums, UsageRecord, digest
from accounting.store import keys, table
from accounting.store.formats import FORMAT
from accounting.store.table import Item, Write
from accounting.store.usage import Wanted, every
from accounting.times import day

PARTS = 4


def any_part() -> int:
    """A random part, for a record that deducts no credits."""
    return table.any_below(PARTS)


def between(
    account_id: AccountId, since: int | None, until: int | None, wanted: Wanted = every
) -> Iterator[tuple[str, Sums]]:
    """The day and sums of each ``wanted`` item with ``since <= day < until``. Both limits are beginnings of days."""
    pk = keys.day_rollup(account_id, "", "")["pk"]
    high = f"DAY#{keys.AFTER_ALL_TIMES if until is None else day(until)}"
    for item in table.query_all(pk, f"DAY#{day(since or 0)}", high):
        if wanted(item):
            yield keys.day_in(item), sums_in(item)


def sums_in(item: Item) -> Sums:
    counts = {name: item[name] for name in COUNTS if name in item}
    return Sums.of_pair(item["service"], item.get("model"), item["records"], item["credits"], counts)


def key_of(record: UsageRecord, account_id: AccountId, part: int = 0) -> keys.Key:
    """The key of the item that counts the record for ``account_id``, which is the payer or the user's own account."""
    names = [record.service, record.model_id, record.other_payer(account_id), _key_id(record, account_id)]
    while len(names) > 2 and names[-1] is None:
        names.pop()
    return keys.day_rollup(account_id, day(record.at), digest(*names), part)


def _key_id(record: UsageRecord, account_id: AccountId) -> str | None:
    """The API key that the sums are for. Only the user's own account has separate sums for each key."""
    return record.key_id if account_id == personal(record.user_id) else None


def add(record: UsageRecord, account_id: AccountId, part: int = 0) -> Write:
    """Count the record for one of ``record.accounts``. The write has no condition, so it is never refused."""
    named, added = names_and_numbers(record, account_id)
    adds = ", ".join(f"#{name} :{name}" for name in added)
    sets = ", ".join(f"#{name} = :{name}" for name in named)
    return Write(
        table.update(
            key_of(record, account_id, part),
            f"ADD {adds} SET {sets}",
            names={f"#{name}": name for name in (*added, *named)},
            values={f":{name}": value for name, value in (added | named).items()},
        )
    )


def names_and_numbers(record: UsageRecord, account_id: AccountId) -> tuple[Item, dict[str, int]]:
    """The names that the item gets (service, model, payer, API key), and the numbers that the record adds."""
    names: Item = {
        "service": record.service,
        "model": record.model_id,
        "paid_by": record.other_payer(account_id),
        "key_id": _key_id(record, account_id),
        "format": FORMAT,
    }
    named = {name: value for name, value in names.items() if value is not None}
    return named, {"records": 1, "credits": record.credits, **record.counts}
