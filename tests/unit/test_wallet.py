"""The rules of the wallet, with one example each.

If credits expired while they were held, their refund is valid for a day, the grace. Late usage is reported after the
sweeper has already charged the session.
"""

from collections.abc import Callable

import pytest

from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId, organization, personal
from accounting.domain.errors import (
    AccountingError,
    InsufficientCredits,
    OrganizationClosed,
    TooManyAllocations,
    UserDisabled,
)
from accounting.domain.ledger import Cause, Entry
from accounting.domain.lots import MAX_LOTS, Lot, allocation_id, merged
from accounting.domain.wallet import AnyDecision, Decision, Wallet
from tests.audit import assert_ledger_explains, assert_sound

NOW = 1_800_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
GRACE = 24 * HOUR


ACCOUNT = personal("u1")


def because(at: int = NOW, session: str | None = None) -> Cause:
    return Cause("boss", at, "why", "salt", session_id=session)


class Book:
    """A wallet, its ledger entries, and a name for each grant."""

    def __init__(self, *lots: tuple[str, int, int]) -> None:
        self.wallet = Wallet(ACCOUNT)
        self.entries: list[Entry] = []
        self.granted: dict[str, tuple[int, int]] = {}
        for name, credits, expires_at in lots:
            self.grant(name, credits, expires_at)

    def apply[D: AnyDecision](self, decision: D) -> D:
        self.wallet = decision.wallet
        self.entries += decision.entries
        assert_sound(self.wallet)
        assert_ledger_explains(self.wallet, self.entries)
        return decision

    def grant(self, name: str, credits: int, expires_at: int = NOW + 30 * DAY, at: int = NOW) -> Decision:
        self.granted[name] = self.wallet.allocations + 1, at
        return self.apply(decisions.grant(self.wallet, credits, expires_at=expires_at, cause=because(at)))

    def lot(self, name: str, credits: int, expires_at: int, *, grace: bool = False) -> Lot:
        """A lot of the grant with this name."""
        number, granted_at = self.granted[name]
        return Lot(number, credits, expires_at, granted_at, grace)

    def hold(self, credits: int, at: int = NOW) -> tuple[Lot, ...]:
        return self.apply(decisions.hold(self.wallet, credits, cause=because(at, session="s1"))).parts

    def settle(self, parts: tuple[Lot, ...], used: int, at: int = NOW) -> decisions.Settlement:
        cause = because(at, session="s1")
        return self.apply(decisions.settle(self.wallet, parts, used, grace_milliseconds=GRACE, cause=cause))

    def set(self, target: int, at: int = NOW, expires_at: int = NOW + 30 * DAY) -> Decision:
        self.granted["set"] = self.wallet.allocations + 1, at
        decision = decisions.set_available(self.wallet, target, expires_at=expires_at, cause=because(at))
        return self.apply(decision)

    @property
    def lots(self) -> dict[str, int]:
        names = {number: name for name, (number, _) in self.granted.items()}
        return {names[lot.number]: lot.credits for lot in self.wallet.lots}

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.entries]


def test_the_lot_that_expires_soonest_is_spent_first_and_ties_go_to_the_oldest() -> None:
    book = Book(("b", 10, NOW + 2 * DAY), ("c", 10, NOW + DAY), ("a", 10, NOW + 2 * DAY))

    book.apply(decisions.charge(book.wallet, 15, cause=because()))

    assert list(book.lots.items()) == [("b", 5), ("a", 10)]


def test_a_grant_is_a_separate_lot_with_its_own_expiry() -> None:
    book = Book(("a", 10, NOW + DAY), ("b", 5, NOW + HOUR))

    assert book.wallet.lots == (book.lot("b", 5, NOW + HOUR), book.lot("a", 10, NOW + DAY))
    assert (book.wallet.granted, book.wallet.allocations, book.wallet.next_expiry) == (15, 2, NOW + HOUR)
    assert [entry.allocation_id for entry in book.entries] == [allocation_id(ACCOUNT, number) for number in (1, 2)]


