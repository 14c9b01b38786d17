"""System-wide sums for each day: which sums a batch of usage records changes, and what an answer shows.

Callers choose the names of services and models. They can invent any number of names, with any number of credits. Two
rules prevent them from pushing other names out of an answer about one day:

- A name ranks by its **merit**, not by all of its credits. A record adds its credits to the merit of its service and of
  its model. But on each day, a user's records give merit only to the first ``MAX_NAMES_OF_USER`` services and the first
  ``MAX_NAMES_OF_USER`` models that the user used.
- The services in an answer take at most ``MAP_BYTES`` of JSON. The models in an answer also take at most
  ``MAP_BYTES``. Names longer than ``MAX_NAME_BYTES`` have no merit, so that one user's names with merit cannot fill an
  answer.

The sums of a name are exact, whether it has merit or not. In an answer about several days, one user can give merit
to more names, because the first rule applies to each day separately. That rule cannot apply to several days together,
because the sums of a name do not say which users gave merit to the name.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from accounting.domain.accounts import AccountId, personal
from accounting.domain.allocations import DAY
from accounting.domain.usage import NO_COUNTS, Name, NameId, UsageRecord, add_each

MAX_NAMES_OF_USER = 50
"""The most services, and the most models, to which one user gives merit on one day."""

MAX_NAME_BYTES = 300
"""The most bytes of JSON that a name with merit may have. No model id of a price rule is longer."""

MAP_BYTES = 60_000
"""The most bytes of JSON that the services and their sums may take in an answer. The models have the same limit."""

MAX_MODELS_COUNTED = 100
"""An answer shows usage by class (input, output and so on) for at most this many models, the most credits first."""

COUNTS_BYTES = 40_000
"""The most bytes of JSON that usage by class may take in an answer."""

MAX_SHOWN = 1000
"""The most services, and the most models, in an answer."""

SLOT = DAY // 288
"""Five minutes. One item for each slot marks which of its records were counted."""

MAX_IN_BATCH = 400
"""The most records that are counted together."""

_REMEMBERED = 8
"""How many characters of each name's digest a user's sums keep. The 48 bits of 8 characters tell 50 names apart."""


@dataclass(frozen=True, slots=True)
class DayPart:
    """One of the parts into which a day's sums over all users are split. ``day`` is the first instant of a UTC day."""

    day: int
    part: int


@dataclass(frozen=True, slots=True)
class UserDay:
    """The place of one user's sums for a day."""

    day: int
    user_id: str


@dataclass(frozen=True, slots=True)
class NameDay:
    """The place of a day's sums over all users for one service or model."""

    day: int
    name: Name


@dataclass(frozen=True, slots=True)
class AccountDay:
    """The place of one day's sums for an organization's account: what the account paid."""

    day: int
    account_id: AccountId


type Place = DayPart | UserDay | NameDay | AccountDay


@dataclass(frozen=True, slots=True)
class Sum:
    """The sums stored at one place. ``version`` counts their changes.

    Some fields belong only to some kinds of places. A day's part has ``newest``, the time of its newest record. A
    user's day has short digests of the ``services`` and ``models`` to which the user gives merit, and
    ``paid_by_others``, the part of ``credits`` that organizations paid. A name's day has the name's ``merit``, None if
    no user gives merit to the name. A day's part and a model's day have ``counts`` of usage. ``more`` has fields that a
    newer release of the service wrote; this release keeps them unchanged.
    """

    version: int = 0
    records: int = 0
    credits: int = 0
    newest: int = 0
    services: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    merit: int | None = None
    paid_by_others: int = 0
    counts: Mapping[str, int] = field(default=NO_COUNTS, hash=False)
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)


def places(record: UsageRecord, part: int) -> list[Place]:
    """The places whose sums include a record."""
    day = record.at - record.at % DAY
    others = [AccountDay(day, account_id) for account_id in record.accounts if account_id != personal(record.user_id)]
    return [DayPart(day, part), UserDay(day, record.user_id), *(NameDay(day, name) for name in record.names), *others]


