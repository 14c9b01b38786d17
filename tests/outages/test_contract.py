"""Runs after the other tests of this folder, and checks which errors the service answered in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_contract import ONLY_OF_FAILURES, undocumented
from tests.lookback import skip_unless_the_whole_folder_ran

if TYPE_CHECKING:
    from tests.e2e.conftest import Answers


@pytest.fixture(scope="module", autouse=True)
def _after_all_others(request: pytest.FixtureRequest) -> None:
    skip_unless_the_whole_folder_ran(request)


def test_the_tests_provoked_every_error_that_only_a_failure_causes(answers: Answers) -> None:
    assert ONLY_OF_FAILURES - {(status, code) for _, _, status, code in answers} == set()


def test_the_openapi_document_lists_every_code_that_a_route_answered(answers: Answers) -> None:
    assert undocumented(answers) == set()