def test_the_next_command_drops_expired_credits_before_it_spends() -> None:
    book = Book(("old", 10, NOW + HOUR), ("new", 5, NOW + DAY))

    with pytest.raises(InsufficientCredits) as refused:
        decisions.remove(book.wallet, 6, cause=because(NOW + HOUR))
    book.apply(decisions.remove(book.wallet, 5, cause=because(NOW + HOUR)))

    assert refused.value.details == {
        "requiredCredits": 6,
        "availableCredits": 5,
        "heldCredits": 0,
        "shortfall": 1,
    }
    assert book.kinds[-2:] == ["expire", "remove"]
    assert (book.wallet.expired, book.wallet.removed, book.wallet.available) == (10, 5, 0)


def test_the_actor_of_an_expiry_is_the_system() -> None:
    book = Book(("old", 10, NOW + HOUR))

    expiry, grant = book.grant("new", 1, at=NOW + DAY, expires_at=NOW + 9 * DAY).entries

    assert (expiry.actor, expiry.reason, expiry.allocation_id) == ("system", "", None)
    assert (grant.actor, grant.reason, grant.allocation_id) == ("boss", "why", allocation_id(ACCOUNT, 2))


def test_credits_can_be_spent_until_their_expiry_and_not_a_millisecond_longer() -> None:
    book = Book(("a", 10, NOW + HOUR))

    assert book.wallet.spendable(NOW + HOUR - 1) == 10
    assert book.wallet.spendable(NOW + HOUR) == 0
    assert decisions.expire(book.wallet, cause=because(NOW + HOUR - 1)).entries == ()
    assert [e.credits for e in decisions.expire(book.wallet, cause=because(NOW + HOUR)).entries] == [-10]


def test_a_wallet_is_due_for_the_sweeper_again_when_its_next_lot_expires() -> None:
    book = Book(("soon", 10, NOW + HOUR), ("late", 10, NOW + 2 * HOUR))

    assert book.wallet.due_at == NOW + HOUR
    assert decisions.expire(book.wallet, cause=because(NOW + HOUR)).wallet.due_at == NOW + 2 * HOUR
    assert decisions.expire(book.wallet, cause=because(NOW + 2 * HOUR)).wallet.due_at is None


def test_a_wallet_without_lots_is_not_due_for_the_sweeper() -> None:
    assert decisions.set_available(Wallet(ACCOUNT), 0, expires_at=NOW + DAY, cause=because()).wallet.due_at is None


def test_a_change_of_members_or_budgets_makes_commands_in_progress_decide_again() -> None:
    wallet = Wallet(ACCOUNT, version=4, terms=2, budgets=3)

    assert decisions.with_new_terms(wallet) == wallet._replace(version=5, terms=3)
    assert decisions.with_new_terms(wallet, more_budgets=1) == wallet._replace(version=5, terms=3, budgets=4)
    assert decisions.with_new_terms(wallet, more_budgets=-1).budgets == 2


def test_the_wallet_of_a_closed_organization_is_due_for_the_sweeper_until_it_is_empty() -> None:
    lot = Lot(1, 10, NOW + DAY, NOW)
    wallet = Wallet(organization("o1"), version=4, lots=(lot,), granted=10)

    closed = decisions.close(wallet, NOW + 5)

    assert closed == wallet._replace(version=5, frozen=True, due_at=NOW + 5)
    emptied = wallet._replace(lots=())
    assert decisions.close(emptied, NOW + 5) == emptied._replace(version=5, frozen=True, due_at=None)
    partly, fully = (decisions.remove(closed, credits, cause=because(NOW + 9)).wallet for credits in (4, 10))
    assert (partly.due_at, fully.due_at) == (NOW + 9, None)


@pytest.mark.parametrize("frozen", [True, False])
def test_freezing_a_wallet_changes_its_version(frozen: bool) -> None:
    wallet = Wallet(ACCOUNT, version=4, frozen=not frozen)

    assert decisions.freeze(wallet, frozen=frozen) == Wallet(ACCOUNT, version=5, frozen=frozen)


