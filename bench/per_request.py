"""What one request of each operation costs: round trips, read and write units, and CPU time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench import child, seed
from bench.functions import LEAST, UNIT_TURNS, WARM_UP, Figures
from bench.operations import BY_FUNCTION
from bench.report import Section, Target, ms, number
from bench.scale import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.database import Database
    from bench.report import Report

REPEATS = 300
MOST_SECONDS = 20
TARGET_USERS = REPEATS + 50
"""The number of users for a supervisor's commands. Each command acts on the next user."""
CPU_LIMIT_MILLISECONDS = {"balance": 1.5, "initialize": 3.0, "finalize": 3.0}
ABOUT = """\
The function's real handler handles up to {repeats} requests of each operation, after a warm-up.

- **Round trips** are calls to DynamoDB.
- **Write units** are reported by the emulator, indexes included.
- **Read units** are computed from the sizes of the items, by DynamoDB's rules.
- **CPU ms** is the median CPU time, without the database's. **CPU least** is closest to the time on a quiet machine.
- **Log bytes** include metrics."""
HEADER = [
    "operation",
    "round trips",
    "write units",
    "read units",
    "CPU ms",
    "CPU least",
    "log bytes",
]


class Effort(NamedTuple):
    """The limits of a measurement.

    A ``patient`` measurement waits longer for the emulator, which is slow with many items.
    """

    repeats: int
    seconds: float
    patient: bool = False


EFFORT = Effort(REPEATS, MOST_SECONDS)


class Workload(NamedTuple):
    """Operations to measure, what was seeded for them, and their user.

    If ``user`` is empty, each operation has a user of its own.
    """

    operations: Sequence[str]
    seeded: dict[str, str]
    user: str = ""


def measure(
    database: Database, function: str, asked: Sequence[Workload], effort: Effort = EFFORT
) -> list[dict[str, Figures]]:
    """Return one dictionary for each workload in ``asked``: the figures of its operations by the operations' names."""
    common = {
        "function": function,
        "targets": scaled(TARGET_USERS),
        **effort._asdict(),
        "unit_turns": scaled(UNIT_TURNS, least=2),  # two: `set` and `adjust` alternately grant and remove
        "warm_up": scaled(WARM_UP),
        "repeats": scaled(effort.repeats),
        "least": scaled(LEAST),
    }
    answers = child.run("bench.functions", [common | each._asdict() for each in asked], database)
    return [{name: Figures(**figures) for name, figures in answer.items()} for answer in answers]


def run(report: Report, database: Database) -> None:
    """Measure every operation."""
    database = database.table("requests")
    seeded = seed.whole_days()
    for operations in BY_FUNCTION.values():
        for operation in operations:
            seed.user(operation.slug)
    for target in range(scaled(TARGET_USERS)):
        seed.user(f"target-{target}", 1_000)
    seed.write_records(seed.records("usage-stats-of-30-days", 300))
    for function, operations in BY_FUNCTION.items():
        asked = [
            Workload([each.name], seeded | (seed.api_key(each.slug) if "key" in each.name.lower() else {}))
            for each in operations
        ]
        for found in measure(database, function, asked):
            report.figures |= found
    rows = [_row(name, figures) for name, figures in report.figures.items()]
    report.add(Section("A request of each operation", ABOUT.format(repeats=scaled(REPEATS)), HEADER, rows))
    for name, limit in CPU_LIMIT_MILLISECONDS.items():
        promise = f"CPU time of {name}"
        report.targets.append(Target.at_most(promise, limit, report.figures[name].cpu * 1000, " ms"))


def _row(name: str, figures: Figures) -> list[str]:
    return [
        name,
        str(figures.round_trips),
        number(figures.write_units),
        number(figures.read_units),
        ms(figures.cpu),
        ms(figures.cpu_least),
        str(figures.log_bytes),
    ]
