"""Replaces what the service gets from its process: time, ids, randomness, threads and the database client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

from accounting import settings as settings_module
from accounting import telemetry
from accounting.domain import system_usage
from accounting.domain.errors import AccountingError
from accounting.operations import api_keys as key_making
from accounting.operations import audit, commit, ids, sweep
from accounting.store import cache, prices, system, users
from accounting.store.table import chance, queries, transactions, wire
from accounting.store.table import connection as store_connection
from tests.metrics import Uncounted
from tests.simulation.connection import Connection
from tests.simulation.database import TABLE
from tests.simulation.scheduler import Pool, Scheduler

PATIENCE_SECONDS = (commit.CONTENTION_SECONDS, commit.CONTENTION_SECONDS, 0.1)
"""In each simulation, ``commit.CONTENTION_SECONDS`` is one of these.

The last is so short that even the few callers here get CONTENTION.
"""

NAMES_OF_USER = (1, 2, system_usage.MAX_NAMES_OF_USER)
"""In each simulation, ``system_usage.MAX_NAMES_OF_USER`` is one of these.

The first two are so low that users exceed them even with the few services and models here.
"""


@contextmanager
def simulated(scheduler: Scheduler, connection: Connection) -> Iterator[None]:
    """Run the service in the simulation during the block."""
    random = scheduler.random
    time = SimpleNamespace(monotonic=lambda: scheduler.now, sleep=scheduler.pause)
    pool = Pool(scheduler, AccountingError)
    silent = SimpleNamespace(exception=lambda _: None, error=lambda _, **__: None)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, {"TABLE_NAME": TABLE}))
        settings_module.settings.cache_clear()
        stack.callback(settings_module.settings.cache_clear)
        for remembered in (prices, system, users):
            remembered.forget()
            stack.callback(remembered.forget)
        for module in (commit, store_connection, wire, users, cache):
            stack.enter_context(patch.object(module, "time", time))
        for module, name, value in (
            (commit, "CONTENTION_SECONDS", random.choice(PATIENCE_SECONDS)),
            (system_usage, "MAX_NAMES_OF_USER", random.choice(NAMES_OF_USER)),
            (queries, "client", lambda: connection),
            (transactions, "client", lambda: connection),
            (chance, "_random", random),
            (transactions, "uuid4", lambda: UUID(int=random.getrandbits(128))),
            (ids, "randbits", random.getrandbits),
            (key_making, "secrets", SimpleNamespace(token_urlsafe=lambda size: f"{random.getrandbits(8 * size):x}")),
            (sweep, "ThreadPoolExecutor", pool),
            (sweep, "logger", silent),
            (audit, "ThreadPoolExecutor", pool),
            (audit, "logger", silent),
            (telemetry, "metrics", Uncounted()),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield
