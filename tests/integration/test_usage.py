"""Usage records, and the statistics of a user and of the system.

Statistics sum up the credits by name. A name is a user's id, a service or a model.
"""

import json
import logging
import os
import random
from collections.abc import Callable
from dataclasses import asdict
from itertools import batched
from typing import Any

import pytest

from accounting.domain import system_usage as domain
from accounting.domain.accounts import personal, stored
from accounting.domain.errors import IdempotencyConflict, InsufficientCredits, Invalid
from accounting.domain.usage import UsageRecord
from accounting.operations import system_usage, usage
from accounting.operations.ids import new_id
from accounting.operations.system_usage import SystemStatistics
from accounting.operations.usage import Event
from accounting.store import keys, system, table
from accounting.store import usage as records
from accounting.store.idempotency import IdempotencyKey
from accounting.store.table import Item, exchange, queries
from accounting.times import DAY, HOUR, day
from accounting.web.paging import instants
from tests.audit import assert_books_balance
from tests.calls import Calls, the_wire
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with
from tests.together import times, together

type MakeUser = Callable[..., str]


def event(user_id: str, credits: int, *, deduct: bool = False, service: str = "images", operation: str = "op") -> Event:
    return Event(user_id, service, operation, credits, {"n": 1.5}, deduct)


def key(name: str = "k", body: str = "body") -> IdempotencyKey:
    return IdempotencyKey("u1", "usage", name, body)


def test_a_deduction_is_in_the_same_transaction_as_the_record(user: MakeUser, calls: Calls) -> None:
    user(credits_granted=10)
    calls.reset()

    usage.record(event("u1", 7, deduct=True), now=NOW, key=None)

    assert (calls.round_trips, calls.write_units) == (2, 8)
    assert assert_books_balance("u1").charged == 7


def test_without_deduction_a_record_is_one_round_trip(user: MakeUser, calls: Calls) -> None:
    """The first record needs a second round trip, which checks whether the user is disabled.

    The process remembers the answer for 30 seconds.
    """
    user()
    for number, round_trips in enumerate((2, 1)):
        calls.reset()
        usage.record(event("u1", 7), now=NOW, key=key(str(number)))
        assert (calls.round_trips, calls.write_units) == (round_trips, 6)

    assert assert_books_balance("u1").charged == 0


def test_a_deduction_that_the_credits_do_not_cover_records_nothing(user: MakeUser) -> None:
    user(credits_granted=6)

    with pytest.raises(InsufficientCredits):
        usage.record(event("u1", 7, deduct=True), now=NOW, key=None)

    assert list(records.between(personal("u1"), 0, NOW + 1)) == []
    assert assert_books_balance("u1").charged == 0


