"""The sums of all wallets: spendable credits by month of expiry, held credits, and debt."""

from __future__ import annotations

from accounting.domain.accounts import personal
from accounting.domain.lots import Lot
from accounting.domain.outstanding import MAX_NAMED, Outstanding
from accounting.domain.wallet import Wallet
from accounting.times import from_iso

STARTED = from_iso("2026-11-26T08:00:00Z")


def lot(credits: int, expires_at: str) -> Lot:
    return Lot(1, credits, from_iso(expires_at), STARTED)


def wallet(*lots: Lot, held: int = 0, debt: int = 0) -> Wallet:
    return Wallet(personal("u1"))._replace(lots=lots, held=held, debt=debt)


def test_credits_are_summed_by_the_month_in_which_they_expire() -> None:
    sums = Outstanding(STARTED)
    for each in (
        wallet(lot(1, "2026-11-30T23:59:59Z"), lot(2, "2026-12-01T00:00:00Z"), held=5),
        wallet(lot(4, "2026-12-31T00:00:00Z"), held=2, debt=3),
        wallet(debt=4),
    ):
        sums = sums.plus(each)

    assert sums == Outstanding(
        STARTED, accounts=3, available=7, held=7, debt=7, by_month={"2026-11": 1, "2026-12": 6}, named=()
    )


def test_credits_that_expire_after_the_24th_month_are_summed_together() -> None:
    in_month_24, in_month_25 = lot(1, "2028-10-31T23:59:59Z"), lot(2, "2028-11-01T00:00:00Z")

    sums = Outstanding(STARTED).plus(wallet(in_month_24, in_month_25, lot(4, "9999-12-31T23:59:59Z")))

    assert (sums.by_month, sums.later, sums.available) == ({"2028-10": 1}, 6, 7)


def test_expired_credits_that_are_still_in_a_wallet_are_summed_separately() -> None:
    expired, live = lot(8, "2026-11-26T08:00:00Z"), lot(1, "2026-11-26T08:00:01Z")

    sums = Outstanding(STARTED).plus(wallet(expired, live))

    assert (sums.available, sums.expired, sums.by_month) == (1, 8, {"2026-11": 1})


def test_the_sums_by_month_and_the_sum_of_later_credits_add_up_to_the_available_credits() -> None:
    sums = Outstanding(STARTED)
    for month in range(1, 60):
        at = f"{2026 + month // 12}-{month % 12 + 1:02d}-28"
        sums = sums.plus(wallet(lot(month, at)))

    assert sum(sums.by_month.values()) + sums.later == sums.available
    assert sums.available + sums.expired == sum(range(1, 60))
    assert len(sums.by_month) == 24


def test_every_account_with_a_problem_is_counted_and_only_the_first_accounts_are_named() -> None:
    sums = Outstanding(STARTED)
    accounts = [personal(f"u{number}") for number in range(MAX_NAMED + 5)]
    for each in accounts:
        sums = sums.with_problem_in(each)

    assert sums.drifting == MAX_NAMED + 5
    assert sums.named == tuple(accounts[:MAX_NAMED])