@pytest.mark.parametrize(("account_id", "refusal"), [(ACCOUNT, UserDisabled), (organization("o1"), OrganizationClosed)])
def test_a_frozen_wallet_refuses_holds_and_charges(account_id: AccountId, refusal: type[AccountingError]) -> None:
    frozen = Wallet(account_id, frozen=True)

    for command in (decisions.hold, decisions.charge):
        with pytest.raises(refusal):
            command(frozen, 0, cause=because())


def test_unused_credits_of_a_hold_return_to_their_lots() -> None:
    book = Book(("soon", 10, NOW + DAY), ("late", 10, NOW + 2 * DAY))

    parts = book.hold(15)
    settlement = book.settle(parts, 12, at=NOW + HOUR)

    assert parts == (book.lot("soon", 10, NOW + DAY), book.lot("late", 5, NOW + 2 * DAY))
    assert (settlement.refund, settlement.overrun, settlement.debt) == (3, 0, 0)
    assert book.wallet.lots == (book.lot("late", 8, NOW + 2 * DAY),)
    assert (book.wallet.held, book.wallet.charged) == (0, 12)


def test_held_credits_cannot_be_held_again() -> None:
    book = Book(("a", 10, NOW + DAY))
    book.hold(6)

    with pytest.raises(InsufficientCredits):
        decisions.hold(book.wallet, 5, cause=because())

    assert (book.wallet.available, book.wallet.held) == (4, 6)


def test_an_unused_hold_is_released() -> None:
    book = Book(("a", 10, NOW + DAY))

    book.settle(book.hold(4), 0)

    assert book.kinds == ["grant", "hold", "release"]
    assert book.wallet.lots == (book.lot("a", 10, NOW + DAY),)


def test_credits_that_expired_while_held_return_and_expire_after_the_grace() -> None:
    book = Book(("a", 10, NOW + HOUR))

    book.settle(book.hold(10), 4, at=NOW + 2 * HOUR)

    assert book.wallet.lots == (book.lot("a", 6, NOW + 2 * HOUR + GRACE, grace=True),)


def test_holding_and_aborting_gives_grace_only_once() -> None:
    book = Book(("a", 10, NOW + HOUR))
    book.settle(book.hold(10), 0, at=NOW + 2 * HOUR)
    graced_until = NOW + 2 * HOUR + GRACE

    again = book.hold(10, at=graced_until - 1)
    settlement = book.settle(again, 0, at=graced_until)

    assert settlement.refund == 10
    assert book.kinds[-2:] == ["release", "expire"]
    assert (book.wallet.available, book.wallet.expired) == (0, 10)


def test_repeated_holding_and_aborting_does_not_extend_the_grace() -> None:
    book = Book(("a", 10, NOW + HOUR))
    book.settle(book.hold(10), 0, at=NOW + 2 * HOUR)

    for hour in range(3, 12):
        book.settle(book.hold(7, at=NOW + hour * HOUR), 0, at=NOW + hour * HOUR + 1)

    assert book.wallet.lots == (book.lot("a", 10, NOW + 2 * HOUR + GRACE, grace=True),)


def test_parts_of_one_lot_share_the_grace_of_the_first_part_that_returns() -> None:
    book = Book(("a", 10, NOW + HOUR))
    first, second = book.hold(4), book.hold(6)

    book.settle(first, 0, at=NOW + 2 * HOUR)
    book.settle(second, 1, at=NOW + 20 * HOUR)

    assert book.wallet.lots == (book.lot("a", 9, NOW + 2 * HOUR + GRACE, grace=True),)


def test_credits_that_return_at_the_instant_of_their_expiry_get_the_grace() -> None:
    book = Book(("a", 10, NOW + HOUR))

    book.settle(book.hold(10), 0, at=NOW + HOUR)

    assert book.wallet.lots == (book.lot("a", 10, NOW + HOUR + GRACE, grace=True),)