def slot(record: UsageRecord) -> int:
    """The beginning of the slot of time in which a record was made."""
    return record.at - record.at % SLOT


def batches(records: Iterable[UsageRecord], max_items: int) -> Iterator[list[UsageRecord]]:
    """Batches of records. A batch writes at most ``max_items`` items: one of marks for each slot, one for each sum."""
    batch: list[UsageRecord] = []
    touched: set[Place | int] = set()
    for record in records:
        own = {slot(record), *places(record, 0)}
        with_record = touched | own
        if batch and (len(with_record) > max_items or len(batch) == MAX_IN_BATCH):
            yield batch
            batch, with_record = [], own
        batch.append(record)
        touched = with_record
    if batch:
        yield batch


def counted(records: Iterable[UsageRecord], part: int, stored: Mapping[Place, Sum]) -> dict[Place, Sum]:
    """The sums that change when records are counted, with their new values. ``stored`` has the old values."""
    after: dict[Place, Sum] = {}
    for record in records:
        day, user, *rest = places(record, part)
        names, others = rest[: len(record.names)], rest[len(record.names) :]
        user_sum, merited = _with_names(after.get(user) or stored[user], record)
        paid_by_others = user_sum.paid_by_others + (record.credits if others else 0)
        after[user] = replace(_plus(user_sum, record), paid_by_others=paid_by_others)
        for account in others:
            after[account] = _plus(after.get(account) or stored[account], record)
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


def _with_names(user: Sum, record: UsageRecord) -> tuple[Sum, set[Name]]:
    """Add a record's names to its user's sums. Names that are too long, or beyond the limit, are left out.

    Return the new sums, and the record's names that they include.
    """
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
    """The sums by which users and names rank: users by credits, names by merit. Names without merit come last."""

    credits: int
    merit: int | None = None

    def plus(self, other: "Standing") -> "Standing":
        merit = other.merit if self.merit is None else self.merit + (other.merit or 0)
        return Standing(self.credits + other.credits, merit)


@dataclass(frozen=True, slots=True)
class Ranking[Id]:
    """The top users, accounts or names of one day; ``truncated`` if there are more."""

    day: int
    standings: Mapping[Id, Standing]
    truncated: bool


def total[Id](rankings: Iterable[Ranking[Id]]) -> dict[Id, Standing]:
    """The total of each id over all days. If a truncated day lacks an id, the total may be too low: see ``unseen``."""
    totals: dict[Id, Standing] = {}
    for ranking in rankings:
        for name, standing in ranking.standings.items():
            totals[name] = totals[name].plus(standing) if name in totals else standing
    return totals


def unseen[Id](ids: Iterable[Id], rankings: Sequence[Ranking[Id]]) -> list[tuple[int, Id]]:
    """Pairs of a day and an id that the day's truncated ranking lacks. The day may still have credits for the id."""
    truncated = [ranking for ranking in rankings if ranking.truncated]
    return [(ranking.day, each) for each in ids for ranking in truncated if each not in ranking.standings]


def by_credits[Id: str](totals: Mapping[Id, Standing]) -> list[Id]:
    """Users or accounts, the most credits first."""
    return sorted(totals, key=lambda each: (-totals[each].credits, each))


def by_merit(totals: Mapping[NameId, Standing]) -> list[NameId]:
    """Names, the most merit first; names without merit come last."""

    def place(each: NameId) -> tuple[bool, int, NameId]:
        merit = totals[each].merit
        return merit is None, -(merit or 0), each

    return sorted(totals, key=place)


def fitting[Value](names: Iterable[tuple[str, Value]], most_bytes: int) -> Iterator[tuple[str, Value]]:
    """The first names with their values, as many as fit in a JSON object of ``most_bytes``."""
    taken = len("{}") - len(",")
    for name, value in names:
        taken += len(json.dumps({name: value}, separators=(",", ":"))) - len("{}") + len(",")
        if taken > most_bytes:
            return
        yield name, value
