"""Runs after the other tests of this folder, and checks that they saw all answers that only failures cause."""

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


def test_every_code_of_a_failure_was_answered_with_the_right_status(answers: Answers) -> None:
    assert ONLY_OF_FAILURES - {(status, code) for _, _, status, code in answers} == set()


def test_no_route_answered_a_code_that_the_document_does_not_list_for_it(answers: Answers) -> None:
    assert undocumented(answers) == set()
