"""Runs. A run is the budget of one task. Any number of sessions and usage records of one account share it.

Times are epoch milliseconds.
"""

from typing import Literal, NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.errors import Invalid, RunEnded

type Status = Literal["active", "stopped", "expired"]

DAY = 86_400_000
DEFAULT_LIFE = 30 * DAY
LONGEST_LIFE = 366 * DAY


class Run(NamedTuple):
    """A run of ``user_id``, paid by ``account_id``. The client chooses the run's id, which is unique in the account.

    ``spent`` is the credits that were charged to the run. ``committed`` is ``spent`` plus the credits that the run's
    active sessions hold. ``sessions`` counts the sessions that were opened, and ``records`` counts the usage records.
    """

    account_id: AccountId
    id: str
    user_id: str
    limit: int
    created_at: int
    expires_at: int
    stopped_at: int | None = None
    committed: int = 0
    spent: int = 0
    sessions: int = 0
    records: int = 0
    has_metadata: bool = False

    @property
    def remaining(self) -> int:
        """What can still be committed, if the run is active."""
        return max(0, self.limit - self.committed)

    def status(self, now: int) -> Status:
        """Whether the run accepts new sessions and usage records (``active``), or why not."""
        if self.stopped_at is not None:
            return "stopped"
        return "expired" if self.expires_at <= now else "active"

    def require_active(self, now: int) -> None:
        """Raise RunEnded unless the run is active."""
        status = self.status(now)
        if status != "active":
            raise RunEnded(f"The run is {status}", runId=self.id, status=status)

    def same_request(self, user_id: str, limit: int, expires_at: int | None) -> bool:
        """Whether a request with these values repeats the one that made the run.

        A request without ``expires_at`` matches any expiry.
        """
        return (self.user_id, self.limit) == (user_id, limit) and expires_at in (None, self.expires_at)


def end_of(expires_at: int | None, now: int) -> int:
    """The expiry of a run that begins at ``now``.

    Raises Invalid if ``expires_at`` is in the past or too far in the future.
    """
    if expires_at is None:
        return now + DEFAULT_LIFE
    if not now < expires_at <= now + LONGEST_LIFE:
        raise Invalid.field("expiresAt", f"must be in the future, and within {LONGEST_LIFE // DAY} days")
    return expires_at
