"""How long granted credits live. Imports ``errors`` only."""

from accounting.domain.errors import Invalid

DAY = 24 * 60 * 60 * 1000
MAX_EXPIRY_DAYS = 3650


def expiry(now: int, days: int, at: int | None) -> int:
    """When a lot granted ``now`` expires: ``at`` that instant, by default after ``days``; epoch milliseconds.

    Raises Invalid unless ``at`` is later than now, by at most ``MAX_EXPIRY_DAYS``.
    """
    if at is None:
        return now + days * DAY
    if at <= now:
        raise Invalid.field("expiresAt", "must be in the future")
    if at > now + MAX_EXPIRY_DAYS * DAY:
        raise Invalid.field("expiresAt", f"at most {MAX_EXPIRY_DAYS} days from now")
    return at
