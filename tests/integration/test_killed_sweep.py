"""A sweep, which settles stale sessions, is killed before it ends. The next sweep settles the rest.

By default there are 400 sessions; with ``SWEEP_USERS=50``, there are 5,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import batched
from pathlib import Path
from typing import Any

from accounting.domain import wallet as decisions
from accounting.domain.accounts import personal
from accounting.domain.allocations import Allocation
from accounting.domain.ledger import Cause, Entry
from accounting.domain.lots import allocation_id
from accounting.domain.pricing import DEFAULT_CARD
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.operations.sweep import sweep
from accounting.store import allocations, entries, session_lists, sessions, table, wallets
from accounting.store import usage as records
from accounting.times import DAY, MINUTE
from tests.audit import assert_books_balance
from tests.integration.conftest import NOW

USERS, SESSIONS = int(os.environ.get("SWEEP_USERS", "4")), 100
STALE = NOW + 61 * MINUTE
PATIENCE_SECONDS = 60
LAYER = Path(__file__).resolve().parents[2] / "layers/shared"


def stale_sessions_of(user_id: str) -> list[dict[str, Any]]:
    """The table's items of a user with credits and open sessions. Session ``s<n>`` has reported ``10 * n`` tokens."""
    account = personal(user_id)
    decision = decisions.grant(Wallet(account), 1000, expires_at=NOW + 30 * DAY, cause=Cause("boss", NOW))
    wallet, made = decision.wallet, list[Entry](decision.entries)
    lot = allocation_id(account, 1)
    items = [allocations.to_item(Allocation(account, 1, lot, 1000, "boss", NOW, NOW + 30 * DAY))]
    for number in range(SESSIONS):
        session_id = f"s{number}"
        hold = decisions.hold(wallet, 6, cause=Cause(user_id, NOW, session_id=session_id))
        wallet = hold.wallet
        made += hold.entries
        due_at = NOW + 60 * MINUTE
        opened = Session(
            user_id, session_id, account, "m", DEFAULT_CARD, 5_000, hold.parts, NOW, NOW, due_at, 6, due_at
        )
        session = opened._replace(tokens=number * 10)
        items.append(sessions.to_item(session))
    return [wallets.to_item(wallet), *items, *map(entries.to_item, made)]


def write(client: Any, table_name: str, items: list[dict[str, Any]]) -> None:
    for batch in batched(items, 25, strict=False):
        requests = [{"PutRequest": {"Item": table.pack(item)}} for item in batch]
        assert not client.batch_write_item(RequestItems={table_name: requests})["UnprocessedItems"]


def active(users: list[str]) -> int:
    return sum(len(session_lists.active_of_user(user_id)[0]) for user_id in users)


def test_each_stale_session_is_settled_once_even_if_a_sweep_is_killed(dynamodb: Any, table_name: str) -> None:
    users = [f"u{number}" for number in range(USERS)]
    for user_id in users:
        write(dynamodb, table_name, stale_sessions_of(user_id))
    assert active(users) == USERS * SESSIONS

    program = f"from accounting.operations.sweep import sweep; sweep({STALE}, lambda: True)"
    first_run = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(LAYER)})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while active(users) > USERS * SESSIONS * 9 // 10:
        assert time.monotonic() < deadline
        assert first_run.poll() is None
    first_run.kill()
    first_run.wait()
    remaining = active(users)
    assert 0 < remaining <= USERS * SESSIONS * 9 // 10

    swept = sweep(STALE, lambda: True)

    assert (swept.sessions, swept.failures, swept.complete) == (remaining, 0, True)
    assert sweep(STALE, lambda: True).sessions == 0
    for user_id in users:
        wallet = assert_books_balance(user_id)
        assert wallet.held == 0
        used = sum(-(-number * 10 // 1000) for number in range(SESSIONS))
        assert (wallet.charged, wallet.available) == (used, 1000 - used)
        assert len(list(records.between(personal(user_id), 0, STALE + 1))) == SESSIONS
