"""The series in the statistics of the system, users and accounts: credits by day for each model, service and so on."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from accounting.domain.accounts import stored
from accounting.operations import system_usage, usage
from accounting.operations.usage import Event
from accounting.store import keys, system
from accounting.times import DAY, day
from tests.integration.conftest import NOW
from tests.members import organization_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from accounting.domain.accounts import AccountId
    from accounting.domain.series import Series
    from accounting.domain.usage import UsageRecord
    from tests.calls import Calls

type MakeUser = Callable[..., str]

DAYS = 4
BEGIN = NOW - NOW % DAY


ORGANIZATIONS = [stored("org:ACME"), stored("org:BOLT")]


def recorded(
    rng: random.Random, users: int, models: int, accounts: Sequence[AccountId | None] = (None,)
) -> list[UsageRecord]:
    """Write random records of several days, paid by random accounts. Records of ``images`` have no model."""
    made = []
    for _ in range(120):
        who, model, at = rng.randrange(users), rng.randrange(models), BEGIN + rng.randrange(DAYS * DAY)
        service = rng.choice(["chat", "chat-b", "images"])
        payer = rng.choice(accounts)
        spent = Event(f"u{who}", service, f"m{model}", rng.randrange(1, 100), {}, deduct=False, account_id=payer)
        made.append(usage.record(spent, now=at, key=None).record)
    return made


def sums(made: Iterable[UsageRecord], name: Callable[[UsageRecord], str | None]) -> dict[str, dict[str, int]]:
    """The credits of the records by name and day. Records without a name are left out."""
    found: dict[str, dict[str, int]] = {}
    for record in made:
        named = name(record)
        if named is not None:
            days = found.setdefault(named, {})
            days[day(record.at)] = days.get(day(record.at), 0) + record.credits
    return found


def assert_exact(found: Series | None, by_day: dict[str, int], true: dict[str, dict[str, int]]) -> None:
    """Check that each name has its true credits, and that ``names`` and ``other`` add up to each day's credits."""
    assert found is not None
    assert found.names
    assert found.names.items() <= true.items()
    for each, credits in by_day.items():
        shown = sum(days.get(each, 0) for days in found.names.values())
        assert shown + found.other.get(each, 0) == credits


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cut", [False, True])
def test_the_systems_series_is_exact_even_if_rankings_are_cut(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch, seed: int, *, cut: bool
) -> None:
    if cut:
        monkeypatch.setattr(system, "READ_USERS", 1)
        monkeypatch.setattr(system, "READ_NAMES", 1)
    people = [user(f"u{who}") for who in range(20)]
    for organization in ORGANIZATIONS:
        organization_with(organization, *people, now=BEGIN)
    made = recorded(random.Random(seed), 20, 15, [None, *ORGANIZATIONS])
    for chunk in system_usage.chunks(made):
        system_usage.count(chunk)

    name: dict[system_usage.By, Callable[[UsageRecord], str | None]] = {
        "model": lambda each: each.model_id,
        "service": lambda each: each.service,
        "user": lambda each: each.user_id,
        "account": lambda each: each.account_id,
    }
    for by, name_of in name.items():
        found = system_usage.statistics(BEGIN, BEGIN + DAYS * DAY, top=100, now=NOW, by=by)
        assert_exact(found.series, found.by_day, sums(made, name_of))
        assert found.series is not None
        if by == "account":
            assert {*ORGANIZATIONS} < {*found.series.names}, "the series must have organizations and users"
        elif not cut:
            whole = {"model": found.sums.by_model, "service": found.sums.by_service, "user": found.by_user}[by]
            assert list(found.series.names) == list(whole)[:10]


@pytest.mark.parametrize("by", [None, "model", "user", "account"])
def test_top_0_leaves_out_the_users_and_keeps_the_series(user: MakeUser, by: system_usage.By | None) -> None:
    for who in range(12):
        user(f"u{who}")
    for chunk in system_usage.chunks(recorded(random.Random(5), 12, 4)):
        system_usage.count(chunk)

    whole = system_usage.statistics(BEGIN, BEGIN + DAYS * DAY, top=1000, now=NOW, by=by)
    without = system_usage.statistics(BEGIN, BEGIN + DAYS * DAY, top=0, now=NOW, by=by)

    assert len(whole.by_user) == 12
    assert (without.by_user, without.truncated) == ({}, False)
    if by in ("user", "account"):
        assert (without.sums.by_service, without.sums.by_model, without.sums.counts_by_model) == ({}, {}, {})
        whole = replace(whole, sums=replace(whole.sums, by_service={}, by_model={}, counts_by_model={}))
    assert (without.sums, without.by_day, without.series) == (whole.sums, whole.by_day, whole.series)


