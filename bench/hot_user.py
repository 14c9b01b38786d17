"""How many sessions can begin in a second if all of them belong to the same user."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from bench import child
from bench.report import Section, number
from bench.scale import scaled

if TYPE_CHECKING:
    from bench.database import Database
    from bench.report import Report

WORKERS = (1, 8, 32)
SECONDS = 10
ABOUT = """\
The real `initialize`, called by this many threads of one process for one user, for {seconds:g} seconds. Each call is
one transaction on the same wallet, so they can only succeed one after the other: more workers add retries, not
sessions. A **retry** decides again, or reads again after a conflict; a **failure** is a 503
`CONTENTION` after 8 seconds. Afterwards the wallet's sums and its held credits are checked against the successes.
The threads share one core with each other, and the machine with the emulator: on
AWS the limit is a transaction's latency."""
HEADER = ["workers", "successes", "per second", "retries", "per success", "failures", "wallet"]


class Counted:
    """Metrics that are only added up."""

    metric_set: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.sums: dict[str, int] = {}

    def add_metric(self, *, name: str, value: int, **_: Any) -> None:
        """Add to the counter."""
        self.sums[name] = self.sums.get(name, 0) + value


def run(report: Report, database: Database) -> None:
    """Measure with each number of workers."""
    from bench import seed

    database, rows, seconds = database.table("hot-user"), [], scaled(SECONDS * 1000) / 1000
    asked = []
    for workers in WORKERS:
        user = f"hot-{workers}"
        seed.user(user, 10**12)
        asked.append({"user": user, "workers": workers, "seconds": seconds})
    for workers, found in zip(WORKERS, child.run("bench.hot_user", asked, database), strict=True):
        successes, retries = found["successes"], found["retries"]
        rows.append(
            [
                str(workers),
                f"{successes:,}",
                number(successes / found["seconds"]),
                f"{retries:,}",
                f"{retries / max(1, successes):.2f}",
                str(found["failures"]),
                "right" if found["right"] else "WRONG",
            ]
        )
    report.add(Section("One hot user", ABOUT.format(seconds=seconds), HEADER, rows))


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Open sessions with all workers until time is up."""
    from accounting import telemetry
    from accounting.domain.accounts import personal
    from accounting.domain.audit import Sums
    from accounting.domain.errors import Contention, Unavailable
    from accounting.operations import sessions
    from accounting.store import wallets
    from accounting.times import clock
    from bench.functions import be_patient

    be_patient()
    counted = Counted()
    telemetry.metrics = counted  # type: ignore[assignment]  # one invocation's, and there is none
    user, lock, begun = asked["user"], Lock(), time.monotonic()
    successes = failures = 0

    def work(worker: int) -> None:
        nonlocal successes, failures
        number = 0
        while time.monotonic() - begun < asked["seconds"]:
            number += 1
            try:
                sessions.initialize(user, f"s-{worker}-{number}", "bench-model", 5_000, now=clock())
            except (Contention, Unavailable):
                with lock:
                    failures += 1
            else:
                with lock:
                    successes += 1

    with ThreadPoolExecutor(asked["workers"]) as pool:
        list(pool.map(work, range(asked["workers"])))
    seconds = time.monotonic() - begun
    wallet = wallets.get(personal(user))
    return {
        "successes": successes,
        "failures": failures,
        "retries": counted.sums.get("ConflictsRetried", 0),
        "seconds": seconds,
        "right": Sums.of(wallet).drift() == 0 and wallet.held == 6 * successes,
    }


if __name__ == "__main__":
    child.serve(measure)
