"""Time of each function's import and first request, relative to importing boto3 and creating one client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench import seed
from bench.report import Section, Target, ms
from bench.scale import scaled
from local.paths import FUNCTIONS, LAYER, ROOT

if TYPE_CHECKING:
    from bench.database import Database
    from bench.report import Report

ROUNDS = 9
COMPILING_ROUNDS = 1
REFERENCE = "boto3 and one client"
RELATIVE = f"relative to {REFERENCE}"
FIRST_REQUESTS = {
    "credits": "credits/balance",
    "streaming_sessions": "streaming_sessions/active",
    "usage": "usage/stats",
    "users": "users/me",
    "api_keys": "api_keys/list",
    "organizations": "organizations/list",
    "service_credentials": "service_credentials/list",
    "pricing": "pricing/list",
    "authorizer": "authorizer/token",
    "internal_authorizer": "internal_authorizer/key",
    "health": "health/health",
    "docs": "docs/page",
    "rollups": "rollups/stream",
    "sweeper": "sweeper/schedule",
    "auditor": "auditor/schedule",
}
ABOUT = """\
Medians of {rounds} starts, each in a fresh process with all bytecode compiled. **CPU** is user time. **×** is relative
to importing boto3 and creating one client. **first** is a function's first request, which also creates clients.
**ready** is import and first request together. On Lambda, credits, streaming_sessions and authorizer have SnapStart.
Their cold starts restore a snapshot from after the import."""
HEADER = [
    "function",
    "import ms",
    "import CPU ms",
    "import ×",
    "import CPU ×",
    "first CPU ms",
    "ready CPU ×",
]
LIMITS = {"credits": 1.5, "streaming_sessions": 1.5, "authorizer": 0.5, "health": 0.5}
READY_LIMITS = {"credits": 0.7, "streaming_sessions": 0.7}


class Cold(NamedTuple):
    """One cold start, in seconds."""

    wall: float
    cpu: float
    first_cpu: float


def run(report: Report, database: Database) -> None:
    """Measure each function in FIRST_REQUESTS."""
    database, rounds, compiling = database.table("imports"), scaled(ROUNDS), scaled(COMPILING_ROUNDS, least=0)
    seed.user("demo-user", 1_000)
    starts: dict[str, list[Cold]] = defaultdict(list)
    for number in range(compiling + rounds):
        for name in (REFERENCE, *FIRST_REQUESTS):
            start = _start(name, database)
            if number >= compiling:  # the first rounds only compile the bytecode
                starts[name].append(start)
    medians = {name: Cold(*map(median, zip(*found, strict=True))) for name, found in starts.items()}
    reference = medians[REFERENCE]
    about = ABOUT.format(rounds=rounds)
    report.add(Section("Cold starts", about, HEADER, [_row(name, cold, reference) for name, cold in medians.items()]))
    for name, limit in LIMITS.items():
        cold = medians[name]
        report.targets.append(
            Target.at_most(f"CPU time to import {name}, {RELATIVE}", limit, cold.cpu / reference.cpu, " ×")
        )
        report.targets.append(
            Target.at_most(f"wall time to import {name}, {RELATIVE}", limit, cold.wall / reference.wall, " ×")
        )
    for name, limit in READY_LIMITS.items():
        ready = (medians[name].cpu + medians[name].first_cpu) / reference.cpu
        promise = f"CPU time of import and first request of {name}, {RELATIVE}"
        report.targets.append(Target.at_most(promise, limit, ready, " ×"))


def _start(name: str, database: Database) -> Cold:
    command = [sys.executable, "-P", str(ROOT / "bench/cold.py")]
    if name != REFERENCE:
        command += [str(FUNCTIONS / name), str(ROOT / f"events/{FIRST_REQUESTS[name]}.json")]
    environ = database.environ() | {"PYTHONPATH": str(LAYER)}
    result = subprocess.run(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"{name}: {result.stderr}")
    (wall, cpu), (_, first_cpu) = json.loads(result.stderr)
    return Cold(wall, cpu, first_cpu)


def _row(name: str, cold: Cold, reference: Cold) -> list[str]:
    ready = cold.cpu + cold.first_cpu
    return [
        name,
        ms(cold.wall),
        ms(cold.cpu),
        f"{cold.wall / reference.wall:.2f}",
        f"{cold.cpu / reference.cpu:.2f}",
        ms(cold.first_cpu),
        f"{ready / reference.cpu:.2f}",
    ]
