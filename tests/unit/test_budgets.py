"""Budgets: whom they limit, which counters add up their credits, and how many credits still fit."""

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.budgets import (
    MEMBERS,
    UNLIMITED,
    Allowance,
    Bound,
    Budget,
    Counter,
    Room,
    Spender,
    applying,
    key_in,
    member_in,
    most_before,
    of_key,
    of_member,
)
from accounting.domain.errors import AccountNotFound
from accounting.domain.runs import Run
from accounting.times import DAY, from_iso

ACME = stored("org:acme")
AT = from_iso("2027-01-15T08:00:00Z")
SPENDER = Spender("u1", ACME, "k1", "r1")


def budget(subject: str, limit: int = 10, begun: int = 1) -> Budget:
    return Budget(ACME, subject, limit, "day", "UTC", begun, changed_at=AT, changed_by="boss")


OWN, ALL, KEY = budget("member:u1", 10, 1), budget(MEMBERS, 20, 2), budget("key:k1", 30, 3)
OWN_COUNTER, ALL_COUNTER = Counter("member", 1, "2027-01-15"), Counter("member", 2, "2027-01-15")
KEY_COUNTER = Counter("key", 3, "2027-01-15")
MIDNIGHT = from_iso("2027-01-16")
RUN = Run(ACME, "r1", "u1", 40, created_at=AT, expires_at=AT + DAY, committed=4)


def test_a_spender_is_limited_by_budgets_of_the_user_and_of_all_members_and_of_the_key() -> None:
    assert SPENDER.subjects == ("member:u1", "members", "key:k1")
    assert Spender("u1", ACME).subjects == ("member:u1", "members")
    assert Spender("u1", personal("u1"), "k1").subjects == ("member:u1", "key:k1")
    assert Spender("u1", personal("u1")).subjects == ("member:u1",)


@pytest.mark.parametrize(
    ("subject", "member", "key"),
    [
        ("member:u1", "u1", None),
        ("member:member:u1", "member:u1", None),
        ("member:key:k1", "key:k1", None),
        ("key:k1", None, "k1"),
        ("members", None, None),
        ("member:", "", None),
        ("key:", None, ""),
        ("", None, None),
    ],
)
def test_the_subject_of_a_budget_is_one_member_or_one_key_or_all_members(
    subject: str, member: str | None, key: str | None
) -> None:
    assert (member_in(subject), key_in(subject)) == (member, key)
    assert of_member(member) == subject if member is not None else True
    assert of_key(key) == subject if key is not None else True


def test_a_counter_belongs_to_a_member_or_a_key() -> None:
    assert OWN_COUNTER.subject(SPENDER) == ALL_COUNTER.subject(SPENDER) == "member:u1"
    assert KEY_COUNTER.subject(SPENDER) == "key:k1"
    assert KEY_COUNTER.subject(Spender("u1", ACME)) == "key:"


def test_a_budget_has_a_counter_for_each_window_in_its_time_zone() -> None:
    assert [each.counter_at(AT) for each in (OWN, ALL, KEY)] == [OWN_COUNTER, ALL_COUNTER, KEY_COUNTER]
    assert OWN.counter_at(MIDNIGHT - 1).window == "2027-01-15"
    assert OWN.counter_at(MIDNIGHT).window == "2027-01-16"
    assert OWN._replace(zone="Europe/Berlin").counter_at(MIDNIGHT - 1).window == "2027-01-16"
    assert OWN._replace(window="month").counter_at(AT).window == "2027-01"
    assert OWN._replace(window="total").window_at(AT).resets_at is None


def test_a_new_limit_keeps_the_counters_and_a_new_window_or_time_zone_starts_new_counters() -> None:
    lower = OWN._replace(limit=1, begun=9, changed_at=AT + 1, changed_by="other", warn_at=(50,))

    assert lower.replacing(OWN) == lower._replace(begun=1)
    assert lower.replacing(None) == lower
    for changed in (lower._replace(window="week"), lower._replace(zone="Europe/Berlin")):
        assert changed.replacing(OWN) == changed
        assert changed.replacing(OWN).counter_at(AT) != OWN.counter_at(AT)


def test_setting_the_same_values_again_does_not_change_a_budget() -> None:
    assert OWN._replace(begun=9, changed_at=AT + 1, changed_by="other").has_same_terms_as(OWN)
    assert not OWN.has_same_terms_as(None)
    for changed in (
        OWN._replace(limit=11),
        OWN._replace(window="week"),
        OWN._replace(zone="Europe/Berlin"),
        OWN._replace(warn_at=(80,)),
        OWN._replace(by_platform=True),
    ):
        assert not changed.has_same_terms_as(OWN)


@pytest.mark.parametrize(
    ("limit", "committed", "remaining"), [(10, 0, 10), (10, 9, 1), (10, 10, 0), (10, 11, 0), (0, 0, 0)]
)
def test_the_remaining_credits_of_a_limit_are_never_negative(limit: int, committed: int, remaining: int) -> None:
    assert Bound("members", limit, committed).remaining == remaining


