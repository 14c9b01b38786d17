"""The system's sums: what a batch adds, which names get merit, and which names a response shows.

A name is the name of a service or a model. A user's first names are the names that the user used earliest on a day, up
to a limit. The merit of a name is the credits spent on it by users who have it among their first names.
"""

import json
from collections import defaultdict
from itertools import pairwise
from random import Random

import pytest

from accounting.domain.accounts import personal
from accounting.domain.model_usage import Usage
from accounting.domain.system_usage import (
    MAX_IN_BATCH,
    MAX_NAME_BYTES,
    MAX_NAMES_OF_USER,
    DayPart,
    NameDay,
    Place,
    Ranking,
    Standing,
    Sum,
    UserDay,
    batches,
    by_credits,
    by_merit,
    counted,
    fitting,
    places,
    slot,
    total,
    unseen,
)
from accounting.domain.usage import Name, NameId, UsageRecord
from accounting.times import DAY


def record(model: str, credits: int = 1, *, user_id: str = "u1", at: int = 0, service: str = "chat") -> UsageRecord:
    return UsageRecord("id", personal(user_id), user_id, service, model, credits, at, {})


def count(records: list[UsageRecord], stored: dict[Place, Sum] | None = None) -> dict[Place, Sum]:
    """All sums after ``records`` were counted in one batch."""
    known: defaultdict[Place, Sum] = defaultdict(Sum, stored or {})
    return {**known, **counted(records, 3, known)}


def model(text: str, day: int = 0) -> NameDay:
    return NameDay(day, Name("model", text))


def test_a_record_counts_for_its_day_its_user_its_service_and_its_model() -> None:
    after = count([record("m", 5, at=DAY + 7)])

    assert set(after) == set(places(record("m", at=DAY + 7), 3))
    assert set(after) == {
        DayPart(DAY, 3),
        UserDay(DAY, "u1"),
        NameDay(DAY, Name("service", "chat")),
        NameDay(DAY, Name("model", "m")),
    }
    assert all((each.records, each.credits, each.version) == (1, 5, 0) for each in after.values())
    assert after[DayPart(DAY, 3)].newest == DAY + 7
    assert after[model("m", DAY)].merit == 5


def test_a_record_of_a_service_that_is_not_a_chat_service_counts_for_no_model() -> None:
    after = count([record("draw", service="images")])

    assert [place.name.kind for place in after if isinstance(place, NameDay)] == ["service"]


def test_records_are_added_to_the_stored_sums_and_only_changed_sums_are_written() -> None:
    day, user, service, of_m = places(record("m"), 3)
    stored: dict[Place, Sum] = {
        day: Sum(4, 9, 90, newest=50),
        user: Sum(2, 1, 1),
        service: Sum(3, 2, 20, merit=10),
        of_m: Sum(1, 2, 20, merit=None),
        model("other"): Sum(1, 1, 1),
    }

    after = counted([record("m", 5, at=40), record("m", -2, at=60)], 3, stored)

    assert set(after) == {day, user, service, of_m}
    assert (after[day].version, after[day].records, after[day].credits, after[day].newest) == (4, 11, 93, 60)
    assert (after[service].records, after[service].credits, after[service].merit) == (4, 23, 13)
    assert after[of_m].merit == 3


def test_usage_is_counted_for_the_day_and_the_model() -> None:
    used = Usage(100, 20, cached_input=60)
    stored = count([record("m")._replace(usage=used), record("m")._replace(unclassified=7), record("n")])

    after = count([record("m")._replace(usage=Usage(-100, 5, requests=0)), record("n")._replace(usage=used)], stored)

    of_m = {"input": 0, "output": 25, "cached_input": 60, "requests": 1, "unclassified": 7}
    of_n = {"input": 100, "output": 20, "cached_input": 60, "requests": 1}
    assert (after[model("m")].counts, after[model("n")].counts) == (of_m, of_n)
    assert after[DayPart(0, 3)].counts == {name: of_m[name] + of_n.get(name, 0) for name in of_m}
    assert {tuple(after[each].counts) for each in after if each not in (model("m"), model("n"), DayPart(0, 3))} == {()}


def test_a_late_record_does_not_change_the_newest_time() -> None:
    assert count([record("m", at=9), record("m", at=4)])[DayPart(0, 3)].newest == 9


def test_a_users_first_names_have_merit_and_later_names_have_none() -> None:
    names = [f"m{number}" for number in range(MAX_NAMES_OF_USER + 2)]

    after = count([record(name, 10**12) for name in names * 2])

    assert {after[model(name)].credits for name in names} == {2 * 10**12}
    assert [after[model(name)].merit for name in names] == [2 * 10**12] * MAX_NAMES_OF_USER + [None] * 2
    assert after[NameDay(0, Name("service", "chat"))].merit == after[UserDay(0, "u1")].credits


def test_the_first_names_are_remembered_between_batches() -> None:
    first = [record(f"m{number}") for number in range(MAX_NAMES_OF_USER)]
    stored = count(first)

    after = count([record("m0"), record("late")], stored)

    assert after[model("m0")].merit == 2
    assert (after[model("late")].credits, after[model("late")].merit) == (1, None)
    assert after[UserDay(0, "u1")].models == stored[UserDay(0, "u1")].models


