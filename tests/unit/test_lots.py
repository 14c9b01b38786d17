"""Lots, which are credits that were granted together and expire together.

The tests check which credits form a lot, how holds are split and merged, and the text in which lots are stored.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.accounts import personal
from accounting.domain.lots import Lot, add, allocation_id, merged, nearest_pair, split, whole_second
from accounting.domain.wallet import Wallet
from accounting.store import lots as stored
from accounting.store import wallets
from accounting.times import DAY
from tests.lots import NOW, different_lots, mixed_lots

SECONDS = st.integers(0, 10**10).map(lambda seconds: seconds * 1000)
LOTS = st.lists(
    st.builds(
        Lot,
        st.integers(0, 10**7),
        st.integers(1, 10**12),
        SECONDS,
        SECONDS,
        st.booleans(),
        st.lists(st.text(st.characters(exclude_characters=",;")), max_size=2).map(tuple),
    ),
    max_size=8,
)


@given(LOTS)
def test_lots_are_read_back_unchanged_and_in_the_order_of_spending(lots: list[Lot]) -> None:
    lots.sort(key=lambda lot: (*lot.order, lot.granted_at, lot))

    read = stored.from_text(stored.to_text(lots))

    assert sorted(read, key=lambda lot: (*lot.order, lot.granted_at, lot)) == lots
    assert [lot.order for lot in read] == [lot.order for lot in lots]


def test_each_lot_is_stored_as_a_row_of_differences_from_the_previous_row() -> None:
    first, second = Lot(1, 35, NOW + 30 * DAY, NOW), Lot(3, 36, NOW + DAY, NOW + 7_000, grace=True)

    assert stored.to_text([second, first]) == "tro8w0,z,1jk00;7,10,1unt,2,1"
    assert stored.to_text([]) == ""


def test_a_lot_keeps_the_values_that_a_newer_version_of_the_service_added() -> None:
    text = "tro8w0,a,1jk00,1,0,gift,7;1uo0,5,1jk00"

    lots = stored.from_text(text)

    assert lots[0].more == ("gift", "7")
    assert stored.to_text(lots) == text


@pytest.mark.parametrize("lots", [mixed_lots(200), different_lots(200), different_lots(400)[::2]])
def test_a_wallet_of_two_hundred_lots_has_at_most_four_kilobytes(lots: list[Lot]) -> None:
    assert len(lots) == 200
    wallet = Wallet(
        personal("u1"),
        version=5_000,
        entry_seq=9_000,
        lots=tuple(lots),
        held=500,
        granted=10**7,
        charged=10**6,
        updated_at=NOW,
        due_at=NOW,
        head="0" * 64,
    )
    item = wallets.to_item(wallet)

    size = sum(len(name) + len(str(value)) for name, value in item.items() if value is not None)

    assert size <= 4_096, size


def test_credits_of_one_grant_that_expire_together_are_one_lot() -> None:
    lots = [Lot(1, 5, NOW, NOW)]

    add(lots, Lot(1, 2, NOW, NOW))
    add(lots, Lot(1, 3, NOW, NOW, grace=True))
    add(lots, Lot(1, 4, NOW - DAY, NOW))

    assert lots == [Lot(1, 4, NOW - DAY, NOW), Lot(1, 7, NOW, NOW), Lot(1, 3, NOW, NOW, grace=True)]


def test_merged_holds_are_in_the_order_of_spending() -> None:
    first, second = Lot(2, 5, NOW + DAY, NOW), Lot(1, 3, NOW + 2 * DAY, NOW)

    assert merged([second], [first, second._replace(credits=4)]) == (first, second._replace(credits=7))


def test_held_credits_that_expire_soonest_are_charged_first() -> None:
    soon, late = Lot(2, 5, NOW + DAY, NOW), Lot(1, 3, NOW + 2 * DAY, NOW)

    assert split([late, soon], 0) == (8, [soon, late])
    assert split([late, soon], 5) == (8, [late])
    assert split([late, soon], 6) == (8, [late._replace(credits=2)])
    assert split([late, soon], 9) == (8, [])


def test_nearest_pair_finds_the_first_of_the_closest_pairs_that_can_be_merged() -> None:
    lots = [Lot(number, 1, NOW + at, NOW) for number, at in enumerate((0, 5_000, 7_000, 9_000))]

    assert nearest_pair(lots) == 1
    lots[2] = lots[2]._replace(more=("plan",))
    assert nearest_pair(lots) == 0
    lots[1] = lots[1]._replace(grace=True)
    assert nearest_pair(lots) is None
    assert nearest_pair(lots[:1]) is None


@pytest.mark.parametrize(("at", "second"), [(0, 0), (1, 1_000), (999, 1_000), (1_000, 1_000), (1_001, 2_000)])
def test_times_are_rounded_up_to_whole_seconds(at: int, second: int) -> None:
    assert whole_second(at) == second


def test_allocations_have_unique_ids() -> None:
    ids = {allocation_id(personal(user), number) for user in ("u1", "u2", "u") for number in (1, 2, 11, 21)}

    assert len(ids) == 12
    assert allocation_id(personal("u1"), 1) == "f5073c1931c532595e24794a7b", (
        "callers store ids, so an id must never change"
    )
