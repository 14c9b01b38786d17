"""The documentation's links and make targets exist, and its figures and examples match their sources."""

import re
from pathlib import Path

import pytest

from local.paths import ROOT
from tests.commands import PAGES, commands_in
from tests.contract.test_template import SNAPSHOTS, counted
from tests.template import resources

README = (ROOT / "README.md").read_text()


def test_a_comment_is_not_taken_for_a_command() -> None:
    page = "```\n# First, look\nls -l  # a comment\ncat <<END\n# a heading\nEND\n```\n```python\nprint(1)\n```\n"

    assert commands_in(page) == ["ls -l", "cat <<END\n# a heading\nEND"]


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_are_found() -> None:
    assert ROOT / "README.md" in PAGES
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_an_existing_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_code(page.read_text()))
    local = [link for link in links if not link.startswith(("http:", "https:", "mailto:"))]

    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_heading_names_an_existing_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", without_code(page.read_text()))

    assert [link for link in links if link[1] not in anchors((page.parent / link[0]) if link[0] else page)] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_a_title_and_a_sentence(page: Path) -> None:
    (title, purpose, *_) = re.sub(r"<!--.*?-->\n\n", "", page.read_text()).split("\n\n")

    assert title.startswith("# ")
    assert re.match(r"[A-Z*].*[.:]", purpose, re.DOTALL), purpose


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = " \n".join(re.findall(r"```.*?```|`[^`]*`", page.read_text(), re.DOTALL))
    named = set(re.findall(r"(?:^|[`\s])make ([a-z-]+)\b", code))

    assert named <= targets


def test_the_readme_is_short() -> None:
    assert len(re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE).split()) <= 1200


def test_make_run_and_make_test_are_the_first_commands_in_the_readme() -> None:
    (first, *_) = re.findall(r"```\n(.*?)```", README, re.DOTALL)

    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["make run", "make test"]


def test_the_bill_without_requests_matches_the_template() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    bill = page[page.index("## What it costs without") : page.index("## Deploying a new version")]
    alarms = [each["Properties"] for each in resources("AWS::CloudWatch::Alarm").values()]
    assert all("Metrics" not in each and each["Period"] >= 60 for each in alarms)
    snapshots = len(SNAPSHOTS)
    secrets, dashboards = (
        len(resources(f"AWS::{kind}")) for kind in ("SecretsManager::Secret", "CloudWatch::Dashboard")
    )
    seconds, snapshot_usd = 30 * 86_400, 0.5 * 0.0000015046
    lines = {
        f"{snapshots} functions × 0.5 GB × {seconds:,} s × 0.0000015046": snapshots * seconds * snapshot_usd,
        f"{len(alarms)} × 0.10": len(alarms) * 0.10,
        f"{dashboards} × 3.00": dashboards * 3.0,
        f"{secrets} × 0.40": secrets * 0.40,
        "**total**": 11.05,
    }

    for line, usd in lines.items():
        assert re.search(rf"^\|.*{re.escape(line)}.*\| \**{usd:.2f}\** \|$", bill, re.MULTILINE), line
    assert sum(lines.values()) == pytest.approx(2 * 11.05, abs=0.01)  # `lines` has the parts and also their total
    assert f"(all {len(counted())} metrics, each written in every hour: {len(counted()) * 0.30:.2f})" in bill


def test_the_readme_states_the_measured_bill() -> None:
    bills = re.findall(r"^\| \*\*total\*\* .*?\*\*([\d.]+)\*\*", (ROOT / "bench/RESULTS.md").read_text(), re.MULTILINE)
    sessions, month = (round(float(usd)) for usd in bills)

    assert f"A million sessions, each with three heartbeats, cost about {sessions} USD" in " ".join(README.split())
    assert f"the service costs about {month} USD a month" in " ".join(README.split())


def test_the_stream_example_is_also_in_the_readme_of_the_client() -> None:
    """tests/e2e/test_client.py runs this code against the service."""
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/account-a-stream.md").read_text(), re.DOTALL)

    assert lines in re.findall(r"```python\n(.*?)```", (ROOT / "client/README.md").read_text(), re.DOTALL)