def test_a_users_services_and_models_get_merit_separately() -> None:
    services = [record("m", service=f"chat{number}") for number in range(MAX_NAMES_OF_USER + 1)]

    after = count(services)

    assert after[NameDay(0, Name("service", f"chat{MAX_NAMES_OF_USER}"))].merit is None
    assert after[model("m")].merit == MAX_NAMES_OF_USER + 1


def test_a_name_gets_merit_only_from_users_who_have_it_among_their_first_names() -> None:
    flood = [record(f"m{number}", 10**12) for number in range(3 * MAX_NAMES_OF_USER)]

    after = count([*flood, record("m149", 4, user_id="u2"), record("free", 0, user_id="u2")])

    assert after[model("m149")].credits == 10**12 + 4
    assert after[model("m149")].merit == 4
    assert after[model("free")].merit == 0, "its merit is 0 credits, not None"


def test_every_day_has_its_own_first_names() -> None:
    first = [record(f"m{number}") for number in range(MAX_NAMES_OF_USER)]

    after = count([*first, record("late", at=DAY)])

    assert after[model("late", DAY)].merit == 1


@pytest.mark.parametrize(
    ("name", "merit"),
    [("x" * 256, 1), ("x" * (MAX_NAME_BYTES - 2), 1), ("x" * (MAX_NAME_BYTES - 1), None), ("\U0001f600" * 25, None)],
)
def test_a_name_that_is_too_long_has_no_merit_and_is_not_among_the_users_first_names(
    name: str, merit: int | None
) -> None:
    after = count([record(name)])

    assert (after[model(name)].credits, after[model(name)].merit) == (1, merit)
    assert len(after[UserDay(0, "u1")].models) == (merit or 0)


def test_records_of_the_same_five_minutes_have_the_same_slot() -> None:
    begin, minute = DAY + DAY // 2, DAY // 1440

    assert {slot(record("m", at=at)) for at in (begin, begin + 1, begin + 5 * minute - 1)} == {begin}
    assert slot(record("m", at=begin + 5 * minute)) == begin + 5 * minute


@pytest.mark.parametrize("kinds", [1, 3, 1000])
def test_a_batch_has_as_many_records_as_the_limit_of_written_items_allows(kinds: int) -> None:
    rng = Random(kinds)
    records = [
        record(
            f"m{rng.randrange(kinds)}", user_id=f"u{rng.randrange(kinds)}", at=rng.randrange(3) * DAY, service=service
        )
        for service in ("chat", "images") * 150
    ]

    found = list(batches(records, 100))

    assert [each for batch in found for each in batch] == records
    sizes = [items(batch) for batch in found]
    assert max(sizes) <= 100
    for batch, following in pairwise(found):
        assert items([*batch, following[0]]) > 100, "the batch had room for another record"


def items(batch: list[UsageRecord]) -> int:
    """Return how many items the counting of a batch writes: one for each slot of five minutes, and one for each sum."""
    return len({slot(each) for each in batch}) + len({place for each in batch for place in places(each, 0)})


def test_the_number_of_records_in_a_batch_is_limited() -> None:
    assert [len(batch) for batch in batches([record("m")] * (MAX_IN_BATCH + 1), 100)] == [MAX_IN_BATCH, 1]


def test_without_records_there_is_no_batch() -> None:
    assert list(batches([], 100)) == []


A, B, C = (NameId("model", text) for text in "abc")


def test_rankings_of_several_days_add_up() -> None:
    days = [
        Ranking(0, {A: Standing(5, 3), B: Standing(1), C: Standing(1, 3)}, truncated=False),
        Ranking(DAY, {A: Standing(2, -1), B: Standing(4, 4), C: Standing(9)}, truncated=False),
    ]

    assert total(days) == {A: Standing(7, 2), B: Standing(5, 4), C: Standing(10, 3)}


def test_names_missing_from_a_truncated_ranking_are_read_separately() -> None:
    days = [
        Ranking(0, {A: Standing(5)}, truncated=True),
        Ranking(DAY, {B: Standing(5)}, truncated=False),
        Ranking(2 * DAY, {A: Standing(5), B: Standing(1)}, truncated=True),
    ]

    assert unseen([A, B, C], days) == [(0, B), (0, C), (2 * DAY, C)]


def test_names_rank_by_merit_and_names_without_merit_come_last() -> None:
    totals = {A: Standing(10**15), B: Standing(1, 0), C: Standing(3, -2), NameId("service", "d"): Standing(2, 2)}

    assert by_merit(totals) == [NameId("service", "d"), B, C, A]
    assert by_merit({A: Standing(9, 0), B: Standing(9, 1)}) == [B, A]


def test_users_rank_by_credits() -> None:
    assert by_credits({"b": Standing(1), "a": Standing(1), "c": Standing(2)}) == ["c", "a", "b"]


@pytest.mark.parametrize("names", [["a", "b", "c"], ["\U0001f600" * 9, 'quoted "', "\\", "é"], ["x" * 300]])
def test_a_response_shows_the_names_whose_json_fits_into_the_limit(names: list[str]) -> None:
    shown = {name: 10**number for number, name in enumerate(names)}
    whole = len(json.dumps(shown, separators=(",", ":")))

    assert dict(fitting(shown.items(), whole)) == shown
    assert dict(fitting(shown.items(), whole - 1)) == dict(list(shown.items())[:-1])


def test_names_after_a_name_that_does_not_fit_are_not_shown() -> None:
    assert list(fitting([("a", 1), ("x" * 50, 1), ("b", 1)], 40)) == [("a", 1)]