def test_the_grant_and_expiry_times_of_a_lot_are_whole_seconds() -> None:
    wallet = decisions.grant(Wallet(ACCOUNT), 1, expires_at=NOW + HOUR + 1, cause=because(NOW + 999)).wallet

    assert wallet.lots == (Lot(1, 1, NOW + HOUR + 1_000, NOW),)


def test_only_entries_of_grants_name_an_allocation() -> None:
    book = Book(("a", 10, NOW + HOUR))
    book.hold(4)

    assert [entry.allocation_id for entry in book.entries] == [allocation_id(ACCOUNT, 1), None]


def test_different_lots_have_separate_graces() -> None:
    book = Book(("first", 10, NOW + HOUR), ("second", 10, NOW + HOUR))
    holds = [book.hold(10), book.hold(10)]

    for hold, at in zip(holds, (NOW + 2 * HOUR, NOW + 3 * HOUR), strict=True):
        book.settle(hold, 0, at=at)

    assert [lot.expires_at for lot in book.wallet.lots] == [NOW + 2 * HOUR + GRACE, NOW + 3 * HOUR + GRACE]


def test_a_raised_hold_is_settled_as_one_hold() -> None:
    book = Book(("a", 10, NOW + DAY), ("b", 10, NOW + 2 * DAY))
    parts = merged(book.hold(4), book.hold(8))

    book.settle(parts, 5)

    assert parts == (book.lot("a", 10, NOW + DAY), book.lot("b", 2, NOW + 2 * DAY))
    assert book.lots == {"a": 5, "b": 10}


def test_an_overrun_is_taken_from_the_lots() -> None:
    book = Book(("a", 100, NOW + DAY))

    settlement = book.settle(book.hold(4), 60)

    assert (settlement.refund, settlement.overrun, settlement.debt) == (0, 56, 0)
    assert (book.wallet.available, book.wallet.charged, book.wallet.debt) == (40, 60, 0)


def test_an_uncovered_overrun_becomes_debt_that_the_next_grant_repays() -> None:
    book = Book(("a", 10, NOW + DAY))

    settlement = book.settle(book.hold(4), 60)
    in_debt = book.wallet
    book.grant("b", 80)

    assert (settlement.overrun, settlement.debt) == (56, 50)
    assert (in_debt.available, in_debt.held, in_debt.debt, in_debt.charged) == (0, 0, 50, 60)
    assert book.kinds[-2:] == ["grant", "repay"]
    assert (book.wallet.available, book.wallet.debt) == (30, 0)


def test_a_grant_smaller_than_the_debt_leaves_nothing_to_spend() -> None:
    book = Book(("a", 10, NOW + DAY))
    book.settle(book.hold(10), 40)

    book.grant("b", 20)

    assert (book.wallet.available, book.wallet.debt, book.wallet.lots) == (0, 10, ())


def test_a_refund_repays_the_debt_of_another_session() -> None:
    book = Book(("a", 20, NOW + DAY))
    first, second = book.hold(10), book.hold(10)

    book.settle(first, 15)
    book.settle(second, 2)

    assert (book.wallet.available, book.wallet.debt, book.wallet.charged) == (3, 0, 17)


@pytest.mark.parametrize(("target", "granted", "removed"), [(25, 5, 0), (20, 0, 0), (7, 0, 13), (0, 0, 20)])
def test_set_makes_exactly_the_target_available(target: int, granted: int, removed: int) -> None:
    book = Book(("a", 12, NOW + DAY), ("b", 8, NOW + 2 * DAY))

    book.set(target)

    assert book.wallet.available == target
    assert (book.wallet.granted, book.wallet.removed) == (20 + granted, removed)
    assert book.kinds[-1] == "set"


def test_set_leaves_held_credits_and_other_lots_alone() -> None:
    book = Book(("a", 10, NOW + DAY), ("b", 10, NOW + 2 * DAY))
    parts = book.hold(4)

    book.set(20, expires_at=NOW + 9 * DAY)
    book.settle(parts, 0)

    assert book.wallet.lots == (
        book.lot("a", 10, NOW + DAY),
        book.lot("b", 10, NOW + 2 * DAY),
        book.lot("set", 4, NOW + 9 * DAY),
    )


