"""``make simulate``: simulates random requests and faults, with one seed after another.

It stops at the first broken promise, which is a property of the service that must always hold.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter

from local import end_quietly_on_interrupt
from local.account import forget_account
from tests.simulation.simulation import STEPS, RunCounts, Simulation, Violation

PROGRESS_SEEDS = 100


def main() -> int:
    """Run as many seeds as SEEDS says, beginning with FIRST; return 1 if a promise was broken.

    Only the first STEPS calls of each run can have faults. To show that the simulation finds mistakes, SABOTAGE names
    an entry of ``SABOTAGES``, which removes conditions from the service's writes.
    """
    forget_account()
    first, seeds = int(os.environ.get("FIRST") or 1), int(os.environ.get("SEEDS") or 100)
    steps, sabotage = int(os.environ.get("STEPS") or STEPS), os.environ.get("SABOTAGE") or None
    totals, began = RunCounts(), time.monotonic()
    for number, seed in enumerate(range(first, first + seeds), 1):
        try:
            totals.add(Simulation(seed, steps).run(sabotage))
        except Violation as violation:
            print_lines(*violation.last_calls)
            print_lines(f"after {number} seeds, {time.monotonic() - began:.0f} s: {violation}")
            print_lines(
                f"make simulate FIRST={seed} SEEDS=1 STEPS={steps}" + (f" SABOTAGE={sabotage}" if sabotage else "")
            )
            return 1
        if number % PROGRESS_SEEDS == 0:
            print_lines(f"{number} seeds, {totals.calls} calls, {time.monotonic() - began:.0f} s")
    print_lines(f"{seeds} seeds passed: {totals.calls} calls in {time.monotonic() - began:.0f} s")
    for title, counts in (
        ("faults", totals.faults),
        ("answers", totals.outcomes),
        ("background", totals.background),
    ):
        print_lines(f"{title}:", *table(counts))
    return 0


def table(counts: Counter[str]) -> list[str]:
    return [f"  {count:8d}  {name}" for name, count in sorted(counts.items())]


def print_lines(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
