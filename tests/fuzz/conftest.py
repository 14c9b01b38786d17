"""The fuzz tests deploy a service of their own, because generated requests leave much data in it."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep these tests in one process, which deploys their service."""
    for item in items:
        if item.nodeid.startswith("tests/fuzz/"):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.xdist_group("fuzz"))