def test_set_writes_off_debt_with_an_entry() -> None:
    book = Book(("a", 10, NOW + DAY))
    book.settle(book.hold(10), 40)

    book.set(5)

    assert book.kinds[-2:] == ["write_off", "set"]
    assert (book.wallet.available, book.wallet.debt) == (5, 0)
    assert book.wallet.granted == 10 + 30 + 5


def test_set_ignores_expired_lots() -> None:
    book = Book(("a", 10, NOW + HOUR))

    book.set(10, at=NOW + DAY)

    assert book.kinds[-2:] == ["expire", "set"]
    assert (book.wallet.available, book.wallet.expired, book.wallet.granted) == (10, 10, 20)


def full_wallet() -> Wallet:
    """A wallet with the maximum number of lots. Two expire a minute apart, all others at least an hour apart."""
    wallet = Wallet(ACCOUNT)
    for number in range(MAX_LOTS):
        expires_at = NOW + DAY + number * HOUR - (HOUR - MINUTE if number == 7 else 0)
        wallet = decisions.grant(wallet, 1, expires_at=expires_at, cause=because()).wallet
    return wallet


def test_a_lot_beyond_the_limit_merges_the_two_lots_with_the_closest_expiries() -> None:
    full = full_wallet()

    decision = decisions.grant(full, 5, expires_at=NOW + 9_000 * DAY, cause=because())

    wallet = decision.wallet
    assert_sound(wallet)
    assert (len(wallet.lots), wallet.available) == (MAX_LOTS, MAX_LOTS + 5)
    assert wallet.lots[6] == full.lots[7]._replace(credits=2)
    grant, merge = decision.entries
    assert (grant.kind, grant.credits) == ("grant", 5)
    assert (merge.kind, merge.credits, merge.actor) == ("merge", 0, "system")
    assert merge.reason == "allocation 7 joined allocation 8"
    assert merge.available_after == MAX_LOTS + 5
    assert (grant.allocation_id, merge.allocation_id) == (allocation_id(ACCOUNT, MAX_LOTS + 1), None)


@pytest.mark.parametrize("command", [decisions.grant, decisions.set_available])
def test_a_grant_beyond_the_limit_of_lots_is_refused_if_no_two_lots_can_merge(command: Callable[..., Decision]) -> None:
    full = full_wallet()
    alternating = tuple(lot._replace(grace=bool(place % 2)) for place, lot in enumerate(full.lots))

    with pytest.raises(TooManyAllocations) as refused:
        command(full._replace(lots=alternating), MAX_LOTS + 1, expires_at=NOW + 2 * DAY, cause=because())
    assert str(refused.value) == "An account may have at most 1000 live allocations"
    assert refused.value.details == {"limit": 1000}


def test_settling_beyond_the_limit_of_lots_merges_two_lots_and_is_not_refused() -> None:
    held = decisions.hold(full_wallet(), 1, cause=because())
    granted = decisions.grant(held.wallet, 1, expires_at=NOW + 9_000 * DAY, cause=because()).wallet
    assert len(granted.lots) == MAX_LOTS

    settled = decisions.settle(granted, held.parts, 0, grace_milliseconds=GRACE, cause=because())

    assert (len(settled.wallet.lots), settled.refund) == (MAX_LOTS, 1)
    assert [entry.kind for entry in settled.entries] == ["release", "merge"]
    assert_sound(settled.wallet)


def late(book: Book, difference: int, at: int = NOW) -> decisions.Settlement:
    cause = Cause("u1", at, session_id="s1", usage_id="late")
    return book.apply(decisions.settle_late(book.wallet, difference, grace_milliseconds=GRACE, cause=cause))


def test_late_usage_above_the_charge_is_taken_from_the_lots() -> None:
    book = Book(("a", 10, NOW + DAY))
    book.settle(book.hold(5), 2)

    settlement = late(book, 3)

    assert (settlement.refund, settlement.overrun, settlement.debt) == (0, 3, 0)
    entry = book.entries[-1]
    assert (entry.kind, entry.credits, entry.charged, entry.usage_id) == ("settle", -3, 3, "late")
    assert (book.wallet.charged, book.wallet.available) == (5, 5)


