"""The audit: every wallet is what its ledger comes to, and every ledger is what was written."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from accounting.domain.accounts import AccountId
from accounting.domain.audit import Newer, Proof, Unreadable
from accounting.domain.ledger import Entry
from accounting.domain.wallet import Wallet
from accounting.settings import settings
from accounting.store import audits, entries, keys, wallets
from accounting.store.audits import Position
from accounting.store.table import Item, get_many
from accounting.telemetry import count, logger, tell

WORKERS = 8
"""Of one audit at once; each waits for the database most of the time."""

MAX_FIRST_READ = 10_000
"""Entries that the proof of one account reads for a caller who waits; of a longer ledger, those that are new."""


@dataclass
class Audited:
    """What an audit of all accounts did.

    ``drifting`` counts those of which something was found, ``unread`` those whose ledgers go on in a newer format.
    """

    wallets: int = 0
    drifting: int = 0
    unread: int = 0
    failures: int = 0
    complete: bool = True


def audit(account_id: AccountId, now: int) -> tuple[Proof, Wallet, int]:
    """The proof of one account, its wallet, and the number of the first entry that was read for it."""
    wallet, known = _read(*_items([account_id])[0])
    begun = known if known and wallet.entry_seq > MAX_FIRST_READ else Proof(account_id, since=now)
    first = begun.seq + 1
    return *_proved(begun, wallet), first


def audit_all(now: int, time_left: Callable[[], bool]) -> Audited:
    """Prove every wallet, from where the last run ended: what is new since a wallet's last proof, or all of it.

    All of it is read when the last time is ``settings().full_audit`` ago. ``complete`` is False when time ran out: the
    next audit goes on. One account's failure is logged and counted, and does not stop the others.
    """
    audited = Audited()
    reached = audits.position()
    with ThreadPoolExecutor(WORKERS) as pool:
        for account_ids, position in audits.accounts(reached):
            if not time_left():
                audited.complete = False
                break
            _audit_batch(pool, account_ids, now, audited)
            reached = position
    audits.put_position(Position() if audited.complete else reached)
    tell("WalletsAudited", audited.wallets)
    tell("LedgerDrift", audited.drifting)
    tell("LedgersUnread", audited.unread)
    count("AuditFailures", audited.failures)
    return audited


def _audit_batch(pool: ThreadPoolExecutor, account_ids: list[AccountId], now: int, audited: Audited) -> None:
    tasks = [pool.submit(_go_on, *items, now) for items in _items(account_ids)]
    proofs = []
    for task in tasks:
        try:
            proof, is_new = task.result()
        except Exception:
            logger.exception("audit of one account failed")
            audited.failures += 1
            continue
        audited.wallets += 1
        if not proof.intact:
            audited.drifting += 1
            findings = [f"{finding.problem} {finding.seq}" for finding in proof.findings]
            logger.error("drift", account_id=proof.account_id, findings=findings)
        audited.unread += proof.unread
        if proof.intact and is_new:
            proofs.append(proof)
    audits.put_many(proofs)


def _go_on(account_id: AccountId, wallet_item: Item | None, proof_item: Item | None, now: int) -> tuple[Proof, bool]:
    """The proof, and whether it says more than the one of before."""
    try:
        wallet, known = _read(account_id, wallet_item, proof_item)
    except (KeyError, TypeError, ValueError):  # nothing that this service wrote
        unreadable = Proof(account_id, since=now)
        unreadable.found("wallet", 0)
        return unreadable, False
    if known is None or now - known.since >= settings().full_audit:
        return _proved(Proof(wallet.account_id, since=now), wallet)[0], True
    before = known.seq
    proof, _ = _proved(known, wallet)
    return proof, proof.seq > before


def _proved(proof: Proof, wallet: Wallet) -> tuple[Proof, Wallet]:
    """The proof, gone on to the wallet as it was read, or to a newer one when another audit was further."""
    if proof.seq > wallet.entry_seq:
        wallet = wallets.get(wallet.account_id)
    beyond: list[int] = []

    def ledger() -> Iterator[Entry | Unreadable | Newer]:
        for entry in entries.after(wallet.account_id, proof.seq):
            if entry.seq is not None and entry.seq > wallet.entry_seq:
                beyond.append(entry.seq)
                return
            yield entry

    if proof.seq != wallet.entry_seq or proof.seq == 0:
        proof.follow(ledger())
    proof.compare(wallet)
    # A command since then has made it, unless the wallet still knows nothing of it.
    if beyond and wallets.get(wallet.account_id).entry_seq < beyond[0]:
        proof.found("inserted", beyond[0])
    return proof, wallet


def _items(account_ids: list[AccountId]) -> list[tuple[AccountId, Item | None, Item | None]]:
    """Accounts, the items of their wallets, and those of how far each was proved."""
    found = get_many([key for account_id in account_ids for key in (keys.wallet(account_id), keys.audit(account_id))])
    return list(zip(account_ids, found[::2], found[1::2], strict=True))


def _read(account_id: AccountId, wallet: Item | None, proof: Item | None) -> tuple[Wallet, Proof | None]:
    return wallets.from_item(account_id, wallet), audits.from_item(account_id, proof) if proof else None