def test_a_series_needs_no_further_read_if_rankings_are_not_cut(user: MakeUser, calls: Calls) -> None:
    user()
    made = [usage.record(Event("u1", "chat", "m", 3, {}, False), now=BEGIN, key=None).record]
    system_usage.count(made)
    trips = []
    for by in (None, "model", "service", "user"):
        calls.reset()
        system_usage.statistics(BEGIN, BEGIN + DAY, top=10, now=NOW, by=by)
        trips.append(calls.round_trips)

    assert len(set(trips)) == 1


def test_counting_a_record_writes_one_more_sum_if_an_organization_paid(
    user: MakeUser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_usage, "any_below", lambda _: 0)
    user("u1")
    organization_with(ORGANIZATIONS[0], "u1", now=BEGIN)
    spent = []
    for payer in (None, None, ORGANIZATIONS[0], ORGANIZATIONS[0]):
        made = usage.record(Event("u1", "chat", "m", 3, {}, False, payer), now=BEGIN, key=None).record
        calls.reset()
        system_usage.count([made])
        spent.append((calls.round_trips, calls.write_units))

    # Counting a record writes 4 sums, or 5 if an organization paid, and one item that marks the record as counted.
    # Each of these items costs 2 units. All sums except the total are indexed: a new index entry costs 1 unit, and a
    # changed entry costs 2.
    assert spent == [(3, 5 * 2 + 3), (3, 5 * 2 + 3 * 2), (3, 6 * 2 + 3 * 2 + 1), (3, 6 * 2 + 4 * 2)]


@pytest.mark.parametrize("by", ["model", "service"])
def test_the_series_of_users_accounts_and_members_are_exact_with_whole_and_partial_days(
    user: MakeUser, calls: Calls, by: usage.By
) -> None:
    user("u0")
    organization = stored("org:ACME")
    organization_with(organization, "u0", now=BEGIN)
    made = recorded(random.Random(1), 1, 15)
    spent = Event("u0", "chat", "m0", 1000, {}, False, organization)
    made.append(usage.record(spent, now=BEGIN + DAY, key=None).record)
    since, until = BEGIN + DAY // 2, BEGIN + 3 * DAY + DAY // 3
    inside = [each for each in made if since <= each.at < until]

    def name(each: UsageRecord) -> str | None:
        return each.model_id if by == "model" else each.service

    calls.reset()
    plain = usage.statistics("u0", since, until)
    trips = calls.round_trips
    calls.reset()
    found = usage.statistics("u0", since, until, by=by)
    assert calls.round_trips == trips
    of_account = usage.statistics_of_account(organization, since, until, by=by)
    of_member = usage.statistics_of_member(organization, "u0", since, until, by=by)

    assert plain.series is None
    assert_exact(found.series, found.by_day, sums(inside, name))
    for paid in (of_account, of_member):
        assert paid.series is not None
        assert paid.series.names == {("m0" if by == "model" else "chat"): {day(BEGIN + DAY): 1000}}
        assert paid.series.other == {}


def test_the_ranking_of_an_ended_day_is_read_again_only_if_more_records_of_that_day_are_counted(
    user: MakeUser, calls: Calls
) -> None:
    for who in range(4):
        user(f"u{who}")
    made = recorded(random.Random(7), 4, 3)
    now = BEGIN + DAYS * DAY - 1  # the last day has not ended
    for chunk in system_usage.chunks(made[:-1]):
        system_usage.count(chunk)

    def read() -> tuple[Series | None, int]:
        calls.reset()
        found = system_usage.statistics(BEGIN, now + 1, top=0, now=now, by="user")
        return found.series, calls.operations.count("Query")

    first, queries = read()
    again, queries_again = read()
    assert first == again
    assert (queries, queries_again) == (DAYS * keys.SHARDS, keys.SHARDS), (
        "the second read must query only the day that has not ended"
    )

    system_usage.count(made[-1:])
    late = made[-1].at < BEGIN + (DAYS - 1) * DAY
    assert late, "the record must be of a day that has ended"
    after, queries_after = read()
    assert queries_after == 2 * keys.SHARDS, "must query only the record's day and the day that has not ended"
    assert after is not None
    assert after.names == sums(made, lambda each: each.user_id)
