"""Runs the parts of the benchmark that the environment variable `ONLY` names. By default, it runs all parts.

If all parts are measured with `SCALE=1`, the page of results is written to bench/RESULTS.md. The page shows which
targets are missed. A missed target does not change the exit status.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import (
    callers,
    cost,
    database,
    growth,
    hot_user,
    imports,
    machine,
    packages,
    per_request,
    profiles,
    targets,
    wire,
)
from bench.report import Report
from bench.scale import scale
from local import end_quietly_on_interrupt
from local.account import forget_account
from local.paths import ROOT
from local.steps import Refused, explain, step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.database import Database

RESULTS = ROOT / "bench/RESULTS.md"
IMPROVED = ROOT / "bench/improved.md"
"""The end of the results page: figures from before and after improvements.

It is written by hand, because a run measures only the current code.
"""
PARTS: dict[str, Callable[[Report, Database], None]] = {
    "requests": per_request.run,
    "wire": wire.run,
    "imports": imports.run,
    "packages": packages.run,
    "records": growth.records,
    "lots": growth.lots,
    "sessions": growth.sessions,
    "hot-user": hot_user.run,
    "callers": callers.run,
    "cost": cost.run,
    "profile": profiles.run,
}
HOW = "[README.md](README.md) says how to measure, and how to read the figures."
SCALED = "**Measured at a scale of {}: the figures mean nothing and show only that the benchmark works.**"


def main() -> int:
    """Run the selected parts; return the exit status."""
    forget_account()
    try:
        names = _selected()
        page = _measured(names)
    except Refused as refused:
        return explain(refused)
    print(f"\n{page}")
    if names == [*PARTS] and scale() == 1:
        RESULTS.write_text(f"{page}\n{IMPROVED.read_text()}")
    return 0


def _selected() -> list[str]:
    """Return the names of the selected parts, in the order of ``PARTS``."""
    only = os.environ.get("ONLY", "").split()
    if unknown := set(only) - PARTS.keys():
        raise Refused(f"no part is called {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    return [name for name in PARTS if not only or name in only]


def _measured(names: Sequence[str]) -> str:
    """Run these parts; return the page with their results."""
    warning = [] if scale() == 1 else [SCALED.format(f"{scale():g}"), ""]
    report, before = Report(), machine.load()
    with tempfile.TemporaryDirectory(prefix="accounting-bench-") as scratch, database.start(Path(scratch)) as running:
        for name in names:
            with step(name):
                PARTS[name](report, running)
    about = [HOW, "", *warning, *machine.description(before)]
    return "\n".join(["# What was measured", "", *about, "", *targets.lines(report), *report.lines()])


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
