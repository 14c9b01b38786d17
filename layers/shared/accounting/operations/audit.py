"""Check that every wallet matches its ledger, and that nobody has changed a ledger.

A proof says how far an account's ledger was read, and what was found. A later audit can continue a stored proof.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from accounting.domain.accounts import AccountId
from accounting.domain.audit import Proof
from accounting.domain.ledger import Entry, NewerEntry, Unreadable
from accounting.domain.outstanding import Outstanding
from accounting.domain.wallet import Wallet
from accounting.settings import settings
from accounting.store import audits, entries, wallets
from accounting.store.audits import AuditableAccount, Position
from accounting.telemetry import count, count_even_zero, logger

WORKERS = 8
"""Threads of one audit. Each waits for the database most of the time."""

MAX_READ_AGAIN = 10_000
"""If a ledger has at most this many entries, ``audit`` begins at the first entry, even if a proof is stored.

In a longer ledger, ``audit`` begins after the stored proof, or at the first entry if no proof is stored.
"""


@dataclass
class Audited:
    """The result of an audit of all accounts.

    ``drifting`` is the number of accounts whose proof has a finding. ``unread`` is the number of ledgers that continue
    in a newer format.
    """

    wallets: int = 0
    drifting: int = 0
    unread: int = 0
    failures: int = 0
    complete: bool = True


def audit(account_id: AccountId, now: int) -> tuple[Proof, Wallet, int]:
    """The proof of one account, its wallet, and the number of the entry at which this audit began to read.

    Raises ValueError if the stored wallet cannot be read.
    """
    (account,) = audits.read([account_id])
    if account.wallet is None:
        raise ValueError(f"the wallet of {account_id} can't be read")
    known = account.proved if account.wallet.entry_seq > MAX_READ_AGAIN else None
    start = known or Proof(account_id, since=now)
    first = start.seq + 1
    return *_proved(start, account.wallet), first


def audit_all(now: int, time_left: Callable[[], bool]) -> Audited:
    """Prove every wallet, starting where the last run stopped.

    A ledger is read from its first entry if no proof is stored, or if the stored proof was begun at least
    ``settings().full_audit`` milliseconds ago. Any other ledger is read from the entry after its stored proof. If time
    runs out, ``complete`` is False, and the next run continues. A failure in one account is logged and counted, and the
    next accounts are still audited. The run that reads the last wallet stores the sums of all wallets.
    """
    audited = Audited()
    reached, sums = audits.progress() or (Position(), Outstanding(now))
    with ThreadPoolExecutor(WORKERS) as pool:
        for account_ids, position in audits.accounts(reached):
            if not time_left():
                audited.complete = False
                break
            sums = _audit_batch(pool, account_ids, now, audited, sums)
            reached = position
    if audited.complete:
        # The sums are stored first. If the run is killed between the two writes, the next run stores them again.
        audits.put_outstanding(replace(sums, ended_at=now))
        audits.begin_anew()
    else:
        audits.put_progress(reached, sums)
    count_even_zero("WalletsAudited", audited.wallets)
    count_even_zero("LedgerDrift", audited.drifting)
    count_even_zero("LedgersUnread", audited.unread)
    count("AuditFailures", audited.failures)
    return audited


def _audit_batch(
    pool: ThreadPoolExecutor, account_ids: list[AccountId], now: int, audited: Audited, sums: Outstanding
) -> Outstanding:
    """Audit some accounts, and return the sums with the wallets of these accounts added."""
    accounts = audits.read(account_ids)
    tasks = [pool.submit(_continued, account, now) for account in accounts]
    proofs = []
    for account, task in zip(accounts, tasks, strict=True):
        sums = sums.plus(account.wallet) if account.wallet else sums
        try:
            proof, is_new = task.result()
        except Exception:
            logger.exception("audit of one account failed")
            audited.failures += 1
            sums = replace(sums, unproved=sums.unproved + 1)
            continue
        audited.wallets += 1
        if not proof.intact:
            audited.drifting += 1
            sums = sums.with_problem_in(account.id)
            findings = [f"{finding.problem} {finding.seq}" for finding in proof.findings]
            logger.error("drift", account_id=proof.account_id, findings=findings)
        audited.unread += proof.unread
        sums = replace(sums, unproved=sums.unproved + proof.unread)
        if proof.intact and is_new:
            proofs.append(proof)
    audits.put_many(proofs)
    return sums


def _continued(account: AuditableAccount, now: int) -> tuple[Proof, bool]:
    """The account's proof, and whether it is new.

    A proof is new if this run reads the ledger from its first entry, or finds entries after the stored proof.
    """
    if account.wallet is None:
        unreadable = Proof(account.id, since=now)
        unreadable.add_finding("wallet", 0)
        return unreadable, False
    known = account.proved
    if known is None or now - known.since >= settings().full_audit:
        return _proved(Proof(account.id, since=now), account.wallet)[0], True
    before = known.seq
    proof, _ = _proved(known, account.wallet)
    return proof, proof.seq > before


def _proved(proof: Proof, wallet: Wallet) -> tuple[Proof, Wallet]:
    """Continue the proof to the last entry of ``wallet``. Return the proof and the wallet.

    If the proof already covers later entries, the wallet is read again, and the newer wallet is used and returned.
    """
    if proof.seq > wallet.entry_seq:
        wallet = wallets.get(wallet.account_id)
    beyond: list[int] = []

    def ledger() -> Iterator[Entry | Unreadable | NewerEntry]:
        for entry in entries.after(wallet.account_id, proof.seq):
            if entry.seq is not None and entry.seq > wallet.entry_seq:
                beyond.append(entry.seq)
                return
            yield entry

    if proof.seq != wallet.entry_seq or proof.seq == 0:
        proof.follow(ledger())
    proof.compare(wallet)
    # ``beyond`` has the number of an entry that ``wallet`` does not count. Normally, a command wrote the entry after
    # ``wallet`` was read. If the wallet is read again and still does not count the entry, somebody inserted the entry.
    if beyond and wallets.get(wallet.account_id).entry_seq < beyond[0]:
        proof.add_finding("inserted", beyond[0])
    return proof, wallet
