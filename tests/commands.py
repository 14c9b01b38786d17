"""The commands in the documentation. Tests run these commands, and check that they left none out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS = ("bench", "client", "docs", "events", "examples", "functions", "tests")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
REPORTS = {"CHANGELOG.md", "bench/RESULTS.md", "bench/improved.md"}
"""Pages that report past changes and measurements. Their commands are not run."""
MENTIONED = {
    "sam local",
    "sam deploy",
    "sam build",
    "sam validate --lint",
    "aws sqs delete-message",
    "aws dynamodb update-table --warm-throughput",
}
"""Commands that sentences only mention. They are not run."""

_PROGRAM = r"(?:[A-Z_]+=\S+ +)*(?:make|sam|pip|aws|curl|http|python3|\.venv/bin/python|perl|docker|uv|git) +\S"


def commands(page: Path) -> list[str]:
    """Return the commands of a page, in order: the lines of its plain blocks, and the commands in backticks.

    A plain block is a code block without a language. Lines that a backslash or a here-document joins are one
    command. Comments are left out.
    """
    if page.relative_to(ROOT).as_posix() in REPORTS:
        return []
    return commands_in(page.read_text())


def commands_in(text: str) -> list[str]:
    """Return the commands of a page's text, as `commands` does."""
    found = re.finditer(r"^( *)```(\w*)\n(.*?)^ *```|`([^`\n]+)`", text, re.DOTALL | re.MULTILINE)
    return [command for match in found for command in _commands_of(*match.groups())]


def _commands_of(indent: str | None, language: str | None, block: str | None, span: str | None) -> Iterator[str]:
    if span and re.match(_PROGRAM, span) and span not in MENTIONED:
        yield span
    elif block and not language:
        plain = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
        for command in re.finditer(r"^(?:.*<<(?P<end>\w+)\n(?:.*\n)*?(?P=end)|(?:.*\\\n)*.+)$", plain, re.MULTILINE):
            if without_comment := re.sub(r"(^|\s+)# .*$", "", command[0]):
                yield without_comment


class Documentation:
    """The documentation's commands. It records which of them were requested."""

    def __init__(self) -> None:
        self._commands_by_page = {page.relative_to(ROOT).as_posix(): commands(page) for page in PAGES}
        self._requested: set[str] = set()

    def line(self, command: str) -> str:
        """Return ``command``, and record that it was requested. Raises AssertionError if no page has it."""
        assert any(command in named for named in self._commands_by_page.values()), f"no page has the command {command}"
        self._requested.add(command)
        return command

    def page(self, page: str) -> list[str]:
        """Return all commands of a page, and record that they were requested."""
        return [self.line(command) for command in self._commands_by_page[page]]

    def not_requested(self) -> list[str]:
        """Return the commands that were not requested, each with its page."""
        return [
            f"{page}: {each}"
            for page, named in self._commands_by_page.items()
            for each in named
            if each not in self._requested
        ]
