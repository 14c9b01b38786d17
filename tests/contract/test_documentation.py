"""What the documentation names is there, and what there is it names."""

import re
from pathlib import Path

import pytest

from local.paths import ROOT
from tests.commands import PAGES
from tests.contract.test_template import counted
from tests.template import template

README = (ROOT / "README.md").read_text()


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def test_the_pages_were_found() -> None:
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text()))
    local = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]

    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = " \n".join(re.findall(r"```.*?```|`[^`]*`", page.read_text(), re.DOTALL))
    named = set(re.findall(r"(?:^|[`\s])make ([a-z]+)\b", code))

    assert named <= targets


def test_the_two_commands_are_the_first_in_the_readme() -> None:
    (first, *_) = re.findall(r"```\n(.*?)```", README, re.DOTALL)

    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]


def test_the_readme_has_every_parameter() -> None:
    section = README[README.index("### Parameters") : README.index("## With sam local")]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", section)) - counted() - {"AccountingService"}

    assert set(template()["Parameters"]) <= named


def test_the_readme_has_every_metric() -> None:
    assert {name for name in counted() if f"`{name}`" not in README} == set()


def test_the_readmes_lines_are_the_clients() -> None:
    """Which tests/e2e/test_client.py runs against the service."""
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    assert lines == re.findall(r"```python\n(.*?)```", (ROOT / "client/README.md").read_text(), re.DOTALL)[0]
