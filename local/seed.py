"""`make seed`: fills the running local service with users, organizations, prices, and 90 days of usage.

The environment variables USERS (default 10000) and RECORDS (default 100000) set the numbers of users and usage records.
The data is as the service itself would have stored it, and the auditor checks every wallet. A second run is refused.
"""

from __future__ import annotations

import io
import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from itertools import batched, islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from accounting.domain.accounts import personal
from accounting.domain.budgets import of_member
from accounting.domain.errors import AccountingError, BudgetExceeded, InsufficientCredits
from accounting.operations import api_keys, budgets, organizations, prices, sessions, settling, users
from accounting.operations.audit import audit_all
from accounting.operations.budgets import BudgetValues, Requester
from accounting.store import table, usage, wallets
from accounting.store import users as people
from accounting.store.table import exchange, transact
from accounting.store.users import ById
from accounting.times import DAY, clock
from local import seed_books
from local.attached import attach
from local.seed_books import ADMIN, NAMES, Books
from local.steps import Refused, explain, step
from local.uuid7 import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable

    from accounting.domain.accounts import AccountId
    from accounting.store.table import Item


DEFAULT_USERS, MAX_USERS = 10_000, 100_000
DEFAULT_RECORDS, MAX_RECORDS = 100_000, 1_000_000
LEAST_USERS = 200
MEMBERS = 12
USERS_BY_ORGANIZATION = 50
WRITERS = 4
WRITTEN_AT_ONCE = 100
PATIENCE_SECONDS = 60
"""How long an answer of the local AWS may take. The local AWS is slow while it stores the data."""


def main() -> int:
    """Seed, and return the exit status."""
    try:
        users = _number("USERS", DEFAULT_USERS, LEAST_USERS, MAX_USERS)
        records = _number("RECORDS", DEFAULT_RECORDS, 1, MAX_RECORDS)
        attach("start the service with `make run`")
        exchange.READ_SECONDS = PATIENCE_SECONDS
        seed(users, records)
    except Refused as refused:
        return explain(refused)
    except (BotoCoreError, ClientError, AccountingError) as error:
        return explain(Refused(str(error)))
    return 0


def seed(users: int, records: int) -> None:
    """Write everything. Raises Refused if the service was seeded before, even partly."""
    books = seed_books.begin(users, clock())
    if people.find(books.users[0].id):
        raise Refused("this service was seeded before, or seeding was interrupted: `make run FRESH=1` starts empty")
    with step(f"{users:,} users"):
        _write(seed_books.identities(books))
        _add_counts(books)
    with step("Organizations and prices"):
        members = _organizations(books)
        _prices(books)
    with step("Wallets, ledgers and statistics"):
        seed_books.add_usage(books, records, members)
        _write(books.items)
        _write(seed_books.system_sums(books.records, books.now))
    with step("Sessions, API keys, budgets and disabled users"), _without_metrics():
        _activity(books, members)
    with step("Audit") as note, _without_metrics():
        note(_audited())
    with step(f"{records:,} usage records"):
        # The records come last, because the table's stream sends them to the rollups function. If they came earlier,
        # this function would take processor time from the other steps. The function does not count the records:
        # `system_sums` has written sums that include them, and marks that say so.
        _write(map(usage.to_item, books.records))


def _without_metrics() -> redirect_stdout[io.StringIO]:
    """Swallow the metrics that the operations print."""
    return redirect_stdout(io.StringIO())


def _number(name: str, default: int, least: int, most: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise Refused(f"{name} must be a number from {least:,} to {most:,}, not {text}")
    return int(text)


def _write(items: Iterable[Item]) -> None:
    """Write items, several batches at a time."""
    with ThreadPoolExecutor(WRITERS) as pool:
        batches = (seed_books.without_empty(batch) for batch in batched(items, WRITTEN_AT_ONCE, strict=False))
        list(pool.map(table.put_many, batches))  # raises the first failure


def _add_counts(books: Books) -> None:
    transact([people.count_at(key, number) for key, number in seed_books.user_counts(books)])


def _organizations(books: Books) -> dict[str, AccountId]:
    """Create organizations with an owner, an admin and members; return each member's organization account."""
    rng = random.Random(3)
    names = NAMES["organizations"][: len(books.users) // USERS_BY_ORGANIZATION]
    candidates = iter(rng.sample(books.users, MEMBERS * len(names)))
    accounts: dict[str, AccountId] = {}
    for name in names:
        team = [user.id for user in islice(candidates, MEMBERS)]
        at = books.now - 99 * DAY
        made = organizations.create(name, ById(team[0]), now=at, key=None).organization
        for number, user_id in enumerate(team[1:]):
            organizations.set_role(made.id, ById(user_id), "member" if number else "admin", by=None, now=at)
        books.wallets[made.account_id] = wallets.get(made.account_id)
        accounts |= dict.fromkeys(team, made.account_id)
    return accounts


def _prices(books: Books) -> None:
    for rule in books.rules:
        prices.add(rule, now=books.now, key=None)


def _activity(books: Books, members: dict[str, AccountId]) -> None:
    """Let the service create the rest: live and ended sessions, debt, API keys, budgets, disabled users."""
    now, rng = books.now, random.Random(4)
    models = [*seed_books.MODELS]
    administrator = Requester(ADMIN, is_administrator=True)
    for account_id in dict.fromkeys(members.values()):
        budgets.put(account_id, "members", BudgetValues(5_000, "month", warn_at=(80,)), by=administrator, now=now)
    for user_id, account_id in rng.sample([*members.items()], min(len(members), 20)):
        budgets.put(account_id, of_member(user_id), BudgetValues(2_000, "week"), by=administrator, now=now)
    active = rng.sample(books.users, 100)
    for number, user in enumerate(active):
        account_id = members.get(user.id) or personal(user.id)
        session_id = uuid7(now, number)
        model, estimate = rng.choice(models), rng.randrange(500, 4_000)
        try:
            sessions.initialize(user.id, session_id, model, estimate, now=now, account_id=account_id)
        except (InsufficientCredits, BudgetExceeded):
            continue  # this user gets no session
        sessions.heartbeat(user.id, session_id, rng.randrange(100, 500), now=now)
        overrun = 400_000 if number < 5 and user.id not in members else 0
        if number % 3:
            settling.finalize(user.id, session_id, overrun or rng.randrange(200, 900), success=True, now=now)
    for user in rng.sample(books.users, 100):
        api_keys.create(
            user.id, "Notebook", ("credits:read", "sessions:write"), expires_at=None, now=now, idempotency_key=None
        )
    idle = [user for user in books.users if user not in active]
    for user in rng.sample(idle, 20):
        users.disable(ById(user.id), by=ADMIN, reason="Left the company", now=now)


def _audited() -> str:
    """Let the auditor check every wallet, and return the result in words. Raises Refused if a wallet is not intact."""
    audited = audit_all(clock(), lambda: True)
    if audited.drifting or audited.failures or audited.unread:
        raise Refused(f"the auditor found problems: {audited}")
    return f"{audited.wallets:,} wallets intact"


if __name__ == "__main__":
    sys.exit(main())