def test_the_room_is_the_smallest_remainder_of_the_wallet_and_the_limits() -> None:
    bounds = (Bound("member:u1", 10, 4), Bound("run:r1", 8, 1))

    assert Room(100, 0, bounds).credits == 6
    assert Room(100, 0, bounds[1:]).credits == 7
    assert Room(5, 100, bounds).credits == 5
    assert Room(100, 0, ()).credits == 100
    assert Room(0, 9, bounds).credits == 0
    assert Room(100, 0, (*bounds, Bound("key:k1", 3, 4))).credits == 0


@pytest.mark.parametrize(("limit", "credits", "most"), [(10, 1, 9), (10, 10, 0), (10, 11, -1), (0, 1, -1)])
def test_credits_may_reach_the_limit_exactly(limit: int, credits: int, most: int) -> None:
    assert most_before(limit, credits) == most


def test_zero_credits_fit_even_if_the_limit_is_exceeded() -> None:
    assert most_before(10, 0) == most_before(0, 0) == UNLIMITED == 10**30


def test_a_members_own_budget_applies_instead_of_the_budget_of_all_members() -> None:
    assert applying([OWN, ALL, KEY], owns_account=False) == (OWN, KEY)
    assert applying([ALL, OWN], owns_account=False) == (OWN,)
    assert applying([ALL, KEY], owns_account=False) == (ALL, KEY)
    assert applying([], owns_account=False) == ()


def test_the_budget_of_all_members_does_not_limit_the_owner_of_the_account() -> None:
    assert applying([ALL, KEY], owns_account=True) == (KEY,)
    assert applying([OWN, ALL, KEY], owns_account=True) == (OWN, KEY)


def test_new_spending_is_limited_by_every_budget_that_applies_and_by_the_run() -> None:
    allowance = Allowance(SPENDER, (OWN, ALL, KEY), RUN, committed={OWN_COUNTER: 6})

    assert allowance.bounds(AT) == (
        Bound("member:u1", 10, 6, OWN_COUNTER, MIDNIGHT),
        Bound("key:k1", 30, 0, KEY_COUNTER, MIDNIGHT),
        Bound("run:r1", 40, 4, None, None),
    )
    assert allowance.bounds(MIDNIGHT)[0] == Bound(
        "member:u1", 10, 0, OWN_COUNTER._replace(window="2027-01-16"), MIDNIGHT + DAY
    )
    assert Allowance(SPENDER).bounds(AT) == ()
    assert Allowance(SPENDER, (ALL,), owns_account=True).bounds(AT) == ()


def test_a_raised_hold_is_limited_by_the_counters_of_its_session_and_by_the_run() -> None:
    allowance = Allowance(SPENDER, (OWN, ALL, KEY), RUN, committed={ALL_COUNTER: 7})

    assert allowance.bounds(AT, [ALL_COUNTER]) == (
        Bound("members", 20, 7, ALL_COUNTER, MIDNIGHT),
        Bound("run:r1", 40, 4),
    )
    assert allowance.bounds(AT, []) == (Bound("run:r1", 40, 4),)
    assert allowance.bounds(MIDNIGHT, [ALL_COUNTER]) == (Bound("run:r1", 40, 4),)


@pytest.mark.parametrize("stored_counters", [None, [OWN_COUNTER]])
def test_a_spender_without_access_is_refused_before_any_limit_is_checked(stored_counters: list[Counter] | None) -> None:
    refusal = AccountNotFound()

    with pytest.raises(AccountNotFound) as refused:
        Allowance(SPENDER, (OWN,), RUN, refusal).bounds(AT, stored_counters)

    assert refused.value is refusal


def test_a_newer_value_of_a_counter_replaces_the_older_one() -> None:
    known = Allowance(SPENDER, (OWN, KEY), committed={OWN_COUNTER: 6, KEY_COUNTER: 1})

    newer = known.with_counters({OWN_COUNTER: 9})

    assert newer == known._replace(committed={OWN_COUNTER: 9, KEY_COUNTER: 1})
    assert [bound.remaining for bound in newer.bounds(AT)] == [1, 29]


def test_the_level_of_the_last_warning_is_kept_for_each_counter() -> None:
    known = Allowance(SPENDER, (OWN._replace(warn_at=(50, 80)), KEY), committed={OWN_COUNTER: 6})

    newer = known.with_counters({}, {OWN_COUNTER: 5})

    assert newer == known._replace(warned={OWN_COUNTER: 5})
    assert newer.with_counters({KEY_COUNTER: 1}).warned == {OWN_COUNTER: 5}
    assert [(bound.levels, bound.warned) for bound in newer.bounds(AT)] == [((5, 8), 5), ((), 0)]


@pytest.mark.parametrize(
    ("credits", "warned", "level"),
    [(0, 0, None), (1, 0, 5), (3, 0, 5), (4, 0, 8), (9, 0, 8), (3, 5, None), (4, 5, 8), (9, 8, None)],
)
def test_the_highest_level_that_is_newly_reached_is_reported_once(credits: int, warned: int, level: int | None) -> None:
    bound = Bound("member:u1", 10, committed=4, levels=(5, 8), warned=warned)

    assert bound.level_reached(credits) == level
