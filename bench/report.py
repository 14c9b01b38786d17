"""The benchmark's report: tables of figures in Markdown, and the targets that were met or missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.functions import Figures


WIDTH = 118


@dataclass(frozen=True)
class Section:
    """A table with its title, an explanation before it, and further text after it."""

    title: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    after: str = ""

    def lines(self) -> list[str]:
        """Return the section as Markdown. The first column is aligned to the left, the others to the right."""
        widths = [max(len(cell) for cell in column) for column in zip(self.header, *self.rows, strict=True)]
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        table = [_line(cells, widths) for cells in (self.header, rule, *self.rows)]
        return [f"## {self.title}", "", *_filled(self.about), "", *table, "", *_filled(self.after), ""]


@dataclass
class Report:
    """The results of all parts of the benchmark: sections, targets, and the figures that later parts use."""

    sections: list[Section] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    figures: dict[str, Figures] = field(default_factory=dict)

    def add(self, section: Section) -> None:
        self.sections.append(section)

    def lines(self) -> list[str]:
        return [line for section in self.sections for line in section.lines()]


@dataclass(frozen=True)
class Target:
    """A target, the measured figure, and whether the target was met."""

    promise: str
    limit: str
    measured: str
    met: bool

    @classmethod
    def at_most(cls, promise: str, limit: float, measured: float, unit: str = "") -> Target:
        return cls(promise, f"≤ {limit:g}{unit}", f"{measured:.2f}{unit}", measured <= limit)

    @classmethod
    def at_least(cls, promise: str, limit: float, measured: float, unit: str = "") -> Target:
        return cls(promise, f"≥ {limit:g}{unit}", f"{measured:.2f}{unit}", measured >= limit)


def _filled(text: str) -> list[str]:
    """Wrap each paragraph and each list item at ``WIDTH``. Blank lines separate paragraphs."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        for item in paragraph.replace("\n- ", "\n\x00- ").split("\x00"):
            indent = "  " if item.startswith("- ") else ""
            text = " ".join(item.split())
            lines += fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False).splitlines()
        lines.append("")
    return lines[:-1]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"


def number(value: float) -> str:
    """Return a number with one decimal, or with none if the decimal is 0."""
    return f"{value:,.1f}".removesuffix(".0")
