"""The targets, compared with the measured figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import Section

if TYPE_CHECKING:
    from bench.report import Report

ABOUT = """\
The targets of the service. Times were measured on this machine, at the load stated above."""


def lines(report: Report) -> list[str]:
    """Return the targets of the parts that ran, as Markdown. Missed targets are marked, and named below the table."""
    if not report.targets:
        return []
    rows = [
        [target.promise, target.limit, target.measured, "pass" if target.met else "**MISSED**"]
        for target in report.targets
    ]
    missed = [target.promise for target in report.targets if not target.met]
    after = "\n".join(["Missed:", "", *(f"- {promise}" for promise in missed)]) if missed else "None of them is missed."
    return Section("Targets", ABOUT, ["target", "limit", "measured", ""], rows, after).lines()
