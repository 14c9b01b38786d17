"""Grants: when their credits expire."""

import pytest

from accounting.domain.allocations import MAX_EXPIRY_DAYS, expiry
from accounting.domain.errors import Invalid
from accounting.times import DAY

NOW = 1_800_000_000_001
NEXT_SECOND = 1_800_000_001_000


def test_credits_expire_after_the_given_days_at_the_next_whole_second() -> None:
    assert expiry(NOW, 30, None) == NEXT_SECOND + 30 * DAY


@pytest.mark.parametrize(
    ("at", "expires_at"), [(NOW + 1, NEXT_SECOND), (NEXT_SECOND, NEXT_SECOND), (NEXT_SECOND + 1, NEXT_SECOND + 1_000)]
)
def test_a_given_instant_replaces_the_number_of_days(at: int, expires_at: int) -> None:
    assert expiry(NOW, 30, at) == expires_at


def test_credits_are_valid_for_ten_years_at_most() -> None:
    assert MAX_EXPIRY_DAYS == 3650
    assert expiry(NOW, 30, NOW + MAX_EXPIRY_DAYS * DAY) == NEXT_SECOND + MAX_EXPIRY_DAYS * DAY


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        (NOW, "must be in the future"),
        (NOW - 1, "must be in the future"),
        (NOW + MAX_EXPIRY_DAYS * DAY + 1, "must be at most 3650 days from now"),
    ],
)
def test_an_instant_that_has_passed_or_is_too_far_away_is_refused(at: int, problem: str) -> None:
    with pytest.raises(Invalid) as refused:
        expiry(NOW, 30, at)

    assert str(refused.value) == f"expiresAt: {problem}"
