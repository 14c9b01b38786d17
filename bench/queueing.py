"""Simulates one busy user: optimistic transactions on one wallet, with assumed times and one seed.

Requests come at random (Poisson) and do what `initialize` does: read, decide, write one transaction. DynamoDB takes
``READ`` seconds for a strongly consistent read and ``WRITE`` for a transaction, on average. The times have a gamma
distribution of shape ``SHAPE``. A transaction locks the wallet for ``LOCKED`` seconds. A transaction that meets the
lock gets `TransactionConflict`. If the wallet has changed since it was read, the transaction is refused, and the
refusal contains the new wallet. Each attempt of a transaction takes write units from the wallet's partition, which has
``PARTITION_UNITS_A_SECOND`` write units a second. If too few write units are left, the attempt is throttled and not
billed. Any other attempt is billed, even if it is refused. Pauses and time limits are the service's own
(`operations/turns.py` and `operations/commit.py`). Change the assumed times to see their effect.

    PYTHONPATH=layers/shared .venv/bin/python -m bench.queueing
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from unittest.mock import patch

from accounting.domain.accounts import personal
from accounting.domain.wallet import Wallet
from accounting.operations.commit import CONTENTION_SECONDS
from accounting.operations.turns import Turns
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Throttled, chance

READ = 0.004
WRITE = 0.012
LOCKED = 0.006
HANDLER = 0.003
SHAPE = 4
PARTITION_UNITS_A_SECOND = 1_000
UNITS_TAKEN = 4
"""The write units that an attempt of `initialize` takes from the account's partition."""
UNITS_WRITTEN = 8
"""The write units that are billed if the attempt succeeds, including those of the indexes."""
UNITS_REFUSED = 6
"""The write units that are billed if the attempt is refused."""

RATES = (1, 5, 10, 20, 40, 60, 80, 100, 150)
SECONDS = 300.0
SEED = 7

type Steps = Iterator[float]
"""The durations of a request's steps, in seconds."""


@dataclass
class Outcome:
    """The latency of each successful request in seconds, and how many requests were given up.

    ``refused`` and ``throttled`` count attempts. Refused attempts are billed, and throttled attempts are not.
    """

    latencies: list[float] = field(default_factory=list)
    given_up: int = 0
    refused: int = 0
    throttled: int = 0

    @property
    def asked(self) -> int:
        """The number of requests."""
        return len(self.latencies) + self.given_up

    @property
    def attempts(self) -> float:
        """Billed attempts for each successful request."""
        return 1 + self.refused / max(1, len(self.latencies))

    @property
    def units(self) -> float:
        """Billed write units for each successful request."""
        return UNITS_WRITTEN + (self.attempts - 1) * UNITS_REFUSED

    def percentile(self, share: float) -> float:
        """The latency that this share of the successful requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Simulation:
    """The wallet, its partition, and the requests."""

    def __init__(self, seed: int, shape: float, units: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.outcome = Outcome()
        self._shape, self._attempt_units = shape, units
        self._wallet = Wallet(personal("busy"))
        self._locked_until = 0.0
        self._units, self._refilled_at = float(PARTITION_UNITS_A_SECOND), 0.0

    def run(self, rate: float, seconds: float) -> None:
        """Send requests at ``rate`` a second for ``seconds``, and wait for all of them."""
        order = count()
        events: list[tuple[float, int, Steps]] = []
        at = self.random.expovariate(rate)
        while at < seconds:
            heapq.heappush(events, (at, next(order), self._request()))
            at += self.random.expovariate(rate)
        while events:
            self.now, _, request = heapq.heappop(events)
            duration = next(request, None)
            if duration is not None:
                heapq.heappush(events, (self.now + duration, next(order), request))

    def _request(self) -> Steps:
        began = self.now
        yield HANDLER + self._about(READ)
        seen, turns = self._wallet, Turns(self._wallet.version)
        while True:
            attempt_began = self.now
            yield self._about(WRITE - LOCKED)
            refusal = self._refusal(seen)
            if not refusal:
                locked = self._about(LOCKED)
                self._locked_until = self.now + locked
                yield locked
                self._wallet = Wallet(seen.account_id, version=seen.version + 1, passed=turns.passed(seen))
                self.outcome.latencies.append(self.now - began)
                return
            pause = turns.pause(refusal, self.now - attempt_began)
            seen = self._wallet
            if self.now + pause - began > CONTENTION_SECONDS:
                self.outcome.given_up += 1
                return
            if pause:
                yield pause
                yield self._about(READ)
                seen = self._wallet

    def _refusal(self, seen: Wallet) -> StaleRead | Conflict | None:
        """Return why an attempt that read the wallet ``seen`` is refused, or None if it is not refused.

        Take the attempt's write units from the partition, unless the attempt is throttled.
        """
        refilled = self._units + (self.now - self._refilled_at) * PARTITION_UNITS_A_SECOND
        self._units, self._refilled_at = min(refilled, PARTITION_UNITS_A_SECOND), self.now
        if self._units < self._attempt_units:
            self.outcome.throttled += 1
            return Throttled()
        self._units -= self._attempt_units
        locked, stale = self._locked_until > self.now, self._wallet.version != seen.version
        self.outcome.refused += locked or stale
        if locked:
            return Conflict()
        return StaleRead(wallet=self._wallet) if stale else None

    def _about(self, seconds: float) -> float:
        return self.random.gammavariate(self._shape, seconds / self._shape)


def run(
    rate: float, seconds: float = SECONDS, seed: int = SEED, *, shape: float = SHAPE, units: int = UNITS_TAKEN
) -> Outcome:
    """Send requests at ``rate`` a second for ``seconds``.

    Each attempt takes ``units`` of the partition's write units. With a large ``shape``, DynamoDB's times are almost
    constant.
    """
    simulation = Simulation(seed, shape, units)
    with patch.object(chance, "_random", simulation.random):
        simulation.run(rate, seconds)
    return simulation.outcome


def main() -> None:
    """Print the table of docs/scale.md."""
    times = f"read {READ * 1000:.0f} ms, transaction {WRITE * 1000:.0f} ms ({LOCKED * 1000:.0f} ms locked)"
    print(f"{times}, seed {SEED}")
    print("\n| commands sent a second | done a second | given up | attempts per success ", end="")
    print("| units per success | p50 | p99 |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for rate in RATES:
        found = run(rate)
        p50, p99 = (found.percentile(share) * 1000 for share in (0.5, 0.99))
        print(
            f"| {rate} | {len(found.latencies) / SECONDS:.1f} | {found.given_up / found.asked * 100:.1f} % "
            f"| {found.attempts:.1f} | {found.units:.0f} | {p50:,.0f} ms | {p99:,.0f} ms |"
        )


if __name__ == "__main__":
    main()
