"""Simulates one busy user: optimistic transactions on one wallet, with given service times and one seed.

Requests come at random (Poisson) and do what `initialize` does: read, decide, write one transaction. DynamoDB takes
``READ`` seconds for a strongly consistent read and ``WRITE`` for a transaction. ``LOCKED`` is how long it locks the
wallet. A transaction that meets a locked wallet gets `TransactionConflict`. If the wallet has changed since it was
read, the transaction is refused with the new wallet, and the next attempt decides on that at once. Pauses and time
limits are the service's own. The times are assumptions; change them to see the effect.

    PYTHONPATH=layers/shared .venv/bin/python -m bench.queueing
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from accounting.operations.commit import CONTENTION_SECONDS, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

READ = 0.004
WRITE = 0.012
LOCKED = 0.006
HANDLER = 0.003
RATES = (1, 5, 10, 20, 40, 60, 80, 100, 150)
SECONDS = 300.0
SEED = 7

type Step = Iterator[float]
"""The steps of a request; each value is how long a step takes."""


@dataclass
class Wallet:
    """One item: its version, and until when a transaction has it locked."""

    version: int = 0
    locked_until: float = 0.0


@dataclass
class Outcome:
    """The outcomes of the requests."""

    latencies: list[float] = field(default_factory=list)
    given_up: int = 0
    moved: int = 0
    conflicts: int = 0

    def percentile(self, share: float) -> float:
        """The latency within which this share of the successes stayed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def run(rate: float, seconds: float = SECONDS, seed: int = SEED) -> Outcome:
    """Send requests at ``rate`` a second for ``seconds``."""
    rng, now, wallet, outcome = random.Random(seed), [0.0], Wallet(), Outcome()
    order = count()
    events: list[tuple[float, int, Step]] = []
    at = rng.expovariate(rate)
    while at < seconds:
        heapq.heappush(events, (at, next(order), _request(wallet, outcome, rng, lambda: now[0])))
        at += rng.expovariate(rate)
    while events:
        now[0], _, request = heapq.heappop(events)
        duration = next(request, None)
        if duration is not None:
            heapq.heappush(events, (now[0] + duration, next(order), request))
    return outcome


def _request(wallet: Wallet, outcome: Outcome, rng: random.Random, clock: Callable[[], float]) -> Step:
    began, longest = clock(), FIRST_PAUSE_SECONDS
    yield HANDLER + READ
    seen = wallet.version
    while True:
        yield WRITE - LOCKED
        pause = 0.0
        if wallet.locked_until > clock():
            outcome.conflicts += 1
            pause = rng.uniform(0, longest)
            longest = min(2 * longest, LONGEST_PAUSE_SECONDS)
        elif wallet.version != seen:
            outcome.moved += 1
            seen = wallet.version
        else:
            wallet.locked_until = clock() + LOCKED
            yield LOCKED
            wallet.version += 1
            outcome.latencies.append(clock() - began)
            return
        if clock() + pause - began > CONTENTION_SECONDS:
            outcome.given_up += 1
            return
        if pause:
            yield pause
            yield READ
            seen = wallet.version


def main() -> None:
    """Print the table of docs/scale.md."""
    times = f"read {READ * 1000:.0f} ms, transaction {WRITE * 1000:.0f} ms, of it locked {LOCKED * 1000:.0f} ms"
    print(f"{times}, seed {SEED}")
    print("\n| commands asked a second | done a second | given up | attempts a request | p50 | p99 |")
    print("|---:|---:|---:|---:|---:|---:|")
    for rate in RATES:
        found = run(rate)
        done = len(found.latencies)
        attempts = 1 + (found.moved + found.conflicts) / max(1, done + found.given_up)
        p50, p99 = (found.percentile(share) * 1000 for share in (0.5, 0.99))
        asked = done + found.given_up
        print(
            f"| {rate} | {done / SECONDS:.1f} | {found.given_up / asked * 100:.1f} % | {attempts:.1f} "
            f"| {p50:,.0f} ms | {p99:,.0f} ms |"
        )


if __name__ == "__main__":
    main()
