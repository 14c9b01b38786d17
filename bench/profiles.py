"""The share of each package in the CPU time of a request."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bench import child, seed
from bench.report import Section
from bench.scale import scaled

if TYPE_CHECKING:
    from bench.database import Database
    from bench.report import Report

REQUESTS = 200
WARM_UP = 20
OPERATIONS = {"balance": "credits", "initialize": "streaming_sessions", "finalize": "streaming_sessions"}
PARTS = {
    "/store/table/": "the service's DynamoDB client",
    "/json/": "json",
    "/logging/": "logging",
    "/aws_lambda_powertools/event_handler/": "Powertools: routing, validation",
    "/aws_lambda_powertools/metrics/": "Powertools: metrics",
    "/aws_lambda_powertools/": "Powertools: logger and others",
    "/pydantic": "pydantic",
    "/accounting/": "the service's layer",
    "/app.py": "the function",
    "~": "interpreter's built-ins",
}
ABOUT = """\
The share of each package in the CPU time of {requests} requests, under cProfile. cProfile adds time to every function
call, so the shares of code with many calls are too high."""


def run(report: Report, database: Database) -> None:
    database, requests, found = database.table("profile"), scaled(REQUESTS), {}
    for name, function in OPERATIONS.items():
        seed.user(f"profile-{name}")
        asked = {
            "function": function,
            "operation": name,
            "user": f"profile-{name}",
            "warm_up": scaled(WARM_UP),
            "requests": requests,
        }
        (found[name],) = child.run("bench.profiles", [asked], database)
    parts = sorted(
        {part for each in found.values() for part in each}, key=lambda part: -found["initialize"].get(part, 0)
    )
    rows = [[part, *(f"{found[name].get(part, 0) * 100:.0f} %" for name in OPERATIONS)] for part in parts]
    report.add(Section("Where the time goes", ABOUT.format(requests=requests), ["package", *OPERATIONS], rows))


def measure(asked: dict[str, Any]) -> dict[str, float]:
    """Return the share of each package in an operation's time."""
    from bench.functions import CONTEXT, Function, expect
    from bench.operations import Turn, operation_named

    function, operation = Function(asked["function"]), operation_named(asked["function"], asked["operation"])
    warm_up, user = asked["warm_up"], asked["user"]
    turns = [Turn(f"{number}", number, user, user, {}) for number in range(warm_up + asked["requests"])]
    for turn in turns:
        for before in operation.before:
            function.answer(before(turn).event(), 201)
    events = [operation.request(turn).event() for turn in turns]
    for event in events[:warm_up]:
        function.answer(event, operation.status)
    profile = cProfile.Profile(time.process_time)
    for event in events[warm_up:]:
        expect(profile.runcall(function.handler, event, CONTEXT), event, operation.status)
    return _shares(pstats.Stats(profile))


def _shares(stats: pstats.Stats) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for (path, _, _), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]  # not in the types
        part = next((part for where, part in PARTS.items() if where in path), "the rest")
        seconds[part] += own
    total = sum(seconds.values())
    return {part: own / total for part, own in seconds.items()}


if __name__ == "__main__":
    child.serve(measure)
