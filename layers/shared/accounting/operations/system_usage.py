"""System-wide statistics: counting new usage records exactly once, and reading the sums."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from itertools import batched, chain
from typing import Literal

from accounting.domain import system_usage as domain
from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import Invalid
from accounting.domain.series import MAX_DAYS, MAX_NAMES, Series, series
from accounting.domain.system_usage import Ranking, Standing
from accounting.domain.usage import Name, NameId, Sums, UsageRecord, add_each
from accounting.operations.commit import retry_conflicts
from accounting.store import keys, system
from accounting.store.table import MAX_BATCH, MAX_TRANSACTED, any_below, transact
from accounting.times import DAY, day, day_begin

DEFAULT_DAYS = 30
READERS = 8
"""How many threads read rankings at the same time. Each day has its own ranking."""

type By = Literal["model", "service", "user", "account"]
"""What a series groups credits by."""


def chunks(records: Iterable[UsageRecord]) -> Iterator[Sequence[UsageRecord]]:
    """Split the records into batches, each of which ``count`` can count in one transaction."""
    return domain.batches(records, MAX_TRANSACTED)


def count(records: Sequence[UsageRecord]) -> int:
    """Count a batch from ``chunks``: mark the records as counted and add them to the sums, in one transaction.

    Records that were counted before are skipped. Returns how many were new. Raises Contention.
    """
    part = any_below(keys.SHARDS)
    places = list(dict.fromkeys(chain.from_iterable(domain.places(record, part) for record in records)))

    def count_new() -> int:
        stored = system.sums_at(places)
        fresh = system.unmarked(records, system.marks_of(records))
        new = list(chain.from_iterable(fresh.values()))
        after = domain.counted(new, part, stored)
        if new:
            marks = [system.mark(marks, each) for marks, each in fresh.items()]
            transact([*marks, *(system.put(place, each) for place, each in after.items())])
        return len(new)

    return retry_conflicts(count_new)


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """Exact sums over whole days: in total, and for the users, services and models that rank first.

    Users rank by credits. Services and models rank by merit (decision 11). ``sums`` also has the usage by token
    class of the models that cost most. ``truncated`` means that users, services, models or usage by class are left out.
    ``series`` is None unless a caller asks for it.
    """

    sums: Sums
    by_day: dict[str, int]
    by_user: dict[str, int]
    truncated: bool
    as_of: int | None
    series: Series | None = None


def statistics(since: int | None, until: int | None, *, top: int, now: int, by: By | None = None) -> SystemStatistics:
    """The statistics of whole UTC days: every day with an instant from ``since`` until just before ``until``.

    By default, ``until`` is now, and ``since`` makes the range 30 days long. ``top`` is how many users are shown. If
    ``top`` is 0, ``truncated`` does not say whether users are left out. If ``top`` is 0 and ``by`` is ``user`` or
    ``account``, services and models are left out. Raises Invalid for more than ``MAX_DAYS``.
    """
    end = now + 1 if until is None else until
    begin = day_begin(end - 1) - (DEFAULT_DAYS - 1) * DAY if since is None else day_begin(since)
    if end - begin > MAX_DAYS * DAY:
        raise Invalid.field("startDate", f"at most {MAX_DAYS} days before endDate")
    sums = Sums()
    by_day: dict[int, int] = {}
    records: dict[int, int] = {}
    with_counts: set[int] = set()
    as_of: int | None = None
    for of_day, part in system.parts_of(range(begin, end, DAY)):
        sums.merge(Sums(part.records, part.credits, counts=dict(part.counts)))
        if part.counts:
            with_counts.add(of_day)
        by_day[of_day] = by_day.get(of_day, 0) + part.credits
        records[of_day] = records.get(of_day, 0) + part.records
        as_of = max(as_of or 0, part.newest)
    of_users = by in ("user", "account")
    users = _rankings(records, system.users_of, now) if top or of_users else []
    by_user, more_users = _by_user(users, max(top, MAX_NAMES)) if users else ({}, False)
    names = _rankings(records, system.names_of, now) if top or not of_users else []
    sums.by_service, more_services = _by_name("service", names)
    sums.by_model, more_models = _by_name("model", names)
    counted_days = [each for each in names if each.day in with_counts]
    sums.counts_by_model, more_counts = _counts_by_model(sums.by_model, counted_days)
    more_users = top > 0 and (more_users or len(by_user) > top)
    truncated = more_users or more_services or more_models or more_counts
    credits_by_day = {day(at): credits for at, credits in by_day.items()}
    match by:
        case None:
            wanted = None
        case "user":
            wanted = _series(credits_by_day, {each: each for each in by_user}, users, system.user_credits_at)
        case "account":
            accounts = _rankings(records, system.accounts_of, now)
            wanted = _series_by_account(credits_by_day, accounts, by_user, users)
        case _:
            credits = sums.by_model if by == "model" else sums.by_service
            ids = {Name(by, each).id: each for each in credits}
            wanted = _series(credits_by_day, ids, names, _credits_at)
    return SystemStatistics(sums, credits_by_day, dict([*by_user.items()][:top]), truncated, as_of, wanted)


def _rankings[Id](records: Mapping[int, int], ranking_of: Callable[[int], Ranking[Id]], now: int) -> list[Ranking[Id]]:
    """The ranking of each day. ``records`` maps each day to its number of records.

    Each day is read in a thread, with a copy of the request's context, so that the request's deadline applies there.
    """

    def read(of_day: int) -> Ranking[Id]:
        ended = of_day + DAY <= now
        return system.cached_ranking(ranking_of, of_day, records[of_day]) if ended else ranking_of(of_day)

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda context, each: context.run(read, each), [copy_context() for _ in records], records))


def _series[Id](
    by_day: Mapping[str, int],
    texts: Mapping[Id, str],
    days: Sequence[Ranking[Id]],
    credits_at: Callable[[Sequence[tuple[int, Id]]], Sequence[int]],
) -> Series:
    """The series of the first ``MAX_NAMES`` names in ``texts``. The caller sorts ``texts`` by credits, most first."""
    found = _by_day(list(texts)[:MAX_NAMES], days, credits_at)
    return series(by_day, {texts[each]: credits for each, credits in found.items()})


def _series_by_account(
    by_day: Mapping[str, int],
    accounts: Sequence[Ranking[AccountId]],
    by_user: Iterable[str],
    users: Sequence[Ranking[str]],
) -> Series:
    """The series of the accounts that paid most: organizations, and the personal accounts of users.

    ``accounts`` ranks only organizations. ``by_user`` is sorted by credits, most first. What a personal account paid is
    read from the sums of its user.
    """
    found = _by_day(domain.by_credits(domain.total(accounts))[:MAX_NAMES], accounts, system.account_credits_at)
    first = list(by_user)[:MAX_NAMES]
    wanted = [(each.day, user_id) for user_id in first for each in users if each.truncated or user_id in each.standings]
    for (of_day, user_id), credits in zip(wanted, system.paid_by_users_at(wanted), strict=True):
        found.setdefault(personal(user_id), {})[day(of_day)] = credits
    return series(by_day, {each: credits for each, credits in found.items() if any(credits.values())})


def _by_day[Id](
    ids: Sequence[Id], days: Sequence[Ranking[Id]], credits_at: Callable[[Sequence[tuple[int, Id]]], Sequence[int]]
) -> dict[Id, dict[str, int]]:
    """The credits of each id on each day. ``credits_at`` reads those that a day's ranking does not show."""
    found = {
        each: {day(ranking.day): ranking.standings[each].credits for ranking in days if each in ranking.standings}
        for each in ids
    }
    unseen = domain.unseen(ids, days)
    for (of_day, each), credits in zip(unseen, credits_at(unseen), strict=True):
        found[each][day(of_day)] = credits
    return found


