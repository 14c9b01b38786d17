"""Grants as they were made, and how long their credits live."""

from dataclasses import dataclass

from accounting.domain.accounts import AccountId
from accounting.domain.errors import Invalid
from accounting.domain.lots import whole_second

DAY = 24 * 60 * 60 * 1000
MAX_EXPIRY_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Allocation:
    """A grant as it was made: ``number`` counts the account's grants from 1, times are epoch milliseconds."""

    account_id: AccountId
    number: int
    id: str
    credits: int
    allocated_by: str
    allocated_at: int
    expires_at: int
    notes: str = ""


def expiry(now: int, days: int, at: int | None) -> int:
    """When a lot granted ``now`` expires: ``at`` that instant, by default after ``days``; epoch milliseconds.

    Credits expire at whole seconds, the first from then on. Raises Invalid unless ``at`` is later than now, by at most
    ``MAX_EXPIRY_DAYS``.
    """
    if at is None:
        return whole_second(now + days * DAY)
    if at <= now:
        raise Invalid.field("expiresAt", "must be in the future")
    if at > now + MAX_EXPIRY_DAYS * DAY:
        raise Invalid.field("expiresAt", f"at most {MAX_EXPIRY_DAYS} days from now")
    return whole_second(at)
