"""Optimistic writes: read, decide, and write if nothing has changed since; otherwise decide again."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from accounting.domain.accounts import stored
from accounting.domain.budgets import Allowance, Spender
from accounting.domain.errors import Contention, IdempotencyConflict, Unavailable
from accounting.domain.sessions import Session
from accounting.domain.wallet import AnyDecision, Wallet
from accounting.operations.turns import Turns
from accounting.store import entries, wallets
from accounting.store.formats import FORMAT
from accounting.store.idempotency import IdempotencyKey, Record
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Write
from accounting.telemetry import count

CONTENTION_SECONDS = 8.0
"""How long a command retries. This must be well below a function's timeout."""


NO_LIMITS = Allowance(Spender("", stored("")))


class Snapshot(NamedTuple):
    """The items that a command has read and decides on.

    Only commands that open a session, raise its hold or record usage need ``allowance``, the spender's limits.
    """

    wallet: Wallet
    session: Session | None = None
    allowance: Allowance = NO_LIMITS


def retry_until_committed[T](
    attempt: Callable[[Snapshot], T], *, read: Callable[[], Snapshot], first: Snapshot | None = None
) -> T:
    """Call ``attempt``, which decides on a snapshot and writes one transaction, until the transaction commits.

    The first attempt gets ``first``, if given, else what ``read`` returns. After StaleRead, the next attempt decides at
    once on the newer items that the exception carries, unless other commands should write first (see ``turns``). In
    that case, and after Conflict, the command pauses and reads everything again. Domain errors are raised and not
    retried. Raises Contention after ``CONTENTION_SECONDS``.
    """
    snapshot = first or read()
    deadline, turns = time.monotonic() + CONTENTION_SECONDS, Turns(snapshot.wallet.version)
    while True:
        started, passed = time.monotonic(), turns.passed(snapshot.wallet)
        if passed != snapshot.wallet.passed:
            snapshot = snapshot._replace(wallet=snapshot.wallet._replace(passed=passed))
        try:
            return attempt(snapshot)
        except (StaleRead, Conflict) as refusal:
            pause = turns.pause(refusal, time.monotonic() - started)
            if isinstance(refusal, StaleRead):
                newer = snapshot._replace(**refusal.current)
                # ``terms`` counts changes to members and budgets. After a change, the allowance must be read again.
                snapshot = newer if newer.wallet.terms == snapshot.wallet.terms or pause else _read_again(read, newer)
        count("ConflictsRetried")
        if time.monotonic() + pause > deadline:
            raise Contention("Too many requests for the same data at once, try again")
        if pause:
            time.sleep(pause)
            snapshot = _read_again(read, snapshot)


def _read_again(read: Callable[[], Snapshot], known: Snapshot) -> Snapshot:
    """Read a new snapshot, but keep the budget counters from ``known`` that ``read`` leaves out.

    Such a counter may show that a budget is full. Without it, the next attempt would repeat the refused write.
    """
    snapshot = read()
    read_again = snapshot.allowance
    merged = known.allowance.with_counters(read_again.committed, read_again.warned)
    return snapshot._replace(allowance=read_again.with_counters(merged.committed, merged.warned))


def retry_conflicts[T](attempt: Callable[[], T]) -> T:
    """Call ``attempt``, which reads what it needs and writes one transaction, until the transaction commits.

    Raises Contention after ``CONTENTION_SECONDS``.
    """
    nothing = Snapshot(Wallet(stored("")))
    return retry_until_committed(lambda _: attempt(), read=lambda: nothing)


def replay(key: IdempotencyKey, record: Record) -> dict[str, Any]:
    """The answer that the first request with this key got.

    Raises IdempotencyConflict if the key was used for another request, and Unavailable if a newer version of the
    service wrote the answer.
    """
    if record.fingerprint != key.fingerprint:
        raise IdempotencyConflict("The idempotency key was used for another request", key=key.key)
    if record.format > FORMAT:
        raise Unavailable("A newer version of the service has answered this request; ask again")
    answer: dict[str, Any] = json.loads(record.answer)
    return answer


def ledger_writes(before: Wallet, decision: AnyDecision) -> list[Write]:
    """The writes for a decision: the wallet, and the entries that explain the change."""
    return [wallets.put(before, decision.wallet), *map(entries.put, decision.entries)]


def count_expired(before: Wallet, after: Wallet) -> None:
    """Count the expired credits that a command removed from a wallet. Call this after the wallet is written."""
    count("CreditsExpired", after.expired - before.expired)
