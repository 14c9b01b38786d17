"""Background work of the simulation: sweepers end silent sessions, an auditor proves ledgers, consumers count usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf

from accounting.domain.errors import AccountingError
from accounting.domain.usage import UsageRecord
from accounting.operations import system_usage
from accounting.operations.audit import audit_all
from accounting.operations.sweep import Swept, sweep
from tests.simulation.clients import LATENESS_SECONDS, Clients
from tests.simulation.scheduler import Scheduler

SWEEP_SECONDS = 1800
SWEEPS_LEFT_OUT = (0, 0, 1, 11)
BETWEEN_AUDITS_SECONDS = (0.2, 900, 43_200)
BETWEEN_BATCHES_SECONDS = (1, 60, 900)


class Background:
    """Runs until all ``clients`` have ended. ``stream`` has the usage records in the table's stream."""

    def __init__(self, scheduler: Scheduler, clients: Clients, stream: list[UsageRecord]) -> None:
        self.done: Counter[str] = Counter()
        self._scheduler = scheduler
        self._stream = stream
        self._clients = clients

    def sweeper(self) -> None:
        """Sweep on a schedule, sometimes at the same time as another sweeper."""
        while self._clients.living:
            random, now = self._scheduler.random, self._scheduler.now
            late = random.choice(SWEEPS_LEFT_OUT) * SWEEP_SECONDS + random.uniform(0, LATENESS_SECONDS)
            self._scheduler.pause(SWEEP_SECONDS - now % SWEEP_SECONDS + late)
            self._process("sweep", self.sweep)

    def auditor(self) -> None:
        """Prove every ledger while it grows. A finding is a false alarm, because the books are correct."""
        random = self._scheduler.random
        while self._clients.living:
            self._scheduler.pause(random.choice(BETWEEN_AUDITS_SECONDS))
            self._process("audit", self.audit)

    def audit(self) -> None:
        """Run one audit. The audit may run out of time while the clients still start new requests."""
        random = self._scheduler.random
        audited = audit_all(self._clients.clock(), lambda: self._clients.calm or random.random() < 0.9)
        assert not audited.drifting, "the audit raised a false alarm"
        self.done["wallets audited"] += audited.wallets

    def consumer(self) -> None:
        """Count all records of the stream. As in reality, batches overlap and repeat, and records come in any order."""
        position, random = 0, self._scheduler.random
        while self._clients.living:
            self._scheduler.pause(random.choice(BETWEEN_BATCHES_SECONDS))
            if position == len(self._stream):
                continue
            begin = max(0, position - random.choice((0, 0, 0, 5)))
            batch = self._stream[begin : begin + random.randint(1, 12)]
            random.shuffle(batch)
            if self._process("count", lambda batch=batch: self._count(batch)):  # type: ignore[misc]
                position = begin + len(batch)

    def sweep(self) -> Swept:
        """Run one sweep. The sweep may run out of time while the clients still start new requests."""
        random = self._scheduler.random
        swept = sweep(
            self._clients.clock() + random.randint(-3000, 3000), lambda: self._clients.calm or random.random() < 0.9
        )
        self.done["sessions swept"] += swept.sessions
        self.done["wallets expired"] += swept.wallets
        return swept

    def deliver_all(self) -> None:
        """Count the whole stream once more."""
        records = list(self._stream)
        self._scheduler.random.shuffle(records)
        for chunk in system_usage.chunks(records):
            self._count(chunk)

    def _count(self, batch: Sequence[UsageRecord]) -> None:
        fresh = system_usage.count(batch)
        self.done["records counted"] += fresh
        self.done["records delivered again"] += len(batch) - fresh

    def _process(self, name: str, work: Callable[[], object]) -> bool:
        """Run the work as a simulated process. Return False if the task was killed or the work failed."""

        def body() -> bool:
            try:
                work()
            except AccountingError as failure:
                self.done[f"{name}: {failure.code}"] += 1
                return False
            return True

        process = self._scheduler.spawn(name, body)
        while not process.done:
            self._scheduler.pause(inf, until=process)
        return bool(process.result)
