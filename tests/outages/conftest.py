"""A second deployed service, for tests that break it, mostly wait, or leave much data.

They run in parallel with `tests/e2e`.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]

FOLDER = "tests/outages/"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one process, and run the tests that check all others last."""
    for item in items:
        if item.nodeid.startswith(FOLDER):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("outages"))
    items.sort(key=lambda item: item.nodeid.startswith(f"{FOLDER}test_contract.py"))
