"""Runs, the budgets of single tasks: when a run ends, how many credits remain, and which request is a repeat."""

import pytest

from accounting.domain.accounts import personal
from accounting.domain.errors import Invalid, RunEnded
from accounting.domain.runs import DAY, DEFAULT_LIFE, LONGEST_LIFE, Run, Status, end_of

NOW = 1_800_000_000_000
RUN = Run(personal("u1"), "r1", "u1", limit=10, created_at=NOW, expires_at=NOW + DAY)


@pytest.mark.parametrize(
    ("run", "at", "status"),
    [
        (RUN, NOW, "active"),
        (RUN, NOW + DAY - 1, "active"),
        (RUN, NOW + DAY, "expired"),
        (RUN, NOW + DAY + 1, "expired"),
        (RUN._replace(stopped_at=NOW), NOW, "stopped"),
        (RUN._replace(stopped_at=0), NOW, "stopped"),
        (RUN._replace(stopped_at=NOW), NOW + 2 * DAY, "stopped"),
        (RUN._replace(committed=99), NOW, "active"),
    ],
)
def test_a_run_is_active_until_it_is_stopped_or_expires(run: Run, at: int, status: Status) -> None:
    assert run.status(at) == status
    if status == "active":
        run.require_active(at)
    else:
        with pytest.raises(RunEnded) as refused:
            run.require_active(at)
        assert str(refused.value) == f"The run is {status}"
        assert refused.value.details == {"runId": "r1", "status": status}


@pytest.mark.parametrize(("committed", "remaining"), [(0, 10), (9, 1), (10, 0), (11, 0), (10**12, 0)])
def test_the_remaining_credits_of_a_run_are_never_negative(committed: int, remaining: int) -> None:
    assert RUN._replace(committed=committed).remaining == remaining


@pytest.mark.parametrize(
    ("values", "same"),
    [
        (("u1", 10, NOW + DAY), True),
        (("u1", 10, None), True),
        (("u2", 10, NOW + DAY), False),
        (("u1", 11, NOW + DAY), False),
        (("u1", 10, NOW + DAY + 1), False),
    ],
)
def test_a_repeat_has_the_same_values_and_may_leave_out_the_expiry(
    values: tuple[str, int, int | None], same: bool
) -> None:
    assert RUN.same_request(*values) is same


def test_a_run_expires_after_30_days_if_the_request_names_no_expiry() -> None:
    assert end_of(None, NOW) == NOW + 30 * 86_400_000
    assert DEFAULT_LIFE < LONGEST_LIFE == 366 * 86_400_000


@pytest.mark.parametrize("expires_at", [NOW + 1, NOW + DAY, NOW + 366 * DAY])
def test_a_run_may_expire_up_to_366_days_from_now(expires_at: int) -> None:
    assert end_of(expires_at, NOW) == expires_at


@pytest.mark.parametrize("expires_at", [0, NOW - 1, NOW, NOW + 366 * DAY + 1])
def test_an_expiry_that_is_past_or_too_late_is_invalid(expires_at: int) -> None:
    with pytest.raises(Invalid) as refused:
        end_of(expires_at, NOW)

    (error,) = refused.value.details["errors"]
    assert error == {"field": "expiresAt", "problem": "must be in the future, and within 366 days"}
