"""Credits that users can still claim: the sums of all wallets, added up while the auditor goes through them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from accounting.domain.accounts import AccountId
from accounting.domain.wallet import Wallet

MONTHS = 24
"""How many months a sum tells apart, the first one included."""

MAX_NAMED = 20
"""The most accounts with findings that a sum names."""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """The sums of the wallets that one run of the auditor has read, from ``begun_at`` to ``ended_at``.

    ``available`` is what can be spent: ``by_month`` (``yyyy-mm``, UTC) has what expires in each of the first 24 months,
    and ``later`` what expires after them. ``expired`` credits are still in wallets, but can't be spent. ``drifting``
    counts the accounts in which the auditor found a problem, and ``named`` has the first of them. If the wallet can't
    be read, the account is in no other number. ``unproved`` counts the accounts that could not be checked.
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
        last = _number(self.begun_at) + MONTHS - 1
        for lot in wallet.lots:
            if lot.expires_at <= self.begun_at:
                expired += lot.credits
            elif _number(lot.expires_at) > last:
                later += lot.credits
            else:
                month = _month(lot.expires_at)
                months[month] = months.get(month, 0) + lot.credits
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

    def found_in(self, account_id: AccountId) -> "Outstanding":
        """The sums with one more account in which the auditor found a problem."""
        named = self.named if len(self.named) >= MAX_NAMED else (*self.named, account_id)
        return replace(self, drifting=self.drifting + 1, named=named)


def _number(at: int) -> int:
    """The number of an instant's month."""
    when = datetime.fromtimestamp(at / 1000, UTC)
    return when.year * 12 + when.month


def _month(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m")
