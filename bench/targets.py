"""The targets, compared with the measured figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import Section

if TYPE_CHECKING:
    from bench.report import Report

ABOUT = """\
Times depend on the machine and its load. The wire is the service's own client of DynamoDB."""


def lines(report: Report) -> list[str]:
    """Return the targets of the parts that ran, as Markdown. Missed targets are marked."""
    if not report.targets:
        return []
    rows = [
        [target.promise, target.limit, target.measured, "pass" if target.met else "**MISSED**"]
        for target in report.targets
    ]
    return Section("Targets", ABOUT, ["target", "limit", "measured", ""], rows).lines()
