"""The proof of an account's credits: its ledger is added up again, entry by entry.

The proof does not trust the balances and the hash that an entry states. It computes the balances from the previous
balances and the entry's ``credits`` and ``charged``. It computes the hash from the entry's content and the previous
hash. It takes only one balance from the entry: the debt after a settlement. From this debt, the charge and the
credits, it computes the held credits, which must match the entry.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from accounting.domain.accounts import AccountId
from accounting.domain.ledger import Entry, NewerEntry, Unreadable
from accounting.domain.wallet import Wallet

MAX_FINDINGS = 20

Problem = Literal["altered", "missing", "inserted", "sums", "wallet"]
"""``altered``: the entry cannot be read, its hash does not match its content and the previous hash, or its reason was
changed. ``missing``: the ledger has a gap, or ends before the wallet's newest entry. ``inserted``: an entry has no
number, or a number that is not higher than the previous entry's. ``sums``: the balances that the entry states do not
follow from the previous entry, or a sum is negative. ``wallet``: the wallet does not match the sums of its ledger, or
cannot be read."""


class Finding(NamedTuple):
    """An inconsistency that this service's own writes cannot cause.

    ``seq`` is the entry's number. If an inserted entry has no number, ``seq`` is the number of the entry before it. For
    ``wallet``, ``seq`` is the number of the wallet's newest entry, or 0 if the wallet cannot be read.
    """

    problem: Problem
    seq: int


class LedgerSums(NamedTuple):
    """A wallet's numbers: computed from its entries alone, or as the wallet states them (``of``)."""

    available: int = 0
    held: int = 0
    debt: int = 0
    granted: int = 0
    charged: int = 0
    removed: int = 0
    expired: int = 0

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        return cls(**{name: getattr(wallet, name) for name in cls._fields})

    def after(self, entry: Entry) -> "LedgerSums":
        """The sums after one more entry."""
        sums = self._replace(available=self.available + entry.credits, charged=self.charged + entry.charged)
        match entry.kind:
            case "grant" | "adjust" | "set" if entry.credits > 0:
                return sums._replace(granted=self.granted + entry.credits)
            case "remove" | "adjust" | "set":
                return sums._replace(removed=self.removed - entry.credits)
            case "hold":
                return sums._replace(held=self.held - entry.credits)
            case "settle" | "release":
                added_debt = entry.debt_after - self.debt
                return sums._replace(held=self.held + added_debt - entry.charged - entry.credits, debt=entry.debt_after)
            case "expire":
                return sums._replace(expired=self.expired - entry.credits)
            case "repay":
                return sums._replace(debt=self.debt + entry.credits)
            case "write_off":
                return sums._replace(granted=self.granted + self.debt, debt=0)
        return sums

    def explains(self, entry: Entry) -> bool:
        """Whether these are the balances that the entry states, and no number is negative."""
        stated = (entry.available_after, entry.held_after, entry.debt_after)
        return (self.available, self.held, self.debt) == stated and min(self) >= 0

    def drift(self) -> int:
        """How many granted credits the other sums do not explain. Negative if there are credits that nobody granted."""
        return self.granted - (self.available + self.held + self.charged + self.removed + self.expired - self.debt)


@dataclass(slots=True)
class KindSums:
    """The number of entries of one kind, the sum of their credits, and the sum of their charges."""

    entries: int = 0
    credits: int = 0
    charged: int = 0


@dataclass(slots=True)
class Proof:
    """How far an account's ledger was read, its sums up to there, and the problems found.

    ``seq`` is the number of the last entry read, and ``head`` its hash. ``since`` (epoch milliseconds) is when an
    audit last read the ledger from its first entry; later audits read only the entries after ``seq``. ``unread`` means
    that the ledger goes on with entries in a newer format, which this version does not judge.
    """

    account_id: AccountId
    since: int
    seq: int = 0
    head: str = ""
    sums: LedgerSums = field(default_factory=LedgerSums)
    by_kind: dict[str, KindSums] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unread: bool = False

    @property
    def intact(self) -> bool:
        return not self.findings

    def follow(self, ledger: Iterable[Entry | Unreadable | NewerEntry]) -> None:
        """Check the entries after ``seq``, in order, up to the first one in a newer format."""
        for entry in ledger:
            if isinstance(entry, NewerEntry):
                self.unread = True
                return
            if entry.seq is None or entry.seq <= self.seq:
                self.add_finding("inserted", self.seq if entry.seq is None else entry.seq)
                continue
            if entry.seq > self.seq + 1:
                self.add_finding("missing", self.seq + 1)
            if isinstance(entry, Unreadable) or entry.hash != entry.hashed(self.head) or not entry.reason_fits:
                self.add_finding("altered", entry.seq)
            if isinstance(entry, Entry):
                self._add(entry)
            self.seq, self.head = entry.seq, entry.hash

    def compare(self, wallet: Wallet) -> None:
        """Record a finding if the wallet does not match the ledger. Skipped if part of the ledger is ``unread``."""
        if self.unread:
            return
        if self.seq < wallet.entry_seq:
            self.add_finding("missing", self.seq + 1)
        if self.seq > wallet.entry_seq or wallet.head != self.head or self.drift(wallet):
            self.add_finding("wallet", wallet.entry_seq)

    def drift(self, wallet: Wallet) -> int:
        """The largest error in credits, without its sign.

        An error is the difference between a number of the wallet and the ledger's sum, or the ``LedgerSums.drift`` of
        either. If part of the ledger is ``unread``, the result is 0, because the wallet includes entries that the sums
        lack.
        """
        if self.unread:
            return 0
        stated = LedgerSums.of(wallet)
        differences = [number - known for number, known in zip(stated, self.sums, strict=True)]
        return max(map(abs, [*differences, stated.drift(), self.sums.drift()]))

    def _add(self, entry: Entry) -> None:
        self.sums = self.sums.after(entry)
        if not self.sums.explains(entry):
            self.add_finding("sums", entry.seq)
            stated = {"available": entry.available_after, "held": entry.held_after, "debt": entry.debt_after}
            self.sums = self.sums._replace(**stated)  # so that later entries are not blamed for this one
        kind = self.by_kind.setdefault(entry.kind, KindSums())
        kind.entries += 1
        kind.credits += entry.credits
        kind.charged += entry.charged

    def add_finding(self, problem: Problem, seq: int) -> None:
        """Record a finding, up to ``MAX_FINDINGS``."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(problem, seq))