def test_late_usage_that_the_lots_cannot_cover_becomes_debt() -> None:
    book = Book(("a", 2, NOW + DAY))

    assert late(book, 5).debt == 3
    assert (book.wallet.debt, book.wallet.available) == (3, 0)


def test_late_usage_below_the_charge_is_refunded_as_a_lot_with_grace() -> None:
    book = Book(("a", 10, NOW + DAY))
    book.settle(book.hold(9), 9)

    settlement = late(book, -4, at=NOW + 2 * DAY)

    assert (settlement.refund, settlement.overrun, settlement.debt) == (4, 0, 0)
    assert book.wallet.lots == (Lot(0, 4, NOW + 2 * DAY + GRACE, NOW + 2 * DAY, grace=True),)
    assert book.wallet.charged == 5
    assert book.kinds[-1] == "settle"


def test_late_usage_without_a_difference_still_writes_an_entry() -> None:
    book = Book(("a", 10, NOW + DAY))

    late(book, 0)

    assert (book.entries[-1].kind, book.entries[-1].credits, book.entries[-1].charged) == ("release", 0, 0)
    assert book.wallet.available == 10


@pytest.mark.parametrize("command", [decisions.remove, decisions.charge, decisions.hold])
def test_more_credits_than_are_available_cannot_be_taken(command: Callable[..., Decision]) -> None:
    book = Book(("a", 10, NOW + DAY))
    before = book.wallet

    with pytest.raises(InsufficientCredits):
        command(before, 11, cause=because())

    assert book.wallet is before
    assert before.available == 10
    assert command(before, 10, cause=because()).wallet.available == 0


@pytest.mark.parametrize("kind", ["grant", "adjust"])
def test_the_entry_of_a_grant_has_the_kind_of_the_command(kind: str) -> None:
    decision = decisions.grant(Wallet(ACCOUNT), 3, expires_at=NOW + 1, cause=because(), kind=kind)  # type: ignore[arg-type]  # parametrized

    assert [(entry.kind, entry.credits) for entry in decision.entries] == [(kind, 3)]


def test_the_entry_of_a_settlement_has_the_refund_and_the_charge() -> None:
    book = Book(("a", 10, NOW + DAY))

    book.settle(book.hold(5), 4)

    settled = book.entries[-1]
    assert (settled.kind, settled.credits, settled.charged, settled.session_id) == ("settle", 1, 4, "s1")
    assert (settled.available_after, settled.held_after) == (6, 0)


def test_a_clock_that_runs_behind_does_not_put_the_ledger_out_of_order() -> None:
    book = Book(("a", 10, NOW + DAY))

    decision = book.apply(decisions.charge(book.wallet, 1, cause=because(NOW - HOUR)))

    assert decision.entries[0].at == NOW
    assert decision.wallet.updated_at == NOW


def test_a_command_raises_the_version_and_numbers_its_entries() -> None:
    book = Book(("a", 10, NOW + HOUR))

    book.grant("b", 5, at=NOW + 2 * HOUR)

    assert (book.wallet.version, book.wallet.entry_seq) == (2, 3)
    assert [entry.seq for entry in book.entries] == [1, 2, 3]
    assert {entry.account_id for entry in book.entries} == {ACCOUNT}


def test_an_erased_users_wallet_refuses_holds_and_its_new_entries_have_no_reason() -> None:
    book = Book(("a", 10, NOW + DAY))
    erased = decisions.erase(book.wallet)

    assert (erased.frozen, erased.erased, erased.version) == (True, True, book.wallet.version + 1)
    with pytest.raises(UserDisabled):
        decisions.hold(erased, 1, cause=because())
    removed = decisions.remove(erased, 4, cause=because())
    (entry,) = removed.entries
    assert (entry.reason, entry.salt, entry.reason_digest, entry.actor) == ("", "", "", "boss")
    assert_ledger_explains(removed.wallet, [*book.entries, entry])
