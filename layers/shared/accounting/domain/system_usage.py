"""The system's sums of a day: what a batch of records adds to which of them, and which names and users are shown.

Names come from callers, who may make up as many as they like, with any number of credits. Two rules keep them from
pushing others out of an answer:

- A name ranks by its **merit**: the credits that users contributed who had it among their first names of that day.
  One user gives merit to ``MAX_NAMES_OF_USER`` services and as many models, and so takes at most that many places.
- The names shown fit ``MAP_BYTES`` of JSON. Names longer than ``MAX_NAME_BYTES`` have no merit, so that one user's
  places leave room for others.

Sums are exact for every name, with merit or without.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from accounting.domain.allocations import DAY
from accounting.domain.usage import NO_COUNTS, Name, NameId, UsageRecord, add_each

MAX_NAMES_OF_USER = 50
"""To how many services, and to how many models, a user gives merit on one day."""

MAX_NAME_BYTES = 300
"""The longest name that has merit, as JSON: every model id that prices may have fits."""

MAP_BYTES = 60_000
"""How much JSON the names of one map may take in an answer."""

MAX_MODELS_COUNTED = 100
"""Of how many models an answer says what they used by class: those with the most credits."""

COUNTS_BYTES = 40_000
"""How much JSON that may take in an answer."""

MAX_SHOWN = 1000
"""How many names of one map an answer has at most."""

_REMEMBERED = 8
"""How many characters of a name's digest a user's sums remember it by: 48 bits, to tell apart 50 names."""


@dataclass(frozen=True, slots=True)
class DayPart:
    """One of the parts that everybody's sums of a day are spread over. ``day`` is the first instant of a UTC day."""

    day: int
    part: int


@dataclass(frozen=True, slots=True)
class UserDay:
    """One user's sums of a day."""

    day: int
    user_id: str


@dataclass(frozen=True, slots=True)
class NameDay:
    """Everybody's sums of a day for one service or model."""

    day: int
    name: Name


type Place = DayPart | UserDay | NameDay


@dataclass(frozen=True, slots=True)
class Sum:
    """What stands at a place, and its ``version``.

    A day's part knows when its ``newest`` record was made, a user's day the ``services`` and ``models`` that the user
    gives merit to, in short, and a name's day its ``merit``: None when nobody has given it any. A day's part and a
    model's day have the ``counts`` of usage. ``more`` is what a newer version wrote; this one hands it on.
    """

    version: int = 0
    records: int = 0
    credits: int = 0
    newest: int = 0
    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    merit: int | None = None
    counts: Mapping[str, int] = field(default=NO_COUNTS, hash=False)
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)


def places(record: UsageRecord, part: int) -> list[Place]:
    """Where a record counts."""
    day = record.at - record.at % DAY
    return [DayPart(day, part), UserDay(day, record.user_id), *(NameDay(day, name) for name in record.names)]


def batches(records: Iterable[UsageRecord], most: int) -> Iterator[list[UsageRecord]]:
    """Runs of records for each of which no more than ``most`` items are written: a mark a record, and the sums."""
    batch: list[UsageRecord] = []
    touched: set[Place] = set()
    for record in records:
        with_record = touched.union(places(record, 0))
        if batch and len(batch) + 1 + len(with_record) > most:
            yield batch
            batch, with_record = [], set(places(record, 0))
        batch.append(record)
        touched = with_record
    if batch:
        yield batch


def counted(records: Iterable[UsageRecord], part: int, stored: Mapping[Place, Sum]) -> dict[Place, Sum]:
    """The sums that change when records are counted, as they are afterwards, given those that are stored."""
    after: dict[Place, Sum] = {}
    for record in records:
        day, user, *names = places(record, part)
        user_sum, merited = _known_to_user(after.get(user) or stored[user], record)
        after[user] = _plus(user_sum, record)
        day_sum = _plus(after.get(day) or stored[day], record, record.counts)
        after[day] = replace(day_sum, newest=max(day_sum.newest, record.at))
        for place, name in zip(names, record.names, strict=True):
            counts = record.counts if name.kind == "model" else NO_COUNTS
            name_sum = _plus(after.get(place) or stored[place], record, counts)
            if name in merited:
                name_sum = replace(name_sum, merit=(name_sum.merit or 0) + record.credits)
            after[place] = name_sum
    return after


def _plus(known: Sum, record: UsageRecord, counts: Mapping[str, int] = NO_COUNTS) -> Sum:
    total = dict(known.counts)
    add_each(total, counts)
    return replace(known, records=known.records + 1, credits=known.credits + record.credits, counts=total)


def _known_to_user(user: Sum, record: UsageRecord) -> tuple[Sum, set[Name]]:
    """The user's sums with the record's names remembered as far as there is room, and which names are."""
    merited = set()
    for name in record.names:
        remembered = user.services if name.kind == "service" else user.models
        short = name.id.digest[:_REMEMBERED]
        if short not in remembered:
            if len(remembered) >= MAX_NAMES_OF_USER or len(json.dumps(name.text)) > MAX_NAME_BYTES:
                continue
            remembered = (*remembered, short)
            user = replace(user, services=remembered) if name.kind == "service" else replace(user, models=remembered)
        merited.add(name)
    return user, merited


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user or a name comes to. Users rank by credits, names by merit; those without any come last."""

    credits: int
    merit: int | None = None

    def plus(self, other: "Standing") -> "Standing":
        """Both together."""
        merit = other.merit if self.merit is None else self.merit + (other.merit or 0)
        return Standing(self.credits + other.credits, merit)


@dataclass(frozen=True, slots=True)
class Ranking[Id]:
    """The first of a day, by what they come to; ``cut`` when there are more."""

    day: int
    found: Mapping[Id, Standing]
    cut: bool


def total[Id](rankings: Iterable[Ranking[Id]]) -> dict[Id, Standing]:
    """What each one found comes to over all days. Whoever a cut day lacks may come to more: see ``unseen``."""
    totals: dict[Id, Standing] = {}
    for ranking in rankings:
        for name, standing in ranking.found.items():
            totals[name] = totals[name].plus(standing) if name in totals else standing
    return totals


def unseen[Id](ids: Iterable[Id], rankings: Sequence[Ranking[Id]]) -> list[tuple[int, Id]]:
    """The days on which something of ``ids`` may be that their ranking did not show, because it was cut."""
    cut = [ranking for ranking in rankings if ranking.cut]
    return [(ranking.day, each) for each in ids for ranking in cut if each not in ranking.found]


def by_credits(totals: Mapping[str, Standing]) -> list[str]:
    """Users, the most credits first."""
    return sorted(totals, key=lambda each: (-totals[each].credits, each))


def by_merit(totals: Mapping[NameId, Standing]) -> list[NameId]:
    """Names, the most merit first; at the end those without any."""

    def place(each: NameId) -> tuple[bool, int, NameId]:
        merit = totals[each].merit
        return merit is None, -(merit or 0), each

    return sorted(totals, key=place)


def fitting[Value](names: Iterable[tuple[str, Value]], most_bytes: int) -> Iterator[tuple[str, Value]]:
    """The first names and their values that together take no more than ``most_bytes`` as a JSON object."""
    taken = len("{}") - len(",")
    for name, value in names:
        taken += len(json.dumps({name: value}, separators=(",", ":"))) - len("{}") + len(",")
        if taken > most_bytes:
            return
        yield name, value
