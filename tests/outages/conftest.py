"""A second deployed service, for tests that break it or mostly wait; they run in parallel with `tests/e2e`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one process, and run the tests that check all others last."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("outages"))
    items.sort(key=lambda item: item.path == FOLDER / "test_contract.py")
