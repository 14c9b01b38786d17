"""How many sessions can begin in a second if all of them belong to the same user, and what each session costs."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accounting import telemetry
from accounting.domain.accounts import personal
from accounting.domain.audit import LedgerSums
from accounting.domain.errors import Contention, Unavailable
from accounting.operations import sessions
from accounting.store import wallets
from accounting.times import clock
from bench import child
from bench.functions import be_patient
from bench.report import Section, Target, number
from bench.scale import scaled
from bench.units import Units
from tests.calls import the_wire
from tests.metrics import Uncounted

if TYPE_CHECKING:
    from bench.database import Database
    from bench.report import Report

PROCESSES = (1, 8, 32)
SECONDS = 15
HEAD_START_SECONDS = 1.0
HELD = 6
"""The credits that each session holds."""
LEAST_SHARE = 0.6
"""The target: the most processes together reach at least this share of the rate of one process."""
ABOUT = """\
Each process calls `initialize` for the same user for {seconds:g} seconds, one call after another. Each call is a
transaction on the user's wallet, and only one can succeed at a time. **Attempts** and **units** are the transactions
and write units for each success. Refused transactions are included, with two units for each KB of their items. The
session ids are not UUIDv7s, which costs one unit more. A **failure** is a 503. The **wallet** is right if it matches
the successes. The emulator carries out one request at a time, so the times on AWS differ."""
HEADER = [
    "processes",
    "successes",
    "per second",
    "× one process",
    "attempts",
    "units",
    "p50 ms",
    "p99 ms",
    "max ms",
    "failures",
    "wallet",
]


@dataclass(frozen=True)
class Writer:
    """What one process did. ``times`` has the seconds of each success, ``in_time`` the number before time was up."""

    times: list[float]
    in_time: int
    failures: int
    transactions: int
    units: float


def run(report: Report, database: Database) -> None:
    from bench import seed

    database, seconds = database.table("hot-user"), scaled(SECONDS * 1000) / 1000
    asked = []
    for processes in PROCESSES:
        user = f"hot-{processes}"
        seed.user(user, 10**12)
        asked.append({"user": user, "processes": processes, "seconds": seconds})
    measured = child.run("bench.hot_user", asked, database)
    one = measured[0]["rate"]
    rows = [[str(processes), *_row(found, one)] for processes, found in zip(PROCESSES, measured, strict=True)]
    report.add(Section("One hot user", ABOUT.format(seconds=seconds), HEADER, rows))
    promise = f"sessions of one user a second, {PROCESSES[-1]} processes relative to one"
    report.targets.append(Target.at_least(promise, LEAST_SHARE, measured[-1]["rate"] / one, " ×"))


def _row(found: dict[str, Any], one: float) -> list[str]:
    return [
        f"{found['successes']:,}",
        number(found["rate"]),
        f"{found['rate'] / one:.2f}",
        *(f"{found[each] / max(1, found['successes']):.2f}" for each in ("transactions", "units")),
        *(f"{found[each] * 1000:,.0f}" for each in ("p50", "p99", "longest")),
        str(found["failures"]),
        "right" if found["right"] else "WRONG",
    ]


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Call `initialize` in all processes until the time is up."""
    telemetry.metrics = Uncounted()  # type: ignore[assignment]  # outside Lambda, nothing writes the metrics
    be_patient()  # this also drops the cached client, so each process makes its own connection
    user, seconds = asked["user"], asked["seconds"]
    begin = time.monotonic() + HEAD_START_SECONDS
    with ProcessPoolExecutor(asked["processes"], multiprocessing.get_context("fork")) as pool:
        writing = [pool.submit(_write, user, number, begin, seconds) for number in range(asked["processes"])]
        writers = [each.result() for each in writing]
    times = sorted(each for writer in writers for each in writer.times)
    wallet = wallets.get(personal(user))
    return {
        "successes": len(times),
        "rate": sum(each.in_time for each in writers) / seconds,
        "transactions": sum(each.transactions for each in writers),
        "units": sum(each.units for each in writers),
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "longest": times[-1],
        "failures": sum(each.failures for each in writers),
        "right": LedgerSums.of(wallet).drift() == 0 and wallet.held == HELD * len(times),
    }


def _write(user: str, process: int, begin: float, seconds: float) -> Writer:
    times: list[float] = []
    end, in_time, failures, called = begin + seconds, 0, 0, 0
    time.sleep(max(0, begin - time.monotonic()))
    with Units.of(the_wire()) as units:
        while (asked := time.monotonic()) < end:
            called += 1
            try:
                sessions.initialize(user, f"s-{process}-{called}", "bench-model", 5_000, now=clock())
            except (Contention, Unavailable):
                failures += 1
            else:
                answered = time.monotonic()
                times.append(answered - asked)
                in_time += answered < end
    return Writer(times, in_time, failures, units.operations.count("TransactWriteItems"), units.write_units)


if __name__ == "__main__":
    child.serve(measure)
