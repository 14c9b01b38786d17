"""The generated pages of docs/reference match the code and are complete."""

from __future__ import annotations

import re
from functools import cache

import pytest

from local.openapi_texts import CODES
from local.paths import REFERENCE
from local.reference import pages
from local.reference_texts import METRICS
from tests.api import CONTRACT, DOCS, INTERNAL, PUBLIC, plain
from tests.contract.test_template import counted
from tests.template import template

made = cache(pages)
BY_HAND = {"requests.md", "users.md"}


def first_cells(page: str) -> list[str]:
    """Return the names in the first column of a page's tables."""
    return re.findall(r"^\| (?:\d+ \| )?`([^`]+)` \|", made()[page], re.MULTILINE)


@pytest.mark.parametrize("page", ["routes.md", "errors.md", "parameters.md", "metrics.md"])
def test_a_page_matches_the_code(page: str) -> None:
    assert (REFERENCE / page).read_text(encoding="utf-8") == made()[page], "stale: run `make reference`"


def test_each_page_in_the_folder_is_generated_or_listed_as_written_by_hand() -> None:
    assert {path.name for path in REFERENCE.iterdir()} == {*made(), *BY_HAND}


def test_every_route_has_a_row() -> None:
    named = [tuple(cell.split()) for cell in first_cells("routes.md") if " " in cell]

    assert {(method, plain(path)) for method, path in named} == {*CONTRACT, *PUBLIC, *INTERNAL, *DOCS}
    assert len(named) == len(set(named))


def test_every_error_has_a_row_with_its_meaning() -> None:
    explained = re.findall(r"^\| \d+ \| `(\w+)` \| \S.*?\. \|", made()["errors.md"], re.MULTILINE)

    assert sorted(explained) == sorted(CODES)


def test_every_parameter_has_a_row() -> None:
    assert sorted(first_cells("parameters.md")) == sorted(template()["Parameters"])


def test_every_metric_has_a_row_and_there_are_no_other_rows() -> None:
    assert set(METRICS) == counted()
    assert first_cells("metrics.md") == list(METRICS)