def test_requests_with_one_idempotency_key_deduct_once_even_if_that_empties_the_balance(user: MakeUser) -> None:
    user(credits_granted=7)

    answers = together(*times(12, lambda: usage.record(event("u1", 7, deduct=True), now=NOW, key=key())))

    assert len({answer.record.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len(list(records.between(personal("u1"), 0, NOW + 1))) == 1
    assert assert_books_balance("u1").charged == 7
    with pytest.raises(IdempotencyConflict):
        usage.record(event("u1", 7, deduct=True), now=NOW, key=key(body="another"))


def test_concurrent_records_are_all_counted(user: MakeUser) -> None:
    user()

    together(*(lambda n=n: usage.record(event("u1", n), now=NOW + n, key=None) for n in range(24)))

    sums = usage.statistics("u1", None, None).sums
    assert (sums.records, sums.credits) == (24, sum(range(24)))


@pytest.mark.parametrize(
    ("start", "end", "counted"),
    [
        ("0001-01-01", "9999-12-31", 1),
        ("0300-01-01", None, 1),
        (None, "9999-12-31T23:59:59.999Z", 1),
        ("9999-12-31T23:59:59.999Z", None, 0),
        ("9999-12-31", "9999-12-31", 0),
        (None, "1969-12-31", 0),
        ("0001-01-01", "0300-01-01", 0),
    ],
)
def test_a_users_statistics_accept_any_range_of_the_years_1_to_9999(
    user: MakeUser, start: str | None, end: str | None, counted: int
) -> None:
    user()
    usage.record(event("u1", 7), now=NOW, key=None)

    found = usage.statistics("u1", *instants(start, end))

    assert (found.sums.records, len(found.recent)) == (counted, counted)


def test_a_range_of_thousands_of_years_is_refused_before_its_days_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_usage, "day", None)

    with pytest.raises(Invalid, match="at most 400 days"):
        system_usage.statistics(*instants("0001-01-01", "9999-12-31"), top=1, now=NOW)


@pytest.fixture
def forty_days(user: MakeUser) -> list[UsageRecord]:
    """600 records over 40 days, from 08:00 of the first day."""
    user()
    rng = random.Random(20260115)
    made = []
    for _ in range(600):
        service = rng.choice(["chat-streaming", "chat-streaming-failed", "images", "search"])
        wanted = event("u1", rng.randrange(50), service=service, operation=rng.choice(["m1", "m2", "m3"]))
        made.append(usage.record(wanted, now=NOW + rng.randrange(40 * DAY), key=None).record)
    return made


def test_statistics_equal_a_recount_of_the_records(forty_days: list[UsageRecord], calls: Calls) -> None:
    rng = random.Random(7)
    edges = [sorted(NOW - DAY + rng.randrange(42 * DAY) for _ in range(2)) for _ in range(10)]
    within_a_day = [NOW + 5 * DAY + HOUR, NOW + 5 * DAY + 9 * HOUR]
    for since, until in [*edges, within_a_day, [NOW - NOW % DAY, NOW - NOW % DAY + 7 * DAY]]:
        found = usage.statistics("u1", since, until)
        counted = [record for record in forty_days if since <= record.at < until]
        assert found.sums.records == len(counted)
        assert found.sums.credits == sum(record.credits for record in counted)
        assert found.sums.by_service == _sums(counted, lambda record: record.service)
        assert found.sums.by_model == _sums(counted, lambda record: record.model_id)
        assert found.by_day == _sums(counted, lambda record: day(record.at))
        newest = sorted(counted, key=lambda record: (record.at, record.id), reverse=True)[:10]
        assert [record.at for record in found.recent] == [record.at for record in newest]
    calls.reset()
    usage.statistics("u1", NOW - NOW % DAY, NOW - NOW % DAY + 41 * DAY)
    assert calls.operations == ["Query", "Query"], "whole days are read as sums, not as records"


def test_reading_statistics_of_ten_days_costs_the_same_for_any_number_of_records(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statistics are read after half of the records, and again after all of them.

    Each day's sums are in up to four items. The first half of the records creates all of them, so the second half adds
    none. ``STATISTICS_RECORDS`` is the number of records, by default 800. ``--log-cli-level=INFO`` shows the counts.
    The emulator looks through all records of a user for every query, so the client waits longer.
    """
    user()
    monkeypatch.setattr(exchange, "READ_SECONDS", 120)
    rng = random.Random(11)
    monkeypatch.setattr(table, "any_below", rng.randrange)
    begin, days, made = NOW - NOW % DAY, 10, 0
    most = int(os.environ.get("STATISTICS_RECORDS", "800"))
    reads: dict[int, tuple[int, int]] = {}
    for wanted in (most // 2, most):
        while made < wanted:
            usage.record(event("u1", 1, service="images"), now=begin + rng.randrange(days * DAY), key=None)
            made += 1
        with Calls.of(the_wire()) as calls:
            assert usage.statistics("u1", begin, begin + days * DAY).sums.records == wanted
        reads[wanted] = (calls.round_trips, calls.items)
    logging.getLogger(__name__).info("round trips and items read, by records: %s", reads)

    assert len(set(reads.values())) == 1, reads


def test_a_users_statistics_are_exact_for_three_hundred_models_in_a_day(user: MakeUser) -> None:
    user()
    begin, made = NOW - NOW % DAY, []
    for number in range(600):
        wanted = event("u1", number, service="chat", operation=f"model-{number % 300}")
        made.append(usage.record(wanted, now=begin + number, key=None).record)

    whole = usage.statistics("u1", begin, begin + DAY)
    partial_day = usage.statistics("u1", begin, begin + 600)

    assert len(whole.sums.by_model) == 300
    assert whole.sums.by_model == partial_day.sums.by_model == _sums(made, lambda record: record.model_id)
    assert whole.sums.by_service == partial_day.sums.by_service == {"chat": sum(range(600))}
    assert_books_balance("u1")


def test_a_record_costs_four_write_units_even_if_its_day_has_many_long_model_ids(user: MakeUser, calls: Calls) -> None:
    user()
    longest = "anthropic.claude-3-5-sonnet-20241022-v2:0@" + "x" * 150
    for number in range(60):
        usage.record(event("u1", 1, service="chat-streaming", operation=f"{longest}{number}"), now=NOW, key=None)
    calls.reset()

    usage.record(event("u1", 1, service="chat-streaming", operation=f"{longest}{60}"), now=NOW, key=None)

    assert (calls.round_trips, calls.write_units) == (1, 4)


def test_the_records_of_partial_days_are_counted_without_their_metadata(
    user: MakeUser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    user()
    for number in range(30):
        usage.record(event("u1", number), now=NOW + number, key=None)
    read: list[Item] = []
    unpack = table.unpack

    def unpack_and_note(item: Item) -> Item:
        read.append(unpack(item))
        return read[-1]

    monkeypatch.setattr(queries, "unpack", unpack_and_note)
    calls.reset()

    found = usage.statistics("u1", NOW + 1, NOW + 29)

    assert (found.sums.records, found.sums.credits) == (28, sum(range(1, 29)))
    assert len([item for item in read if "metadata" in item]) == len(found.recent) == usage.RECENT
    assert calls.operations == ["Query", "Query"]


def _sums(counted: list[UsageRecord], name: Callable[[UsageRecord], str | None]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for record in counted:
        named = name(record)
        if named is not None:
            sums[named] = sums.get(named, 0) + record.credits
    return sums


def test_system_statistics_count_each_record_once_however_records_are_batched(user: MakeUser) -> None:
    rng = random.Random(3)
    made = []
    for who in range(5):
        user(f"u{who}")
        for _ in range(30):
            wanted = event(f"u{who}", rng.randrange(50), service=rng.choice(["chat-a", "b"]))
            made.append(usage.record(wanted, now=NOW + rng.randrange(3 * DAY), key=None).record)
    stream = made.copy()
    for _ in range(4):  # repeated, in other batches, out of order
        rng.shuffle(stream)
        uncounted = stream.copy()
        while uncounted:
            size = rng.randrange(1, 90)
            for chunk in system_usage.chunks(uncounted[:size]):
                system_usage.count(chunk)
            del uncounted[:size]

    found = system_usage.statistics(NOW, NOW + 3 * DAY, top=10, now=NOW)

    assert (found.sums.records, found.sums.credits) == (150, sum(record.credits for record in made))
    assert found.by_user == _sums(made, lambda record: record.user_id)
    assert found.by_day == _sums(made, lambda record: day(record.at))
    assert found.sums.by_service == _sums(made, lambda record: record.service)
    assert found.as_of == max(record.at for record in made)
    assert not found.truncated


def test_concurrent_counting_of_the_same_records_counts_them_once(user: MakeUser) -> None:
    user()
    made = [usage.record(event("u1", 3), now=NOW + n, key=None).record for n in range(20)]

    together(*times(6, lambda: system_usage.count(made)))

    assert system_usage.statistics(NOW, NOW + 1, top=1, now=NOW).sums.records == 20


def test_concurrent_counting_of_different_records_of_the_same_users_and_models_counts_them_all(user: MakeUser) -> None:
    for who in range(4):
        user(f"u{who}")
    made = [recorded(f"u{n % 4}", n, f"m{n % 3}", now=NOW + n) for n in range(60)]

    together(*(lambda n=n: system_usage.count(made[n::6]) for n in range(6)))

    found = system_usage.statistics(NOW, NOW + 1, top=10, now=NOW)
    assert found.sums.records == 60
    assert found.sums.by_model == _sums(made, lambda record: record.model_id)
    assert found.sums.by_service == {"chat": found.sums.credits}
    assert found.by_user == _sums(made, lambda record: record.user_id)


def recorded(user_id: str, credits: int, model: str, *, now: int = NOW, service: str = "chat") -> UsageRecord:
    return usage.record(event(user_id, credits, service=service, operation=model), now=now, key=None).record


def unstored(user_id: str, credits: int, model: str, *, now: int = NOW, service: str = "chat") -> UsageRecord:
    """A record that is not in the table."""
    return UsageRecord(new_id(now), personal(user_id), user_id, service, model, credits, now, {"n": 1.5})


def write(dynamodb: Any, table_name: str, made: list[UsageRecord]) -> None:
    """Write only the records, without the sums that ``usage.record`` writes with them."""
    for batch in batched(made, 25, strict=False):
        puts = [{"PutRequest": {"Item": table.pack(records.to_item(record))}} for record in batch]
        assert not dynamodb.batch_write_item(RequestItems={table_name: puts})["UnprocessedItems"]


def count_and_read(made: list[UsageRecord]) -> SystemStatistics:
    """Count the records, and return the system's statistics since ``NOW``."""
    for chunk in system_usage.chunks(made):
        system_usage.count(chunk)
    until = max(record.at for record in made) + 1
    return system_usage.statistics(NOW, until, top=1000, now=until)


@pytest.mark.parametrize("credits", [0, 10**12])
def test_made_up_services_and_models_do_not_displace_real_ones(
    user: MakeUser, dynamodb: Any, table_name: str, credits: int
) -> None:
    for who in ("flooder", *(f"u{number}" for number in range(10))):
        user(who)
    emoji, plain = "\U0001f600", "x" * 200
    flood = [
        unstored("flooder", credits, f"{number:03d}{emoji * 250}", service=f"chat{number:03d}{emoji * 36}")
        for number in range(450)
    ]
    flood += [
        unstored("flooder", credits, f"{number:03d}{plain}", service=f"chat{number:03d}") for number in range(450)
    ]
    real = [unstored(f"u{number % 10}", 1 + number % 3, f"real-{number % 300}") for number in range(600)]

    write(dynamodb, table_name, [*flood, *real])

    found = count_and_read([*flood, *real])

    assert found.sums.records == 1500
    assert found.sums.credits == 900 * credits + sum(record.credits for record in real)
    of_real = {name: credits for name, credits in found.sums.by_model.items() if name.startswith("real-")}
    assert of_real == _sums(real, lambda record: record.model_id)
    assert found.sums.by_service["chat"] == sum(record.credits for record in real)
    assert found.truncated
    assert len(json.dumps(asdict(found))) < 200_000
    for names in (found.sums.by_service, found.sums.by_model):
        assert len(json.dumps(names, separators=(",", ":"))) <= domain.MAP_BYTES


def test_the_longest_possible_names_can_be_counted(user: MakeUser) -> None:
    longest_id, longest_name = "\U0001f600" * 128, "\U0001f600" * 256
    user(longest_id)

    found = count_and_read([recorded(longest_id, 7, longest_name, service="chat" + "\U0001f600" * 46)])

    assert (found.sums.by_model, found.by_user) == ({longest_name: 7}, {longest_id: 7})


@pytest.mark.parametrize("seed", range(3))
def test_every_name_shown_has_exact_totals_even_if_rankings_are_cut(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch, dynamodb: Any, table_name: str, seed: int
) -> None:
    monkeypatch.setattr(system, "READ_USERS", 2)
    monkeypatch.setattr(system, "READ_NAMES", 2)
    rng = random.Random(seed)
    made = []
    for who in range(40):
        user(f"u{who}")
    for _ in range(300):
        at = NOW + rng.randrange(4) * DAY
        who, model, credits = rng.randrange(40), rng.randrange(40), rng.randrange(100)
        made.append(unstored(f"u{who}", credits, f"m{model}", now=at, service=f"chat{model % 20}"))

    write(dynamodb, table_name, made)

    found = count_and_read(made)

    assert found.truncated
    for shown, true in (
        (found.by_user, _sums(made, lambda record: record.user_id)),
        (found.sums.by_model, _sums(made, lambda record: record.model_id)),
        (found.sums.by_service, _sums(made, lambda record: record.service)),
    ):
        assert len(shown) >= 5
        assert shown.items() <= true.items()
    assert len(found.by_user) < 40, "with limits this low, some users are left out"


def test_truncated_is_false_if_everything_is_shown(user: MakeUser) -> None:
    user()

    found = count_and_read([recorded("u1", number, f"m{number}", now=NOW + number % 2 * DAY) for number in range(60)])

    assert not found.truncated
    assert found.sums.by_model == {f"m{number}": number for number in range(60)}
    assert next(iter(found.sums.by_model)) == "m59", "the most credits come first"


def test_a_map_over_its_limit_in_bytes_is_cut_and_reported_as_truncated(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "MAP_BYTES", 40)
    user()

    found = count_and_read([recorded("u1", number, f"model-{number}") for number in range(6)])

    assert found.sums.by_model == {"model-5": 5, "model-4": 4, "model-3": 3}
    assert found.sums.by_service == {"chat": 15}
    assert found.truncated


def test_counting_a_single_record_costs_what_the_data_model_says(
    user: MakeUser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_usage, "any_below", lambda _: 0)
    user()
    spent = []
    for number in range(2):
        made = recorded("u1", 1 + number, "m")
        calls.reset()
        system_usage.count([made])
        spent.append((calls.round_trips, calls.write_units))

    assert spent == [(3, 13), (3, 16)], (
        "first: the day's first record; second: a record whose user, service and model already have sums"
    )
    for chunk in system_usage.chunks([recorded("u1", 1, f"anthropic.model-{number}") for number in range(60)]):
        system_usage.count(chunk)
    made = recorded("u1", 5, "m")
    calls.reset()
    system_usage.count([made])
    assert (calls.round_trips, calls.write_units) == (3, 16), (
        "the user's item stays small: it stores at most 50 services and 50 models, each as a short digest"
    )


def test_in_a_quiet_system_counting_a_record_costs_at_most_two_write_units(
    user: MakeUser, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million sessions a month are 116 in five minutes: 29 in each of a stream's four shards.

    The test counts two batches of 29 records. In each batch, six users send one message a minute. Only the second batch
    is measured, because the first batch creates the sums of the day.
    """
    monkeypatch.setattr(system_usage, "any_below", lambda _: 0)
    people = [f"u{number}" for number in range(6)]
    for who in people:
        user(who)
    for begin in (NOW, NOW + domain.SLOT):
        made = [
            recorded(people[number % 6], 4, f"anthropic.model-{number % 3}", now=begin + number * 10_000)
            for number in range(29)
        ]
        calls.reset()
        for chunk in system_usage.chunks(made):
            system_usage.count(chunk)

    assert calls.operations.count("TransactWriteItems") == 1
    assert calls.write_units / 29 <= 2


def test_marks_of_many_counted_records_are_spread_over_items(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark, which is part of the digest of a record's id, shows that the record has been counted."""
    monkeypatch.setattr(system, "_FULL", 10 * 8)
    user()
    made = [unstored("u1", 1, "m", now=NOW + number) for number in range(60)]
    counted_at_once = [system_usage.count(made[begin : begin + 6]) for begin in range(0, 60, 6)]
    again = system_usage.count(made[3:50])

    part = keys.system_marks(domain.slot(made[0]))
    items = list(table.query_all(part.pk, part.low, part.high, forward=True))
    assert (counted_at_once, again) == ([6] * 10, 0)
    assert [len(item["marks"]) // 8 for item in items] == [12] * 5
    assert all(item["ttl"] * 1000 > NOW + 2 * DAY for item in items), (
        "the marks outlive the stream, which keeps a record for a day"
    )


def test_a_record_that_is_twice_in_a_batch_is_counted_once(user: MakeUser) -> None:
    user()
    made = [recorded("u1", 3, "m"), recorded("u1", 4, "m")]

    assert system_usage.count([made[0], made[1], made[0]]) == 2
    assert system_usage.statistics(NOW, NOW + 1, top=1, now=NOW).sums.credits == 7


def test_statistics_show_the_users_with_the_most_credits_and_say_that_others_are_left_out(user: MakeUser) -> None:
    made = []
    for who in range(6):
        user(f"u{who}")
        made.append(usage.record(event(f"u{who}", who), now=NOW, key=None).record)
    system_usage.count(made)

    found = system_usage.statistics(None, None, top=2, now=NOW)

    assert found.by_user == {"u5": 5, "u4": 4}
    assert found.truncated
    assert found.sums.credits == 15


def test_statistics_tell_api_keys_apart(user: MakeUser) -> None:
    """Whole days are read as sums, and partial days as records. Both tell the keys apart, whichever account paid."""
    user("u1", 100)
    organization = stored("org:ACME")
    organization_with(organization, "u1", now=NOW)
    for number, (key_id, account_id) in enumerate(
        [(None, None), ("K1", None), ("K1", None), ("K2", None), ("K1", organization), (None, organization)]
    ):
        spent = Event("u1", "images", "draw", 10**number, {}, False, account_id, key_id=key_id)
        usage.record(spent, now=NOW + number, key=None)

    for since in (None, NOW):
        assert usage.statistics("u1", since, None).sums.credits == 111_111
        assert usage.statistics("u1", since, None, key_id="K1").sums.credits == 10_110
        assert usage.statistics("u1", since, None, key_id="K3").sums.credits == 0
        assert usage.statistics_of_account(organization, since, None).sums.credits == 110_000
        of_member = usage.statistics_of_member(organization, "u1", since, None)
        assert (of_member.sums.credits, len(of_member.recent)) == (110_000, 2)
        assert usage.statistics_of_member(organization, "u1", since, None, key_id="K1").sums.credits == 10_000
        assert usage.statistics_of_member(ACCOUNT, "u1", since, None, key_id="K1").sums.credits == 110
        assert usage.statistics_of_member(organization, "u2", since, None).sums.records == 0
