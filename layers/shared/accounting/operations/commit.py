"""Optimistic writing: decide, write under the condition that nothing moved, decide again on what stands there now."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from accounting.domain.accounts import stored
from accounting.domain.errors import Contention, IdempotencyConflict, Unavailable
from accounting.domain.sessions import Session
from accounting.domain.wallet import Decision, Wallet
from accounting.store import entries, wallets
from accounting.store.formats import FORMAT
from accounting.store.idempotency import IdempotencyKey, Record
from accounting.store.moved import Moved
from accounting.store.table import Conflict, Write, jitter
from accounting.telemetry import count

CONTENTION_SECONDS = 8.0
"""How long a command tries to get through, well inside a function's limit."""

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class State:
    """What a command is decided on."""

    wallet: Wallet
    session: Session | None = None


def until_committed[T](step: Callable[[State], T], state: State, reread: Callable[[], State]) -> T:
    """Run ``step``, which decides on a state and writes one transaction, until it gets through.

    A refused condition brings what stands there now, and ``step`` decides on that at once; after a conflict everything
    is read again, after a pause that grows, with full jitter. A domain error ends it: it is an answer.
    Raises Contention when time is up.
    """
    deadline = time.monotonic() + CONTENTION_SECONDS
    longest = FIRST_PAUSE_SECONDS
    while True:
        try:
            return step(state)
        except Moved as moved:
            # No pause: what this brought would be old after it, and who waits longest would never get through.
            state, pause = replace(state, **moved.newer), 0.0
        except Conflict:
            pause = jitter(longest)
            longest = min(2 * longest, LONGEST_PAUSE_SECONDS)
        count("ConflictsRetried")
        if time.monotonic() + pause > deadline:
            raise Contention("Too many requests for this user at once, try again")
        if pause:
            time.sleep(pause)
            state = reread()


def without_conflict[T](step: Callable[[], T]) -> T:
    """Run ``step``, which writes one transaction that depends on nothing read, until it gets through.

    Raises Contention when time is up.
    """
    nothing = State(Wallet(stored("")))
    return until_committed(lambda _: step(), nothing, lambda: nothing)


def replay(key: IdempotencyKey, record: Record) -> dict[str, Any]:
    """The first answer to a request.

    Raises IdempotencyConflict when the key was used for another request, Unavailable when a newer version answered.
    """
    if record.fingerprint != key.fingerprint:
        raise IdempotencyConflict("The idempotency key was used for another request", key=key.key)
    if record.format > FORMAT:
        raise Unavailable("A newer version of the service has answered this request; ask again")
    answer: dict[str, Any] = json.loads(record.answer)
    return answer


def ledger_writes(before: Wallet, decision: Decision) -> list[Write]:
    """The wallet as decided, and the entries that explain it."""
    return [wallets.put(before, decision.wallet), *map(entries.put, decision.entries)]
