"""Do a user's books balance? What the wallet says is derived again from its ledger, sessions and usage records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from accounting.domain.wallet import Entry, Wallet
from accounting.store import allocations, entries, keys, sessions, table, usage, wallets
from accounting.store.rollups import OTHER
from accounting.times import day

EVERYTHING = 100_000


@dataclass
class Sums:
    """A wallet's numbers, added up from nothing but its ledger."""

    available: int = 0
    held: int = 0
    debt: int = 0
    granted: int = 0
    charged: int = 0
    removed: int = 0
    expired: int = 0
    allocations: int = 0

    @classmethod
    def of(cls, wallet: Wallet) -> Sums:
        return cls(**{name: getattr(wallet, name) for name in cls.__dataclass_fields__})

    def add(self, entry: Entry) -> None:
        """Account for one entry; what it says stands after it must be what its signed numbers come to."""
        before = Sums(**vars(self))
        self.available += entry.credits
        self.debt = entry.debt_after
        match entry.kind:
            case "grant" | "adjust" | "set" if entry.credits > 0:
                self.granted += entry.credits
                self.allocations += 1
            case "remove" | "adjust" | "set":
                self.removed -= entry.credits
            case "charge":
                self.charged += entry.charged
            case "hold":
                self.held -= entry.credits
            case "settle" | "release":
                self.held += self.debt - before.debt - entry.charged - entry.credits
                self.charged += entry.charged
            case "expire":
                self.expired -= entry.credits
            case "repay":
                assert self.debt == before.debt + entry.credits, entry
            case "write_off":
                assert (self.debt, entry.credits) == (0, 0), entry
                self.granted += before.debt
        if entry.kind not in ("settle", "repay", "write_off"):
            assert self.debt == before.debt, f"only these change a debt: {entry}"
        assert (self.available, self.held) == (entry.available_after, entry.held_after), entry
        assert min(vars(self).values()) >= 0, entry


def assert_ledger_explains(wallet: Wallet, ledger: Iterable[Entry]) -> None:
    """The whole ledger is gapless, in time order, and comes to the wallet."""
    sums, last_at, seq = Sums(), 0, 0
    for entry in ledger:
        seq += 1
        assert entry.seq == seq
        assert entry.at >= last_at, "out of time order"
        sums.add(entry)
        last_at = entry.at
    assert seq == wallet.entry_seq
    assert last_at <= wallet.updated_at
    assert sums == Sums.of(wallet)


def assert_sound(wallet: Wallet) -> None:
    """What every wallet is at every instant."""
    assert wallet.drift() == 0
    assert min(vars(Sums.of(wallet)).values()) >= 0
    assert not (wallet.debt and wallet.available), "debt beside spendable credits"
    assert all(lot.credits > 0 for lot in wallet.lots)
    order = [(lot.expires_at, lot.id) for lot in wallet.lots]
    assert order == sorted(set(order)), "lots are unique and in burn order"


def assert_books_balance(user_id: str) -> Wallet:
    """Check all that is stored of a user against each other; the wallet, for what else a test wants to know of it."""
    wallet = wallets.get(user_id)
    assert_sound(wallet)
    ledger = [entries.from_item(user_id, item) for item in _items(user_id, "ENTRY#")]
    assert_ledger_explains(wallet, ledger)
    _assert_holds_are_the_active_sessions(user_id, wallet, ledger)
    _assert_allocations_are_numbered(user_id, wallet)
    _assert_days_are_their_records(user_id, ledger)
    return wallet


def _items(user_id: str, prefix: str) -> list[table.Item]:
    """The user's items of a kind, first to last."""
    return table.query(keys.wallet(user_id)["pk"], prefix, prefix + "~", limit=EVERYTHING)[::-1]


def _assert_holds_are_the_active_sessions(user_id: str, wallet: Wallet, ledger: list[Entry]) -> None:
    found = [sessions.from_item(item) for item in _items(user_id, "SESSION#")]
    assert wallet.held == sum(session.allocated_credits for session in found if session.active)
    ends = Counter(entry.session_id for entry in ledger if entry.kind in ("settle", "release"))
    assert ends == Counter(session.session_id for session in found if not session.active)
    for session in found:
        holds = [entry for entry in ledger if (entry.kind, entry.session_id) == ("hold", session.session_id)]
        assert session.allocated_credits == -sum(entry.credits for entry in holds)


def _assert_allocations_are_numbered(user_id: str, wallet: Wallet) -> None:
    found = [allocations.from_item(user_id, item) for item in _items(user_id, "ALLOC#")]
    assert [allocation.number for allocation in found] == list(range(1, wallet.allocations + 1))
    assert len({allocation.id for allocation in found}) == len(found)


def _assert_days_are_their_records(user_id: str, ledger: list[Entry]) -> None:
    records = [usage.from_item(user_id, item) for item in _items(user_id, "USAGE#")]
    charges = [(entry.usage_id, entry.charged) for entry in ledger if entry.usage_id]
    assert len(set(charges)) == len(charges)
    assert set(charges) <= {(record.id, record.credits) for record in records}, "what is charged is recorded"
    counted: dict[str, Counter[str]] = {}
    for item in _items(user_id, "DAY#"):
        sums = {name: value for name, value in item.items() if isinstance(value, int)}
        counted.setdefault(item["sk"].split("#")[1], Counter()).update(sums)
    expected: dict[str, Counter[str]] = {}
    for record in records:
        known = counted[day(record.at)]
        sums = Counter({"records": 1, "credits": record.credits})
        for letter, name in (("s", record.service), ("m", record.model_id)):
            if name is not None:
                shown = name if f"{letter}:{name}:n" in known else OTHER
                sums |= Counter({f"{letter}:{shown}:n": 1, f"{letter}:{shown}:c": record.credits})
        expected.setdefault(day(record.at), Counter()).update(sums)
    assert counted == expected
