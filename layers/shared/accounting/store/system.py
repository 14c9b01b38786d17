"""The system's sums of each day: the total, and the sums and ranks of users, paying accounts, services and models.

A sum is stored at a place, for example one user's day. Services and models are called names. They rank by merit, which
``domain/system_usage`` explains.

Marks show which records the sums include. Time is divided into slots of five minutes. The marks of all records of a
slot are stored together in a few items, so that counting many records writes only a few items of marks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import batched
from typing import Any, NamedTuple

from accounting.domain import usage
from accounting.domain.accounts import AccountId
from accounting.domain.model_usage import COUNTS
from accounting.domain.system_usage import AccountDay, DayPart, NameDay, Place, Ranking, Standing, Sum, UserDay, slot
from accounting.domain.usage import NameId, UsageRecord
from accounting.store import keys, table
from accounting.store.cache import Cache
from accounting.store.formats import unknown
from accounting.store.keys import Key
from accounting.store.stale import StaleRead
from accounting.store.table import Item, Write
from accounting.times import DAY, day

_KNOWN = {"version", "records", "credits", "newest", "services", "models", "merit", "name", "paid_by_others", *COUNTS}

READ_USERS = 1000
"""How many users, or paying accounts, are read from each partition of a day's ranking."""

READ_NAMES = 200
"""How many services and models are read from each partition of a day's ranking."""

KEPT_SECONDS = 15 * 60
"""How long the process keeps the ranking of a day that has ended."""

MOST_KEPT = 150_000
"""How many users, accounts and names the kept rankings may have together. The rankings then take up to 40 MB."""

MARK_LENGTH = 8
"""How many characters a mark has. Each character is 6 bits of the digest of a record's id."""

_FULL = 500 * MARK_LENGTH
"""An item with this many characters of marks, or more, gets no further marks."""

_MARKS_KEPT = 3 * DAY
"""How long marks are kept: longer than the 24 hours for which the DynamoDB stream can repeat a record."""


class Marks(NamedTuple):
    """The marks of a slot's counted records, and the item that gets the next marks: its number, text and version."""

    slot: int
    known: frozenset[str]
    number: int = 0
    text: str = ""
    version: int = 0


def sums_at(places: Sequence[Place]) -> dict[Place, Sum]:
    found = table.get_many(list(map(_key, places)))
    return {place: _sum(item) for place, item in zip(places, found, strict=True)}


def marks_of(records: Iterable[UsageRecord]) -> list[Marks]:
    """The marks of every slot of time that has one of the records."""
    return [_marks(each) for each in dict.fromkeys(map(slot, records))]


def _marks(of_slot: int) -> Marks:
    part = keys.system_marks(of_slot)
    items = list(table.query_all(part.pk, part.low, part.high, forward=True))
    known = frozenset("".join(mark) for item in items for mark in batched(item["marks"], MARK_LENGTH, strict=True))
    if items and len(items[-1]["marks"]) < _FULL:
        return Marks(of_slot, known, len(items) - 1, items[-1]["marks"], items[-1]["version"])
    return Marks(of_slot, known, len(items))


def unmarked(records: Iterable[UsageRecord], marks: Sequence[Marks]) -> dict[Marks, list[UsageRecord]]:
    """The records that are not counted yet, without repeats, grouped by the marks of their slot."""
    of_slot = {each.slot: each for each in marks}
    fresh: dict[Marks, dict[str, UsageRecord]] = {}
    for record in records:
        if mark_of(record) not in of_slot[slot(record)].known:
            fresh.setdefault(of_slot[slot(record)], {})[record.id] = record
    return {each: list(found.values()) for each, found in fresh.items()}


def mark(marks: Marks, records: Iterable[UsageRecord]) -> Write:
    """Mark records of one slot as counted. Refused with StaleRead if the slot has newer marks.

    Two writers that have read the same marks choose the same item, so that only one of them succeeds.
    """
    item: Item = {
        **keys.system_marks_part(marks.slot, marks.number),
        "marks": marks.text + "".join(map(mark_of, records)),
        "ttl": (marks.slot + _MARKS_KEPT) // 1000,
    }
    return _replace(item, marks.version)


def mark_of(record: UsageRecord) -> str:
    """The characters that represent the record in the marks."""
    return usage.digest(record.id)[:MARK_LENGTH]


def put(place: Place, after: Sum) -> Write:
    """Replace the sum at a place. ``after`` has the new values, and the version that was read.

    Refused with StaleRead if the stored sum has another version.
    """
    item = {
        **after.more,
        **_key(place),
        **_details(place, after),
        **after.counts,
        "records": after.records,
        "credits": after.credits,
    }
    return _replace(item, after.version)


def _replace(item: Item, version: int) -> Write:
    """Put an item as the next version. Refused with StaleRead unless the stored version is ``version`` (0: no item)."""
    condition, values = "attribute_not_exists(pk)", None
    if version:
        condition, values = "version = :seen", {":seen": version}
    action = table.put({**item, "version": version + 1}, condition=condition, values=values)
    return Write(action, refused=lambda _: StaleRead())


