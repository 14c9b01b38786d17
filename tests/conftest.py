"""How the tests are shared out where several processes run them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

TOGETHER = ("tests/e2e/", "tests/documentation/")
"""Folders whose tests share something that only one process has: a service, or what was typed."""


class ByFolder(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives each of these folders to one process, and any other test to the one that is free, the largest first.

    pytest-xdist's own groups (`loadgroup`) do nothing with pytest 9.2: pytest-dev/pytest-xdist#1386.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    """Have these scopes."""
    return ByFolder(config, log)
