"""Grants as they were made, and how long their credits stay valid."""

from typing import NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.errors import Invalid
from accounting.domain.lots import whole_second

DAY = 24 * 60 * 60 * 1000
MAX_EXPIRY_DAYS = 3650


class Allocation(NamedTuple):
    """A grant as it was made. ``number`` counts the account's grants from 1; times are epoch milliseconds."""

    account_id: AccountId
    number: int
    id: str
    credits: int
    allocated_by: str
    allocated_at: int
    expires_at: int
    notes: str = ""


def expiry(now: int, days: int, at: int | None) -> int:
    """When credits that are granted now expire: after this number of days, unless the time ``at`` is given.

    Times are epoch milliseconds. The result is rounded up to a whole second. Raises Invalid if ``at`` is not in the
    future, or is more than ``MAX_EXPIRY_DAYS`` away.
    """
    if at is None:
        return whole_second(now + days * DAY)
    if at <= now:
        raise Invalid.field("expiresAt", "must be in the future")
    if at > now + MAX_EXPIRY_DAYS * DAY:
        raise Invalid.field("expiresAt", f"must be at most {MAX_EXPIRY_DAYS} days from now")
    return whole_second(at)