def _credits_at(wanted: Sequence[tuple[int, NameId]]) -> list[int]:
    return [credits for _, credits in system.names_at(wanted)]


def _by_user(days: Sequence[Ranking[str]], top: int) -> tuple[dict[str, int], bool]:
    """The users who spent most, with their credits, and whether there are more users."""
    totals = domain.total(days)
    shown = {user_id: totals[user_id].credits for user_id in domain.by_credits(totals)[:top]}
    unseen = domain.unseen(shown, days)
    for (_, user_id), credits in zip(unseen, system.user_credits_at(unseen), strict=True):
        shown[user_id] += credits
    return _most_credits_first(shown), len(shown) < len(totals) or _any_truncated(days)


def _by_name(kind: str, days: Sequence[Ranking[NameId]]) -> tuple[dict[str, int], bool]:
    """The names of this kind that rank first, with their credits, and whether any names are left out.

    The result has as many names as fit in an answer.
    """
    totals = {name: standing for name, standing in domain.total(days).items() if name.kind == kind}
    ranked = domain.by_merit(totals)
    shown = dict(domain.fitting(_exact(ranked[: domain.MAX_SHOWN], totals, days), domain.MAP_BYTES))
    return _most_credits_first(shown), len(shown) < len(totals) or _any_truncated(days)


def _counts_by_model(models: Iterable[str], days: Sequence[Ranking[NameId]]) -> tuple[dict[str, dict[str, int]], bool]:
    """The usage by class of ``models``, and whether any are left out.

    If an answer has no room for the usage of all models, the last models are left out.
    """
    if not days:
        return {}, False
    names = [Name("model", model) for model in models]
    counted = names[: domain.MAX_MODELS_COUNTED]
    wanted = [(each.day, name) for name in counted for each in days if each.truncated or name.id in each.standings]
    found = system.counts_at([(of_day, name.id) for of_day, name in wanted])
    totals: dict[str, dict[str, int]] = {}
    for (_, name), counts in zip(wanted, found, strict=True):
        if counts:
            add_each(totals.setdefault(name.text, {}), counts)
    shown = dict(domain.fitting(totals.items(), domain.COUNTS_BYTES))
    return shown, len(shown) < len(totals) or len(counted) < len(names)


def _exact(
    ids: Sequence[NameId], totals: Mapping[NameId, Standing], days: Sequence[Ranking[NameId]]
) -> Iterator[tuple[str, int]]:
    """Yield each id's name, with the id's credits over all days. Both are read lazily, in batches."""
    for group in batched(ids, MAX_BATCH, strict=False):
        seen = [next((ranking.day, each) for ranking in days if each in ranking.standings) for each in group]
        texts = [text for text, _ in system.names_at(seen)]
        credits = {each: totals[each].credits for each in group}
        unseen = domain.unseen(group, days)
        for (_, each), (_, more) in zip(unseen, system.names_at(unseen), strict=True):
            credits[each] += more
        yield from zip(texts, credits.values(), strict=True)


def _any_truncated[Id](days: Iterable[Ranking[Id]]) -> bool:
    return any(ranking.truncated for ranking in days)


def _most_credits_first(credits: dict[str, int]) -> dict[str, int]:
    return dict(sorted(credits.items(), key=lambda each: (-each[1], each[0])))
