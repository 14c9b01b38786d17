"""A deployed service for the page that the tests open in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests that share the service and the browser in one process."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("browser"))
