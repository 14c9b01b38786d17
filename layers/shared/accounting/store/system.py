"""System-wide sums of a day: the total (spread over a few items), users ranked by credits, names ranked by merit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accounting.domain.model_usage import COUNTS
from accounting.domain.system_usage import DayPart, NameDay, Place, Ranking, Standing, Sum, UserDay
from accounting.domain.usage import NameId, UsageRecord
from accounting.store import keys, table
from accounting.store.formats import unknown
from accounting.store.keys import Key
from accounting.store.stale import StaleRead
from accounting.store.table import Item, Write
from accounting.times import day

_KNOWN = {"version", "records", "credits", "newest", "services", "models", "merit", "name", *COUNTS}

READ_USERS = 1000
"""How many of a day's users are read from each part of their ranking."""

READ_NAMES = 200
"""How many of a day's services and models are read from each part of their ranking."""


def read(records: Sequence[UsageRecord], places: Sequence[Place]) -> tuple[list[UsageRecord], dict[Place, Sum]]:
    """The records that are not counted yet, and the sums stored at ``places``."""
    marks = [keys.usage(record.account_id, record.at, record.id) for record in records]
    found = table.get_many([*marks, *map(_key, places)])
    fresh = [record for record, item in zip(records, found, strict=False) if item and "counted" not in item]
    return fresh, {place: _sum(item) for place, item in zip(places, found[len(marks) :], strict=True)}


def mark(record: UsageRecord) -> Write:
    """Mark a record as counted. Refused with StaleRead if it is marked already."""
    return Write(
        table.update(
            keys.usage(record.account_id, record.at, record.id),
            "SET counted = :yes",
            values={":yes": True},
            condition="attribute_exists(pk) AND attribute_not_exists(counted)",
        ),
        refused=lambda _: StaleRead(),
    )


def put(place: Place, after: Sum) -> Write:
    """Replace the sum at a place. Refused with StaleRead unless the stored version is still that of ``after``."""
    item = {
        **after.more,
        **_key(place),
        **_details(place, after),
        **after.counts,
        "records": after.records,
        "credits": after.credits,
        "version": after.version + 1,
    }
    condition, values = "attribute_not_exists(pk)", None
    if after.version:
        condition, values = "version = :seen", {":seen": after.version}
    return Write(table.put(item, condition=condition, values=values), refused=lambda _: StaleRead())


def parts_of(days: Iterable[int]) -> list[tuple[int, Sum]]:
    """Every part of the days that exists, with its day."""
    wanted = [DayPart(each, part) for each in days for part in range(keys.SHARDS)]
    found = table.get_many(list(map(_key, wanted)))
    return [(place.day, _sum(item)) for place, item in zip(wanted, found, strict=True) if item]


def users_of(of_day: int) -> Ranking[str]:
    """A day's users with the most credits."""
    found, cut = _ranked(keys.system_user_ranks(day(of_day)), READ_USERS)
    return Ranking(of_day, {user: Standing(credits) for user, credits in map(keys.ranked_user, found)}, cut)


def names_of(of_day: int) -> Ranking[NameId]:
    """A day's services and models with the most merit."""
    found, cut = _ranked(keys.system_name_ranks(day(of_day)), READ_NAMES)
    standings: dict[NameId, Standing] = {}
    for kind, digest, merit, credits in map(keys.ranked_name, found):
        standings[NameId("service" if kind == "service" else "model", digest)] = Standing(credits, merit)
    return Ranking(of_day, standings, cut)


def users_at(wanted: Sequence[tuple[int, str]]) -> list[int]:
    """The credits of users on days, in the order asked for."""
    found = table.get_many([keys.system_user(day(of_day), user_id) for of_day, user_id in wanted])
    return [_sum(item).credits for item in found]


def names_at(wanted: Sequence[tuple[int, NameId]]) -> list[tuple[str, int]]:
    """The names with these ids and their credits on days, in the order asked for; ``""`` where there is none."""
    found = table.get_many([keys.system_name(day(of_day), *name) for of_day, name in wanted])
    return [(item["name"], item["credits"]) if item else ("", 0) for item in found]


def counts_at(wanted: Sequence[tuple[int, NameId]]) -> list[Mapping[str, int]]:
    """The usage counts of models on days, in the order asked for."""
    found = table.get_many([keys.system_name(day(of_day), *name) for of_day, name in wanted])
    return [_sum(item).counts for item in found]


def _ranked(partitions: Iterable[str], limit: int) -> tuple[list[Item], bool]:
    parts = [table.highest(keys.BY_KIND, pk, limit) for pk in partitions]
    return [item for found, _ in parts for item in found], any(cut for _, cut in parts)


def _key(place: Place) -> Key:
    match place:
        case DayPart(of_day, part):
            return keys.system_day(day(of_day), part)
        case UserDay(of_day, user_id):
            return keys.system_user(day(of_day), user_id)
        case NameDay(of_day, name):
            return keys.system_name(day(of_day), *name.id)


def _details(place: Place, after: Sum) -> dict[str, Any]:
    """The attributes that only one kind of place has: its rank, and those listed in ``Sum``."""
    match place:
        case DayPart():
            return {"newest": after.newest}
        case UserDay(of_day, user_id):
            rank = keys.system_user_rank(day(of_day), user_id, after.credits)
            return {**rank, "services": " ".join(after.services), "models": " ".join(after.models)}
        case NameDay(of_day, name):
            rank = keys.system_name_rank(day(of_day), *name.id, after.merit, after.credits)
            return {**rank, "name": name.text, "merit": after.merit}


def _sum(item: Item | None) -> Sum:
    if item is None:
        return Sum()
    return Sum(
        item["version"],
        item["records"],
        item["credits"],
        newest=item.get("newest", 0),
        services=tuple(item.get("services", "").split()),
        models=tuple(item.get("models", "").split()),
        merit=item.get("merit"),
        counts={name: item[name] for name in COUNTS if name in item},
        more=unknown(item, _KNOWN),
    )
