"""System-wide statistics: counting new usage records exactly once, and reading the sums."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched

from accounting.domain.errors import Invalid
from accounting.domain.usage import Sums, UsageRecord
from accounting.operations.commit import without_conflict
from accounting.store import keys, system
from accounting.store.system import Day, UserDay
from accounting.store.table import any_below, transact
from accounting.times import DAY, day, day_begin

CHUNK = 45
"""Records a transaction counts: each is a mark, at most one user and at most one day, of at most 100 items."""

DEFAULT_DAYS = 30
MAX_DAYS = 400


def chunks[T](records: Sequence[T]) -> Iterator[Sequence[T]]:
    """Runs of records that one transaction can count."""
    return batched(records, CHUNK, strict=False)


def count(records: Sequence[UsageRecord]) -> int:
    """Count at most ``CHUNK`` records, the marks that they are counted and all sums in one transaction.

    Records that are counted already add nothing. Returns how many were new. Raises Contention.
    """
    part = any_below(keys.SHARDS)

    def step() -> int:
        names = sorted({day(record.at) for record in records})
        user_days = sorted({(day(record.at), record.user_id) for record in records})
        fresh, days, users = system.read(
            records,
            [Day(name, part) for name in names],
            [UserDay(user_id, name) for name, user_id in user_days],
        )
        by_day = {each.name: each for each in days}
        by_user = {(each.name, each.user_id): each for each in users}
        touched_days, touched_users = {}, {}
        for record in fresh:
            name = day(record.at)
            touched_days[name] = by_day[name]
            touched_users[name, record.user_id] = by_user[name, record.user_id]
            by_day[name].add(record)
            by_user[name, record.user_id].add(record)
        if fresh:
            transact(
                [
                    *map(system.mark, fresh),
                    *map(system.put_day, touched_days.values()),
                    *map(system.put_user, touched_users.values()),
                ]
            )
        return len(fresh)

    return without_conflict(step)


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """Everybody's sums over whole days, and the users with the most credits in them."""

    sums: Sums
    by_day: dict[str, int]
    by_user: dict[str, int]
    truncated: bool
    as_of: int | None


def statistics(since: int | None, until: int | None, *, top: int, now: int) -> SystemStatistics:
    """The statistics of the UTC days that ``since <= at < until`` touches, by default the last 30.

    Raises Invalid for more than ``MAX_DAYS``.
    """
    end = now + 1 if until is None else until
    begin = day_begin(end - 1) - (DEFAULT_DAYS - 1) * DAY if since is None else day_begin(since)
    if end - begin > MAX_DAYS * DAY:
        raise Invalid.field("startDate", f"at most {MAX_DAYS} days before endDate")
    names = [day(at) for at in range(begin, end, DAY)]
    total = Sums()
    by_day: dict[str, int] = {}
    by_user: dict[str, int] = {}
    as_of: int | None = None
    more = False
    for each in system.sums_of(names):
        total.merge(each.sums)
        by_day[each.name] = by_day.get(each.name, 0) + each.sums.credits
        as_of = max(as_of or 0, each.newest)
    for name in by_day:
        users, cut = system.users_of(name)
        more = more or cut
        for user_id, credits in users.items():
            by_user[user_id] = by_user.get(user_id, 0) + credits
    ranked = sorted(by_user.items(), key=lambda each: (-each[1], each[0]))
    return SystemStatistics(total, by_day, dict(ranked[:top]), more or len(ranked) > top, as_of)
