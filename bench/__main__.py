"""Measures what `ONLY` names, or everything; then it also writes bench/RESULTS.md.

It exits 0 whatever the figures are: a missed target is reported, it is not an error.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import cost, database, growth, hot_user, imports, machine, packages, per_request, profiles, targets
from bench.report import Report
from local.paths import ROOT
from local.steps import Refused, explain, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.database import Database

RESULTS = ROOT / "bench/RESULTS.md"
IMPROVED = ROOT / "bench/improved.md"
"""What no single run shows: figures of before, beside those of after."""
PARTS: dict[str, Callable[[Report, Database], None]] = {
    "requests": per_request.run,
    "imports": imports.run,
    "packages": packages.run,
    "records": growth.records,
    "lots": growth.lots,
    "sessions": growth.sessions,
    "hot-user": hot_user.run,
    "cost": cost.run,
    "profile": profiles.run,
}


def main() -> int:
    """Run the parts that are asked for; return the exit status."""
    only = os.environ.get("ONLY", "").split()
    if unknown := set(only) - PARTS.keys():
        return explain(Refused(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}"))
    report, begun, before = Report(), time.monotonic(), machine.load()
    with tempfile.TemporaryDirectory(prefix="accounting-bench-") as scratch, database.start(Path(scratch)) as running:
        for name, part in PARTS.items():
            if not only or name in only:
                with step(name):
                    part(report, running)
    about = machine.description(before, time.monotonic() - begun)
    page = "\n".join(["# What was measured", "", *about, "", *targets.lines(report), *report.lines()])
    print(f"\n{page}")
    if not only:
        RESULTS.write_text(f"{page}\n{IMPROVED.read_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
