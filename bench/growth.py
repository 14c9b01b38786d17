"""Whether an operation costs more if a user has more lots, sessions and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import seed
from bench.per_request import Effort, Workload, measure
from bench.report import Section, Target, ms, number
from bench.scale import growing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.database import Database
    from bench.functions import Figures
    from bench.report import Report

LOTS = (1, 50, 200, 1_000)
SESSIONS = (0, 1_000, 10_000)
RECORDS = (1_000, 10_000, 100_000)
REPEATS = 100
MOST_SECONDS = 4
CPU_TOLERANCE = 1.5
"""The factor by which the CPU times of two equal measurements can differ on a busy machine."""

OPERATIONS = {
    "credits": ["balance", "check", "remove"],
    "ledger": ["allocations", "ledger"],
    "streaming_sessions": ["initialize", "heartbeat", "finalize", "abort"],
    "usage": ["usage/record", "usage/record with deduction", "usage/stats of 30 days"],
}
LOTS_ABOUT = """\
The cost by the number of the user's [lots](../docs/concepts.md#lot). A wallet is one item, which grows with its lots.
Each lot here has a different expiry, which makes the wallet as large as possible: 15 KB with 1,000 lots, the maximum.
**×** is the least CPU time relative to that with one lot."""
SESSIONS_ABOUT = f"""\
The cost by the number of the user's ended sessions in the last {seed.DAYS} days. Each session has two ledger entries
and a usage record. **×** is the least CPU time relative to that with 0 sessions. With 0 sessions there is little to
list, so compare 1,000 with 10,000 sessions for `allocations`, `ledger` and `usage/stats`."""
RECORDS_ABOUT = f"""\
`usage/stats` of the same {seed.DAYS} days, by the number of usage records on these days."""
HEADER = ["operation", "", "round trips", "write units", "read units", "CPU ms", "×"]


def lots(report: Report, database: Database) -> None:
    """Measure balance, initialize and finalize by the number of lots."""
    database, counts = database.table("lots"), growing(LOTS)
    for count in counts:
        seed.lots(f"lots-{count}", count)
    operations = {"credits": ["balance"], "streaming_sessions": ["initialize", "finalize"]}
    found = _measured(database, operations, {count: f"lots-{count}" for count in counts})
    report.add(Section("A user's lots", LOTS_ABOUT, HEADER, _rows(found, "lots")))


def sessions(report: Report, database: Database) -> None:
    """Measure a user's operations by the number of the user's earlier sessions."""
    database, counts = database.table("sessions"), growing(SESSIONS)
    for count in counts:
        seed.past_sessions(f"past-{count}", count)
    found = _measured(database, OPERATIONS, {count: f"past-{count}" for count in counts})
    report.add(Section("A user's past", SESSIONS_ABOUT, HEADER, _rows(found, "sessions")))
    some, most = found[counts[1]], found[counts[-1]]
    units = max(_ratio(name, some, most, lambda each: each.write_units + each.read_units) for name in some)
    round_trips = max(_ratio(name, some, most, lambda each: each.round_trips) for name in some)
    cpu = max(_ratio(name, some, most, lambda each: each.cpu_least) for name in some)
    growth = f"{counts[-1]:,} past sessions relative to {counts[1]:,}, worst operation"
    report.targets += [
        Target.at_most(f"round trips, {growth}", 1, round_trips, " ×"),
        Target.at_most(f"units, {growth}", 1, units, " ×"),
        Target.at_most(f"least CPU time, {growth}", CPU_TOLERANCE, cpu, " ×"),
    ]


def records(report: Report, database: Database) -> None:
    """Measure the statistics of the same days by the number of records."""
    header = ["records", "round trips", "items read", "read units", "CPU ms"]
    rows, name = [], OPERATIONS["usage"][-1]
    found, counts = [], growing(RECORDS)
    for count in counts:
        table, user = database.table(f"records-{count}"), f"records-{count}"
        made = seed.records(user, count)
        seed.user(user, 0)
        seed.write_records(made)
        seed.check_day_sums(user, made)
        asked = [Workload([name], seed.whole_days(), user)]
        (figures,) = measure(table, "usage", asked, Effort(50, 10, patient=True))[0].values()
        found.append(figures)
        rows.append(
            [
                f"{count:,}",
                str(figures.round_trips),
                str(figures.items),
                number(figures.read_units),
                ms(figures.cpu),
            ]
        )
    report.add(Section("Statistics by records", RECORDS_ABOUT, header, rows))
    grown = found[-1].items / found[0].items
    growth = f"{counts[-1]:,} records relative to {counts[0]:,}"
    report.targets.append(Target.at_most(f"items that the statistics read, {growth}", 1, grown, " ×"))


def _measured(
    database: Database, operations: dict[str, list[str]], users: dict[int, str]
) -> dict[int, dict[str, Figures]]:
    """Return the figures of each operation, by the user's number of lots or sessions."""
    found: dict[int, dict[str, Figures]] = {count: {} for count in users}
    for function, names in operations.items():
        asked = [Workload(names, seed.whole_days(), user) for user in users.values()]
        figures = measure(database, function, asked, Effort(REPEATS, MOST_SECONDS, patient=True))
        for count, each in zip(users, figures, strict=True):
            found[count] |= each
    return found


def _ratio(name: str, first: dict[str, Figures], last: dict[str, Figures], figure: Callable[[Figures], float]) -> float:
    return figure(last[name]) / (figure(first[name]) or 1)


def _rows(found: dict[int, dict[str, Figures]], what: str) -> list[list[str]]:
    counts = list(found)
    return [
        [
            name if count == counts[0] else "",
            f"{count:,} {what}",
            str(figures.round_trips),
            number(figures.write_units),
            number(figures.read_units),
            ms(figures.cpu),
            f"{figures.cpu_least / found[counts[0]][name].cpu_least:.2f}",
        ]
        for name in found[counts[0]]
        for count, each in found.items()
        for figures in [each[name]]
    ]
