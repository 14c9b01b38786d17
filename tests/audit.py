"""Checks that a user's books balance: the wallet must match its ledger, the sessions and the usage records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from accounting.domain.accounts import AccountId, personal
from accounting.domain.audit import LedgerSums, Proof
from accounting.domain.ledger import Entry
from accounting.domain.model_usage import COUNTS
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.store import allocations, entries, keys, sessions, table, usage, wallets
from accounting.times import day

EVERYTHING = 100_000


def assert_ledger_explains(wallet: Wallet, ledger: Iterable[Entry]) -> None:
    """Check that the whole ledger has no gaps, is chained and in time order, and matches the wallet."""
    ledger = list(ledger)
    proof = Proof(wallet.account_id, since=0)
    proof.follow(ledger)
    proof.compare(wallet)
    assert proof.findings == []
    times = [entry.at for entry in ledger]
    assert [*times, wallet.updated_at] == sorted([*times, wallet.updated_at]), "out of time order"
    debt = 0
    for entry in ledger:
        if entry.kind not in ("settle", "repay", "write_off"):
            assert entry.debt_after == debt, f"this kind of entry must not change a debt: {entry}"
        debt = entry.debt_after
    grants = [entry for entry in ledger if entry.kind in ("grant", "adjust", "set") and entry.credits > 0]
    assert len(grants) == wallet.allocations


def assert_sound(wallet: Wallet) -> None:
    """Check what is true of every wallet at every instant."""
    assert LedgerSums.of(wallet).drift() == 0
    assert min(LedgerSums.of(wallet)) >= 0
    assert not (wallet.debt and wallet.available), "a wallet has debt and spendable credits"
    assert all(lot.credits > 0 for lot in wallet.lots)
    order = [lot.order for lot in wallet.lots]
    assert order == sorted(set(order)), "lots must be unique, in the order in which they are spent"


def assert_books_balance(user_id: str, account_id: AccountId | None = None) -> Wallet:
    """Check that everything stored about an account agrees, and return the wallet.

    Without ``account_id``, the account is the user's own. Otherwise ``user_id`` must be the account's only user.
    """
    account_id = account_id or personal(user_id)
    wallet = wallets.get(account_id)
    assert_sound(wallet)
    ledger = [entries.from_item(account_id, item) for item in _items(keys.wallet(account_id), "ENTRY#")]
    assert_ledger_explains(wallet, ledger)
    found = [sessions.from_item(item) for item in _items(keys.profile(user_id), "SESSION#")]
    _assert_holds_match_sessions([each for each in found if each.account_id == account_id], wallet, ledger)
    _assert_allocations_are_numbered(account_id, wallet)
    _assert_usage_records_match_charges_and_day_sums(account_id, ledger)
    return wallet


def _items(key: keys.Key, prefix: str) -> list[table.Item]:
    """The items of a kind in the partition of a key, in the order of their sort keys."""
    return table.query(key["pk"], prefix, prefix + "~", limit=EVERYTHING)[::-1]


def _assert_holds_match_sessions(found: list[Session], wallet: Wallet, ledger: list[Entry]) -> None:
    assert wallet.held == sum(session.allocated_credits for session in found if session.active)
    ends = Counter(entry.session_id for entry in ledger if entry.kind in ("settle", "release"))
    ended = Counter(session.session_id for session in found if not session.active)
    assert ends == ended + Counter(session.session_id for session in found if session.late)
    for session in found:
        holds = [entry for entry in ledger if (entry.kind, entry.session_id) == ("hold", session.session_id)]
        assert session.allocated_credits == -sum(entry.credits for entry in holds)


def _assert_allocations_are_numbered(account_id: AccountId, wallet: Wallet) -> None:
    found = [allocations.from_item(account_id, item) for item in _items(keys.wallet(account_id), "ALLOC#")]
    assert [allocation.number for allocation in found] == list(range(1, wallet.allocations + 1))
    assert len({allocation.id for allocation in found}) == len(found)


def _assert_usage_records_match_charges_and_day_sums(account_id: AccountId, ledger: list[Entry]) -> None:
    # Items with ``paid_by`` show a user what another account paid for the user.
    stored = _items(keys.wallet(account_id), "USAGE#")
    records = [usage.from_item(account_id, item) for item in stored if "paid_by" not in item]
    # A settlement can also write a ``repay`` entry, which names the same usage record but charges nothing.
    charging = [entry for entry in ledger if entry.kind in ("settle", "release", "charge")]
    charges = [(entry.usage_id, entry.charged) for entry in charging]
    assert len(set(charges)) == len(charges)
    assert set(charges) <= {(record.id, record.credits) for record in records}, "a charge has no usage record"
    counted: dict[tuple[str, str, str | None], Counter[str]] = {}
    for item in _items(keys.wallet(account_id), "DAY#"):
        if "paid_by" in item:
            continue
        sums = {"records": item["records"], "credits": item["credits"]}
        sums |= {name: item[name] for name in COUNTS if name in item}
        counted.setdefault((keys.day_in(item), item["service"], item.get("model")), Counter()).update(sums)
    expected: dict[tuple[str, str, str | None], Counter[str]] = {}
    for record in records:
        sums = {"records": 1, "credits": record.credits, **record.counts}
        expected.setdefault((day(record.at), record.service, record.model_id), Counter()).update(sums)
    assert counted == expected
