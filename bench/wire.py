"""Compares two clients of DynamoDB, boto3's and the service's own (``Wire``), by the CPU time of requests."""

from __future__ import annotations

from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import child, seed
from bench.report import Section, Target, ms
from bench.scale import scaled

if TYPE_CHECKING:
    from bench.database import Database
    from bench.report import Report

REPEATS = 300
WARM_UP = 20
LIMITS = {
    "balance": ("credits", 0.45),
    "initialize": ("streaming_sessions", 0.45),
    "finalize": ("streaming_sessions", 0.45),
    "usage/record": ("usage", 0.45),
    "usage/stats of 30 days": ("usage", 0.4),
}
"""For each operation: its function, and the most CPU time with the wire, relative to boto3."""
ABOUT = """\
Each function's real handler alternates between boto3's client and the wire, so that other load affects both. The
figures are medians of the CPU time of {repeats} requests."""
HEADER = ["operation", "boto3 ms", "wire ms", "× boto3"]


def run(report: Report, database: Database) -> None:
    database, repeats = database.table("wire"), scaled(REPEATS)
    known = seed.whole_days()
    for name in LIMITS:
        seed.user(f"wire-{name}")
    seed.write_records(seed.records("wire-usage/stats of 30 days", 300))
    rows = []
    for name, (function, limit) in LIMITS.items():
        asked = {"function": function, "operation": name, "user": f"wire-{name}", "known": known, "repeats": repeats}
        ((boto3, wire),) = child.run("bench.wire", [asked], database)
        share = median(wire) / median(boto3)
        rows.append([name, ms(median(boto3)), ms(median(wire)), f"{share:.2f}"])
        report.targets.append(
            Target.at_most(f"CPU time of {name} with the wire, relative to boto3", limit, share, " ×")
        )
    report.add(Section("The wire compared with boto3", ABOUT.format(repeats=repeats), HEADER, rows))


def measure(asked: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of each request with boto3's client, and with the wire."""
    from botocore.session import get_session

    from accounting.store.table import connection, queries, transactions
    from bench.functions import Function, timed
    from bench.operations import Turn, operation_named

    function, operation = (
        Function(asked["function"], patient=True),
        operation_named(asked["function"], asked["operation"]),
    )
    clients = connection.sdk_client(get_session()), connection.client()
    numbers = count()

    def cpu(client: Any) -> float:
        for module in (queries, transactions):
            vars(module)["client"] = lambda: client
        number = next(numbers)
        return timed(function, operation, Turn(f"{number}", number, asked["user"], asked["user"], asked["known"]))

    turns = [[cpu(client) for client in clients] for _ in range(scaled(WARM_UP) + asked["repeats"])]
    boto3, wire = zip(*turns[scaled(WARM_UP) :], strict=True)
    return [*boto3], [*wire]


if __name__ == "__main__":
    child.serve(measure)
