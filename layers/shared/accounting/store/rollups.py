"""A user's sums per UTC day, written in the transaction of the usage record that they count.

An item counts ``records`` and ``credits``, and both by service (``s:<name>:n``, ``s:<name>:c``) and by model
(``m:<name>:…``). The names that an item knows are bounded, the rest count as ``other``, so that a caller's free text
can't grow an item to its limit.
"""

from dataclasses import dataclass

from accounting.domain.usage import Sums, UsageRecord
from accounting.store import keys, table
from accounting.store.moved import Moved
from accounting.store.table import Item, Write
from accounting.times import day

MAX_NAMES = 50
SPREAD = 4
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names a record counts."""

    service: str
    model: str | None


def names_of(record: UsageRecord) -> Names:
    """The record's own names."""
    return Names(record.service, record.model_id)


def any_spread() -> int:
    """One of the items that a day may spread over, for writers that would otherwise meet."""
    return table.any_below(SPREAD)


def between(user_id: str, since: int | None, until: int | None) -> list[tuple[str, Sums]]:
    """The sums of the whole days from ``since`` to before ``until``, both the first instant of a day."""
    if until is not None and (since or 0) >= until:
        return []
    low = keys.day_rollup(user_id, day(since or 0))
    high = f"DAY#{day(until)}" if until is not None else f"DAY#{keys.AFTER_ALL_TIMES}"
    return [(item["day"], sums_in(item)) for item in table.query_all(low["pk"], low["sk"], high)]


def sums_in(item: Item) -> Sums:
    """What an item counts."""
    return Sums(
        item["records"],
        item["credits"],
        {name: item[f"s:{name}:c"] for name in item.get("services", ())},
        {name: item[f"m:{name}:c"] for name in item.get("models", ())},
    )


def add(record: UsageRecord, names: Names, spread: int = 0) -> Write:
    """Count the record under ``names``; when the day has no room for one, Moved with the ``names`` it has room for."""
    counts = {"#n": "records", "#c": "credits"}
    adds = ["#n :one", "#c :credits"]
    values: Item = {":one": 1, ":credits": record.credits}
    conditions = []
    for attribute, prefix, name in (("services", "s", names.service), ("models", "m", names.model)):
        if name is None:
            continue
        counts |= {f"#{prefix}n": f"{prefix}:{name}:n", f"#{prefix}c": f"{prefix}:{name}:c"}
        adds += [f"#{prefix}n :one", f"#{prefix}c :credits", f"{attribute} :{prefix}s"]
        values[f":{prefix}s"] = {name}
        if name != OTHER:
            values |= {f":{prefix}": name, ":max": MAX_NAMES}
            known = f"contains({attribute}, :{prefix})"
            has_room = f"attribute_not_exists({attribute}) OR size({attribute}) < :max"
            conditions.append(f"({known} OR {has_room})")
    counts["#day"], values[":day"] = "day", day(record.at)
    expression = f"ADD {', '.join(adds)} SET #day = :day"
    return Write(
        table.update(
            keys.day_rollup(record.user_id, day(record.at), spread),
            expression,
            names=counts,
            values=values,
            condition=" AND ".join(conditions) or None,
        ),
        refused=lambda old: Moved(names=_fitting(names, old or {})),
    )


def _fitting(names: Names, item: Item) -> Names:
    model = None if names.model is None else _fit(names.model, item.get("models", set()))
    return Names(_fit(names.service, item.get("services", set())), model)


def _fit(name: str, known: set[str]) -> str:
    return name if name in known or len(known) < MAX_NAMES else OTHER
