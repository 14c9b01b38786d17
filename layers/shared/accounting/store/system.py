"""System-wide sums: per UTC day, spread over a few items, and per user and day, ranked by credits."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from accounting.domain.usage import Sums, UsageRecord
from accounting.store import keys, table
from accounting.store.moved import Moved
from accounting.store.table import Item, Write

MAX_NAMES = 50
OTHER = "other"
READ_USERS = 1000
"""How many of a day's users are read from each part of its ranking: with fewer, sums by user are exact."""


@dataclass(slots=True)
class Day:
    """The sums of one part of a day. ``newest`` is when the newest record in it was made."""

    name: str
    part: int
    version: int = 0
    newest: int = 0
    sums: Sums = field(default_factory=Sums)

    def add(self, record: UsageRecord) -> None:
        """Count a record, under the names that there is room for."""
        self.newest = max(self.newest, record.at)
        service = _fit(record.service, self.sums.by_service)
        model = None if record.model_id is None else _fit(record.model_id, self.sums.by_model)
        self.sums.add(service, model, record.credits)


@dataclass(slots=True)
class UserDay:
    """One user's sums of one day."""

    user_id: str
    name: str
    version: int = 0
    records: int = 0
    credits: int = 0

    def add(self, record: UsageRecord) -> None:
        """Count a record."""
        self.records += 1
        self.credits += record.credits


def read(
    records: Iterable[UsageRecord], days: Iterable[Day], users: Iterable[UserDay]
) -> tuple[list[UsageRecord], list[Day], list[UserDay]]:
    """The records that were not counted yet, and the sums as they stand."""
    records, days, users = list(records), list(days), list(users)
    found = table.get_many(
        [
            *(keys.usage(record.account_id, record.at, record.id) for record in records),
            *(keys.system_day(each.name, each.part) for each in days),
            *(keys.system_user(each.name, each.user_id) for each in users),
        ]
    )
    marks, sums = found[: len(records)], found[len(records) :]
    fresh = [record for record, item in zip(records, marks, strict=True) if item and "counted" not in item]
    day_items, user_items = sums[: len(days)], sums[len(days) :]
    return (
        fresh,
        [_day(each.name, each.part, item) for each, item in zip(days, day_items, strict=True)],
        [_user(each.name, each.user_id, item) for each, item in zip(users, user_items, strict=True)],
    )


def mark(record: UsageRecord) -> Write:
    """Mark a record as counted, if it is not; else Moved."""
    return Write(
        table.update(
            keys.usage(record.account_id, record.at, record.id),
            "SET counted = :yes",
            values={":yes": True},
            condition="attribute_exists(pk) AND attribute_not_exists(counted)",
        ),
        refused=lambda _: Moved(),
    )


def put_day(day: Day) -> Write:
    """Replace the part of a day that was read; Moved when it has changed since."""
    return _replace(
        {
            **keys.system_day(day.name, day.part),
            "newest": day.newest,
            "records": day.sums.records,
            "credits": day.sums.credits,
            "services": table.compact(day.sums.by_service),
            "models": table.compact(day.sums.by_model),
        },
        day.version,
    )


def put_user(user: UserDay) -> Write:
    """Replace a user's day that was read; Moved when it has changed since."""
    return _replace(
        {
            **keys.system_user(user.name, user.user_id),
            **keys.system_user_rank(user.name, user.user_id, user.credits),
            "records": user.records,
            "credits": user.credits,
        },
        user.version,
    )


def sums_of(names: Iterable[str]) -> list[Day]:
    """Every part of the days that has something in it."""
    wanted = [(name, part) for name in names for part in range(keys.SHARDS)]
    found = table.get_many([keys.system_day(name, part) for name, part in wanted])
    return [_day(name, part, item) for (name, part), item in zip(wanted, found, strict=True) if item]


def users_of(name: str) -> tuple[dict[str, int], bool]:
    """The credits of a day's users, and whether there are more than were read."""
    ranked: dict[str, int] = {}
    more = False
    for part in keys.system_user_ranks(name):
        found, position = table.newest(keys.BY_KIND, [part], before=None, limit=READ_USERS)
        more = more or position is not None
        ranked |= dict(map(keys.ranked_user, found))
    return ranked, more


def _replace(item: Item, version: int) -> Write:
    condition, values = ("version = :seen", {":seen": version}) if version else ("attribute_not_exists(pk)", None)
    return Write(
        table.put({**item, "version": version + 1}, condition=condition, values=values), refused=lambda _: Moved()
    )


def _fit(name: str, known: dict[str, int]) -> str:
    return name if name in known or len(known) < MAX_NAMES else OTHER


def _day(name: str, part: int, item: Item | None) -> Day:
    if item is None:
        return Day(name, part)
    sums = Sums(item["records"], item["credits"], json.loads(item["services"]), json.loads(item["models"]))
    return Day(name, part, item["version"], item["newest"], sums)


def _user(name: str, user_id: str, item: Item | None) -> UserDay:
    if item is None:
        return UserDay(user_id, name)
    return UserDay(user_id, name, item["version"], item["records"], item["credits"])
