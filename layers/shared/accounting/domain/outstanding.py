"""The sums of all wallets, which the auditor adds up while it reads the wallets."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from accounting.domain.accounts import AccountId
from accounting.domain.wallet import Wallet
from accounting.domain.windows import Window, window_at

MONTHS = 24
"""How many months ``by_month`` covers, beginning with the month of ``begun_at``."""

MAX_NAMED = 20
"""How many accounts ``named`` has at most."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """The sums of the wallets that one run of the auditor has read, from ``begun_at`` to ``ended_at``.

    ``available`` is what can be spent. It is the sum of ``by_month`` and ``later``. ``by_month`` has the credits that
    expire in each of ``MONTHS`` months (``yyyy-mm``, UTC), and ``later`` those that expire after these months.
    ``expired`` credits are still in wallets, but can't be spent. ``drifting`` counts the accounts in which the auditor
    found a problem, and ``named`` has the first ``MAX_NAMED`` of these accounts. An account whose wallet can't be read
    is only in ``drifting`` and ``named``. ``unproved`` counts the accounts whose audit raised an exception, or whose
    ledger continues in a newer format.
    """

    begun_at: int
    ended_at: int = 0
    accounts: int = 0
    available: int = 0
    held: int = 0
    debt: int = 0
    expired: int = 0
    later: int = 0
    drifting: int = 0
    unproved: int = 0
    by_month: Mapping[str, int] = field(default_factory=dict)
    named: tuple[AccountId, ...] = ()

    def plus(self, wallet: Wallet) -> "Outstanding":
        """The sums with one more wallet."""
        months, expired, later = dict(self.by_month), self.expired, self.later
        windows = _months(self.begun_at)
        for lot in wallet.lots:
            place = bisect_right(windows, lot.expires_at, key=_end)
            if lot.expires_at <= self.begun_at:
                expired += lot.credits
            elif place == MONTHS:
                later += lot.credits
            else:
                months[windows[place].name] = months.get(windows[place].name, 0) + lot.credits
        return replace(
            self,
            accounts=self.accounts + 1,
            available=self.available + wallet.spendable(self.begun_at),
            held=self.held + wallet.held,
            debt=self.debt + wallet.debt,
            expired=expired,
            later=later,
            by_month=months,
        )

    def with_problem_in(self, account_id: AccountId) -> "Outstanding":
        """The sums with one more account in which the auditor found a problem."""
        named = self.named if len(self.named) >= MAX_NAMED else (*self.named, account_id)
        return replace(self, drifting=self.drifting + 1, named=named)


@lru_cache(maxsize=1)
def _months(begun_at: int) -> tuple[Window, ...]:
    months = [window_at("month", "UTC", begun_at)]
    while len(months) < MONTHS:
        months.append(window_at("month", "UTC", _end(months[-1])))
    return tuple(months)


def _end(month: Window) -> int:
    return month.resets_at or 0
