"""A user's sums per UTC day, written in the transaction of the usage record that they count.

An item counts ``records`` and ``credits``, and both by service (``s:<name>:n``, ``s:<name>:c``) and by model
(``m:<name>:…``). The names that an item knows are bounded, the rest count as ``other``, so that a caller's free text
can't grow an item to its limit.
"""

from dataclasses import dataclass

from accounting.domain.usage import UsageRecord
from accounting.store import keys, table
from accounting.store.moved import Moved
from accounting.store.table import Item, Write
from accounting.times import day

MAX_NAMES = 50
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Names:
    """Under which names a record counts."""

    service: str
    model: str | None


def names_of(record: UsageRecord) -> Names:
    """The record's own names."""
    return Names(record.service, record.model_id)


def add(record: UsageRecord, names: Names) -> Write:
    """Count the record under ``names``; when the day has no room for one, Moved with the ``names`` it has room for."""
    key = keys.day_rollup(record.user_id, day(record.at))
    counts = {"#n": "records", "#c": "credits", "#sn": f"s:{names.service}:n", "#sc": f"s:{names.service}:c"}
    adds = ["#n :one", "#c :credits", "#sn :one", "#sc :credits", "services :services"]
    values: Item = {
        ":one": 1,
        ":credits": record.credits,
        ":services": {names.service},
        ":service": names.service,
        ":max": MAX_NAMES,
    }
    service_has_room = "attribute_not_exists(services) OR contains(services, :service) OR size(services) < :max"
    condition = f"({service_has_room})"
    if names.model is not None:
        counts |= {"#mn": f"m:{names.model}:n", "#mc": f"m:{names.model}:c"}
        adds += ["#mn :one", "#mc :credits", "models :models"]
        values |= {":models": {names.model}, ":model": names.model}
        model_has_room = "attribute_not_exists(models) OR contains(models, :model) OR size(models) < :max"
        condition += f" AND ({model_has_room})"
    return Write(
        table.update(key, f"ADD {', '.join(adds)}", names=counts, values=values, condition=condition),
        refused=lambda old: Moved(names=_fitting(names, old or {})),
    )


def _fitting(names: Names, item: Item) -> Names:
    model = None if names.model is None else _fit(names.model, item.get("models", set()))
    return Names(_fit(names.service, item.get("services", set())), model)


def _fit(name: str, known: set[str]) -> str:
    return name if name in known or len(known) < MAX_NAMES else OTHER
