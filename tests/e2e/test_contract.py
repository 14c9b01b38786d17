"""Runs after all other tests of this folder, and checks that they exercised the whole contract over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from accounting.web.api import STATUSES
from local.declarations import codes_of, declared
from tests.api import CONTRACT, plain
from tests.lookback import skip_unless_the_whole_folder_ran

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.e2e.conftest import Answers

CODES = {(status.value, code) for code, status in STATUSES.items()} | {(429, "RATE_LIMITED")}
ONLY_OF_FAILURES = {(500, "INTERNAL_ERROR"), (503, "CONTENTION"), (503, "UNAVAILABLE")}
"""Codes that `tests/outages` provokes and checks."""
ELSEWHERE = {
    (400, "MODEL_UNKNOWN"),  # needs UnknownModels=refuse: tests/integration/test_price_routes.py
    (403, "USER_DISABLED"),  # tests/outages/test_disabled.py
    (409, "USER_ERASED"),  # tests/integration/test_erasing.py
    (409, "TOO_MANY_SERVICE_CREDENTIALS"),  # tests/integration/test_service_credentials.py
    (409, "TOO_MANY_MEMBERS"),  # tests/unit/test_organizations.py
    (409, "TOO_MANY_BUDGETS"),  # tests/integration/test_hard_limits.py
}
"""Codes that tests in other folders provoke."""
LATER = {("POST", "/api/users/{}/erase"): {200}}
"""Statuses that a repeated request gets minutes later. tests/integration/test_erasing.py checks them."""
ROUTES = sorted(CONTRACT, key=lambda route: route[1].count("{}"))
"""The routes, sorted so that the first that matches a path is the one that the gateway takes."""


@pytest.fixture(scope="module", autouse=True)
def _after_all_others(request: pytest.FixtureRequest) -> None:
    skip_unless_the_whole_folder_ran(request)


def test_every_success_status_of_every_route_was_answered(answers: Answers) -> None:
    exercised: dict[tuple[str, str], set[int]] = {route: set() for route in CONTRACT}
    for method, path, status, _ in answers:
        route = _route_of(method, path)
        if route and status < 300:
            exercised[route].add(status)

    assert {route: exercised[route] | LATER.get(route, set()) for route in CONTRACT} == CONTRACT


def test_every_error_code_was_answered_with_its_status(answers: Answers) -> None:
    assert CODES - ONLY_OF_FAILURES - ELSEWHERE - {(status, code) for _, _, status, code in answers} == set()


def test_the_api_document_lists_every_code_that_a_route_answered(answers: Answers) -> None:
    assert undocumented(answers) == set()


def undocumented(answers: Answers) -> set[tuple[tuple[str, str], str]]:
    """Return the routes that answered a code that the API document does not list, each with that code."""
    named = {(method.upper(), plain(path)): codes_of((method, path)) for method, path in declared()}
    found = {(_route_of(method, path), code) for method, path, status, code in answers if (status, code) in CODES}
    return {(route, code) for route, code in found if route and code not in named[route]}


def _route_of(method: str, path: str) -> tuple[str, str] | None:
    matching: Iterable[tuple[str, str]] = (
        route for route in ROUTES if route[0] == method and re.fullmatch(route[1].replace("{}", "[^/]+"), path)
    )
    return next(iter(matching), None)
