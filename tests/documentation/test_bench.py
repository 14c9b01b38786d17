"""bench/README.md's commands at a scale of 0.01, and the simulation in docs/scale.md.

Exact results, such as DynamoDB's write units, must be the same in a quick run as in bench/RESULTS.md. If they are not,
bench/RESULTS.md comes from an older service or an older benchmark: `make bench` updates that page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bench.scale import growing, scale, scaled
from local.paths import ROOT
from local.steps import Refused

if TYPE_CHECKING:
    from tests.commands import Documentation
    from tests.documentation.project import Project

SCALE = "0.01"
RESULTS = "bench/RESULTS.md"
WARNING = f"**Measured at a scale of {SCALE}: the figures mean nothing"

type Tables = dict[str, list[list[str]]]
"""Title of a section → the rows of its table, without the header."""


def tables(page: str) -> Tables:
    sections = re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.MULTILINE)
    return {title: rows(text) for title, text in sections}


def rows(section: str) -> list[list[str]]:
    """Return the cells of each row. A blank first cell repeats the value above it, and is filled in here."""
    found: list[list[str]] = []
    for line in re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[2:]:
        first, *others = (cell.strip() for cell in line.split(" | "))
        found.append([first or found[-1][0], *others])
    return found


@pytest.fixture(scope="module")
def page(project: Project, documentation: Documentation) -> str:
    """Return the results page that `make bench` prints for all parts."""
    return project.type(documentation.line("make bench"), SCALE=SCALE)


@pytest.fixture(scope="module")
def measured(page: str) -> Tables:
    return tables(page)


@pytest.fixture(scope="module")
def results() -> Tables:
    return tables((ROOT / RESULTS).read_text())


def test_a_quick_run_prints_a_warning_and_does_not_change_the_results_page(page: str, project: Project) -> None:
    assert WARNING in page
    assert (project.folder / RESULTS).read_bytes() == (ROOT / RESULTS).read_bytes()


def test_a_run_prints_all_sections_of_the_results(measured: Tables, results: Tables) -> None:
    assert [*measured, "What was improved"] == [*results]


@pytest.mark.parametrize(
    "section",
    [
        "A request of each operation",
        "Cold starts",
        "Packages",
        "Statistics by records",
        "A user's lots",
        "A user's past",
        "One hot user",
        "Calls of an SDK",
        "A million sessions",
        "Where the time goes",
    ],
)
def test_every_section_has_the_rows_of_the_results(measured: Tables, results: Tables, section: str) -> None:
    """The rows are compared in any order, because the order of the rows in "Where the time goes" may vary."""
    if section == "Statistics by records":  # its rows are named after the sizes, which are scaled
        assert [row[0] for row in measured[section]] == ["10", "100", "1,000"]
    else:
        assert sorted(row[0] for row in measured[section]) == sorted(row[0] for row in results[section])


def test_every_target_has_a_verdict(measured: Tables, results: Tables) -> None:
    assert len(measured["Targets"]) == len(results["Targets"])
    assert {verdict for *_, verdict in measured["Targets"]} <= {"pass", "**MISSED**"}


def test_round_trips_and_units_match_the_results(measured: Tables, results: Tables) -> None:
    section = "A request of each operation"

    assert [row[:4] for row in measured[section]] == [row[:4] for row in results[section]]


def test_round_trips_and_write_units_do_not_depend_on_a_users_past(measured: Tables, results: Tables) -> None:
    found, expected = ([[row[0], *row[2:4]] for row in each["A user's past"]] for each in (measured, results))

    assert found == expected


def test_the_numbers_for_a_million_sessions_match_the_results(measured: Tables, results: Tables) -> None:
    """Only the numbers that do not depend on time are compared."""
    exact = ["DynamoDB writes", "DynamoDB reads", "API Gateway requests", "Lambda requests"]
    found, expected = ([row for row in each["A million sessions"] if row[0] in exact] for each in (measured, results))

    assert len(found) == len(exact)
    assert found == expected


def test_the_hot_users_wallet_adds_up(measured: Tables) -> None:
    for workers, successes, *_, wallet in measured["One hot user"]:
        assert int(successes) > 0, workers
        assert wallet == "right", workers


def test_each_operations_shares_of_time_add_up(measured: Tables) -> None:
    shares = [[int(cell.removesuffix(" %")) for cell in row[1:]] for row in measured["Where the time goes"]]

    for operation in zip(*shares, strict=True):
        assert sum(operation) == pytest.approx(100, abs=len(operation) // 2)


def test_single_parts_can_be_measured(project: Project, documentation: Documentation) -> None:
    output = project.type(documentation.line('make bench ONLY="imports packages"'), SCALE=SCALE)

    assert [*tables(output)] == ["Targets", "Cold starts", "Packages"]


def test_the_command_with_a_scale_works(project: Project, documentation: Documentation) -> None:
    """One part is enough, because the tests above run all parts at this scale."""
    output = project.type(documentation.line("make bench SCALE=0.01"), ONLY="packages")

    assert WARNING in output
    assert [*tables(output)] == ["Targets", "Packages"]


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [("SCALE", "1%", "SCALE must be a number above 0 and at most 1, not 1%"), ("ONLY", "lot", "no part is called lot")],
)
def test_make_bench_refuses_an_unknown_part_or_an_invalid_scale(
    project: Project, variable: str, value: str, why: str
) -> None:
    assert f"error: {why}" in project.type("make bench", status=2, **{variable: value})


@pytest.mark.parametrize("value", ["0", "-0.1", "1.01", "nan", "inf", "0,5", "half"])
def test_an_invalid_scale_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SCALE", value)

    with pytest.raises(Refused, match=f"not {value}$"):
        scale()


@pytest.mark.parametrize("value", ["", "1"])
def test_everything_is_measured_in_full_at_scale_1_or_without_a_scale(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SCALE", value)

    assert [scaled(count, least=2) for count in (0, 1, 2, 9, 350)] == [0, 1, 2, 9, 350]
    assert growing((0, 1_000, 10_000)) == [0, 1_000, 10_000]


def test_scaled_counts_do_not_fall_below_least_and_scaled_sizes_still_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE", SCALE)

    assert [scaled(count, least=2) for count in (0, 1, 9, 350, 1_000)] == [0, 1, 2, 4, 10]
    assert growing((1, 50, 200)) == [1, 2, 3]
    assert growing((0, 1_000, 10_000)) == [0, 10, 100]


def test_the_table_in_docs_scale_matches_the_simulation(project: Project, documentation: Documentation) -> None:
    output = project.type(documentation.line("PYTHONPATH=layers/shared .venv/bin/python -m bench.queueing"))

    table = output[output.index("| commands sent") :]
    assert table.count("\n") == 11
    assert f"\n\n{table}\n" in (project.folder / "docs/scale.md").read_text()