def parts_of(days: Iterable[int]) -> list[tuple[int, Sum]]:
    """The stored parts of the days' sums, each with its day."""
    wanted = [DayPart(each, part) for each in days for part in range(keys.SHARDS)]
    found = table.get_many(list(map(_key, wanted)))
    return [(place.day, _sum(item)) for place, item in zip(wanted, found, strict=True) if item]


def users_of(of_day: int) -> Ranking[str]:
    """The users who used the most credits on a day."""
    found, cut = _ranked(keys.system_user_ranks(day(of_day)), READ_USERS)
    return Ranking(of_day, {user: Standing(credits) for user, credits in map(keys.ranked_user, found)}, cut)


def accounts_of(of_day: int) -> Ranking[AccountId]:
    """The accounts that paid the most credits for others on a day."""
    found, cut = _ranked(keys.system_account_ranks(day(of_day)), READ_USERS)
    return Ranking(of_day, {each: Standing(credits) for each, credits in map(keys.ranked_account, found)}, cut)


def names_of(of_day: int) -> Ranking[NameId]:
    """A day's services and models with the most merit."""
    found, cut = _ranked(keys.system_name_ranks(day(of_day)), READ_NAMES)
    standings: dict[NameId, Standing] = {}
    for kind, digest, merit, credits in map(keys.ranked_name, found):
        standings[NameId("service" if kind == "service" else "model", digest)] = Standing(credits, merit)
    return Ranking(of_day, standings, cut)


def cached_ranking[Id](ranking_of: Callable[[int], Ranking[Id]], of_day: int, records: int) -> Ranking[Id]:
    """The ranking of a day that has ended. ``records`` is the day's current number of records.

    The process keeps the ranking while this number stays the same, because a ranking changes only if more records of
    the day are counted.
    """
    return _kept.get(f"{ranking_of.__name__} {of_day} {records}", ranking_of, of_day)


def forget() -> None:
    _kept.forget()


def _read(_name: str, ranking_of: Callable[[int], Ranking[Any]], of_day: int) -> Ranking[Any]:
    return ranking_of(of_day)


_kept = Cache(_read, KEPT_SECONDS, MOST_KEPT, size=lambda ranking: 1 + len(ranking.standings))


def user_credits_at(wanted: Sequence[tuple[int, str]]) -> list[int]:
    """For each pair of a day and a user, the user's credits of that day, in the same order."""
    found = table.get_many([keys.system_user(day(of_day), user_id) for of_day, user_id in wanted])
    return [_sum(item).credits for item in found]


def account_credits_at(wanted: Sequence[tuple[int, AccountId]]) -> list[int]:
    """For each pair of a day and an account, what the account paid for others on that day, in the same order."""
    found = table.get_many([keys.system_account(day(of_day), account_id) for of_day, account_id in wanted])
    return [_sum(item).credits for item in found]


def paid_by_users_at(wanted: Sequence[tuple[int, str]]) -> list[int]:
    """For each pair of a day and a user, what the user's own account paid on that day, in the same order."""
    found = table.get_many([keys.system_user(day(of_day), user_id) for of_day, user_id in wanted])
    return [each.credits - each.paid_by_others for each in map(_sum, found)]


def names_at(wanted: Sequence[tuple[int, NameId]]) -> list[tuple[str, int]]:
    """For each pair of a day and a name's id, in order: the name, and its credits on that day.

    An unused name is ``""``, with 0 credits.
    """
    found = table.get_many([keys.system_name(day(of_day), *name) for of_day, name in wanted])
    return [(item["name"], item["credits"]) if item else ("", 0) for item in found]


def counts_at(wanted: Sequence[tuple[int, NameId]]) -> list[Mapping[str, int]]:
    """For each pair of a day and a model, the model's usage counts of that day, in the same order."""
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
        case AccountDay(of_day, account_id):
            return keys.system_account(day(of_day), account_id)


def _details(place: Place, after: Sum) -> dict[str, Any]:
    """The attributes that only this kind of place has: its rank, and the fields of ``Sum`` for this kind."""
    match place:
        case DayPart():
            return {"newest": after.newest}
        case UserDay(of_day, user_id):
            rank = keys.system_user_rank(day(of_day), user_id, after.credits)
            others = {"paid_by_others": after.paid_by_others} if after.paid_by_others else {}
            return {**rank, "services": " ".join(after.services), "models": " ".join(after.models), **others}
        case NameDay(of_day, name):
            rank = keys.system_name_rank(day(of_day), *name.id, after.merit, after.credits)
            return {**rank, "name": name.text, "merit": after.merit}
        case AccountDay(of_day, account_id):
            return {**keys.system_account_rank(day(of_day), account_id, after.credits)}


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
        paid_by_others=item.get("paid_by_others", 0),
        counts={name: item[name] for name in COUNTS if name in item},
        more=unknown(item, _KNOWN),
    )
