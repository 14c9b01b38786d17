"""The audit: every wallet is what its ledger comes to, and every ledger is what was written."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from accounting.domain.audit import Proof, Unreadable
from accounting.domain.wallet import Entry, Wallet
from accounting.settings import settings
from accounting.store import audits, entries, keys, wallets
from accounting.store.audits import Position
from accounting.store.table import Item, get_many
from accounting.telemetry import count, logger, tell

WORKERS = 8
"""Of one audit at once; each waits for the database most of the time."""

MAX_FIRST_READ = 10_000
"""Entries that the proof of one user reads for a caller who waits; of a longer ledger, those that are new."""


@dataclass
class Audited:
    """What an audit of everybody did. ``drifting`` are the users of whom something was found."""

    wallets: int = 0
    drifting: int = 0
    failures: int = 0
    complete: bool = True


def audit(user_id: str, now: int) -> tuple[Proof, Wallet, int]:
    """The proof of one user, their wallet, and the number of the first entry that was read for it."""
    wallet, known = _read(*_items([user_id])[0])
    begun = known if known and wallet.entry_seq > MAX_FIRST_READ else Proof(user_id, since=now)
    first = begun.seq + 1
    return *_proved(begun, wallet), first


def audit_all(now: int, time_left: Callable[[], bool]) -> Audited:
    """Prove every wallet, from where the last run ended: what is new since a wallet's last proof, or all of it.

    All of it is read when the last time is ``settings().full_audit`` ago. ``complete`` is False when time ran out: the
    next audit goes on. One user's failure is logged and counted, and does not stop the others.
    """
    audited = Audited()
    reached = audits.position()
    with ThreadPoolExecutor(WORKERS) as pool:
        for user_ids, position in audits.users(reached):
            if not time_left():
                audited.complete = False
                break
            _audit_batch(pool, user_ids, now, audited)
            reached = position
    audits.put_position(Position() if audited.complete else reached)
    tell("WalletsAudited", audited.wallets)
    tell("LedgerDrift", audited.drifting)
    count("AuditFailures", audited.failures)
    return audited


def _audit_batch(pool: ThreadPoolExecutor, user_ids: list[str], now: int, audited: Audited) -> None:
    tasks = [pool.submit(_go_on, *items, now) for items in _items(user_ids)]
    proofs = []
    for task in tasks:
        try:
            proof, is_new = task.result()
        except Exception:
            logger.exception("audit of one user failed")
            audited.failures += 1
            continue
        audited.wallets += 1
        if not proof.intact:
            audited.drifting += 1
            findings = [f"{finding.problem} {finding.seq}" for finding in proof.findings]
            logger.error("drift", user_id=proof.user_id, findings=findings)
        elif is_new:
            proofs.append(proof)
    audits.put_many(proofs)


def _go_on(user_id: str, wallet_item: Item | None, proof_item: Item | None, now: int) -> tuple[Proof, bool]:
    """The proof, and whether it says more than the one of before."""
    try:
        wallet, known = _read(user_id, wallet_item, proof_item)
    except (KeyError, TypeError, ValueError):  # nothing that this service wrote
        unreadable = Proof(user_id, since=now)
        unreadable.found("wallet", 0)
        return unreadable, False
    if known is None or now - known.since >= settings().full_audit:
        return _proved(Proof(wallet.user_id, since=now), wallet)[0], True
    before = known.seq
    proof, _ = _proved(known, wallet)
    return proof, proof.seq > before


def _proved(proof: Proof, wallet: Wallet) -> tuple[Proof, Wallet]:
    """The proof, gone on to the wallet as it was read, or to a newer one when another audit was further."""
    if proof.seq > wallet.entry_seq:
        wallet = wallets.get(wallet.user_id)
    beyond: list[int] = []

    def ledger() -> Iterator[Entry | Unreadable]:
        for entry in entries.after(wallet.user_id, proof.seq):
            if entry.seq is not None and entry.seq > wallet.entry_seq:
                beyond.append(entry.seq)
                return
            yield entry

    if proof.seq != wallet.entry_seq or proof.seq == 0:
        proof.follow(ledger())
    proof.compare(wallet)
    # A command since then has made it, unless the wallet still knows nothing of it.
    if beyond and wallets.get(wallet.user_id).entry_seq < beyond[0]:
        proof.found("inserted", beyond[0])
    return proof, wallet


def _items(user_ids: list[str]) -> list[tuple[str, Item | None, Item | None]]:
    """Users, the items of their wallets, and those of how far each was proved."""
    found = get_many([key for user_id in user_ids for key in (keys.wallet(user_id), keys.audit(user_id))])
    return list(zip(user_ids, found[::2], found[1::2], strict=True))


def _read(user_id: str, wallet: Item | None, proof: Item | None) -> tuple[Wallet, Proof | None]:
    return wallets.from_item(user_id, wallet), audits.from_item(user_id, proof) if proof else None
