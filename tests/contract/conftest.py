"""Runs the tests of this folder in one process, so that they make the template and the OpenAPI document only once."""

from __future__ import annotations

import pytest

FOLDER = "tests/contract/"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(FOLDER):
            item.add_marker(pytest.mark.xdist_group("contract"))
