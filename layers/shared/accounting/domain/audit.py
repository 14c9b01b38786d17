"""The proof of an account's credits: its ledger added up again, entry by entry.

Nothing is taken from an entry that can be known without it: what stands after it is derived from what stood before it
and its signed numbers, and its hash from its content and its predecessor.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from accounting.domain.accounts import AccountId
from accounting.domain.ledger import Entry
from accounting.domain.wallet import Wallet

MAX_FINDINGS = 20

Problem = Literal["altered", "missing", "inserted", "sums", "wallet"]
"""``altered``: its content, or its predecessor's hash, is not what its hash was made of. ``missing``: its number is.
``inserted``: it stands where none can. ``sums``: it does not follow from the one before. ``wallet``: the wallet is not
what the ledger comes to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that can't be if every change was made by this service; ``seq`` is the entry's number."""

    problem: Problem
    seq: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What stands in a ledger and is no entry that this service wrote: ``seq`` is the number of its place, if any."""

    seq: int | None
    hash: str


@dataclass(frozen=True, slots=True)
class Newer:
    """An entry that a newer version wrote, in a format that this one does not know."""

    seq: int


@dataclass(frozen=True, slots=True)
class Sums:
    """A wallet's numbers, as they follow from entries alone."""

    available: int = 0
    held: int = 0
    debt: int = 0
    granted: int = 0
    charged: int = 0
    removed: int = 0
    expired: int = 0

    @classmethod
    def of(cls, wallet: Wallet) -> Self:
        """What the wallet says."""
        return cls(**{name: getattr(wallet, name) for name in cls.__slots__})

    def after(self, entry: Entry) -> "Sums":
        """What these come to with one entry more."""
        sums = replace(self, available=self.available + entry.credits, charged=self.charged + entry.charged)
        match entry.kind:
            case "grant" | "adjust" | "set" if entry.credits > 0:
                return replace(sums, granted=self.granted + entry.credits)
            case "remove" | "adjust" | "set":
                return replace(sums, removed=self.removed - entry.credits)
            case "hold":
                return replace(sums, held=self.held - entry.credits)
            case "settle" | "release":
                lent = entry.debt_after - self.debt
                return replace(sums, held=self.held + lent - entry.charged - entry.credits, debt=entry.debt_after)
            case "expire":
                return replace(sums, expired=self.expired - entry.credits)
            case "repay":
                return replace(sums, debt=self.debt + entry.credits)
            case "write_off":
                return replace(sums, granted=self.granted + self.debt, debt=0)
        return sums

    def explains(self, entry: Entry) -> bool:
        """Whether these are what the entry says stands after it, and nothing is negative."""
        stated = (entry.available_after, entry.held_after, entry.debt_after)
        numbers = [getattr(self, name) for name in self.__slots__]
        return (self.available, self.held, self.debt) == stated and min(numbers) >= 0

    def drift(self) -> int:
        """By how much conservation is violated: 0, or a credit was made or lost."""
        return self.granted - (self.available + self.held + self.charged + self.removed + self.expired - self.debt)


@dataclass(slots=True)
class KindSums:
    """The entries of one kind."""

    entries: int = 0
    credits: int = 0
    charged: int = 0


@dataclass(slots=True)
class Proof:
    """How far an account's ledger was followed, its sums there, and what was found on the way.

    ``seq`` is the last entry's number and ``head`` its hash. ``since`` is when the ledger was begun from its first
    entry (epoch milliseconds): what was proved since then is not read again. ``unread`` says that the ledger goes on in
    a newer format: what is there is neither proved nor doubted.
    """

    account_id: AccountId
    since: int
    seq: int = 0
    head: str = ""
    sums: Sums = field(default_factory=Sums)
    by_kind: dict[str, KindSums] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unread: bool = False

    @property
    def intact(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def follow(self, ledger: Iterable[Entry | Unreadable | Newer]) -> None:
        """Go on with what stands after ``seq``, in order; not beyond an entry of a newer format."""
        for entry in ledger:
            if isinstance(entry, Newer):
                self.unread = True
                return
            if entry.seq is None or entry.seq <= self.seq:
                self.found("inserted", self.seq)
                continue
            if entry.seq > self.seq + 1:
                self.found("missing", self.seq + 1)
            if isinstance(entry, Unreadable) or entry.hash != entry.hashed(self.head) or not entry.reason_fits:
                self.found("altered", entry.seq)
            if isinstance(entry, Entry):
                self._add(entry)
            self.seq, self.head = entry.seq, entry.hash

    def compare(self, wallet: Wallet) -> None:
        """Note whether the wallet is what the ledger comes to, as far as all of it was read."""
        if self.unread:
            return
        if self.seq < wallet.entry_seq:
            self.found("missing", self.seq + 1)
        if self.seq > wallet.entry_seq or wallet.head != self.head or self.drift(wallet):
            self.found("wallet", wallet.entry_seq)

    def drift(self, wallet: Wallet) -> int:
        """By how many credits a number of the wallet is off: from what the ledger comes to, or from conservation."""
        stated = Sums.of(wallet)
        differences: list[int] = [getattr(stated, name) - getattr(self.sums, name) for name in Sums.__slots__]
        return max(map(abs, [*differences, stated.drift(), self.sums.drift()]))

    def _add(self, entry: Entry) -> None:
        self.sums = self.sums.after(entry)
        if not self.sums.explains(entry):
            self.found("sums", entry.seq)
            stated = {"available": entry.available_after, "held": entry.held_after, "debt": entry.debt_after}
            self.sums = replace(self.sums, **stated)  # so that what comes after is judged by itself
        kind = self.by_kind.setdefault(entry.kind, KindSums())
        kind.entries += 1
        kind.credits += entry.credits
        kind.charged += entry.charged

    def found(self, problem: Problem, seq: int) -> None:
        """Note a finding, up to ``MAX_FINDINGS``."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(problem, seq))
