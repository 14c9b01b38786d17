"""All tests ignore this machine's AWS account. Hypothesis tries few examples, except in ``make test-slow``."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from local.account import forget_account

IN_ONE_PROCESS = ("browser", "contract", "documentation", "e2e", "fuzz", "gateways", "outages")
"""Each folder's tests run in one process, because they share something slow to make, such as a deployed service."""
SLOW = ("fuzz", "outages")
"""Folders in which all tests are slow."""


def pytest_configure() -> None:
    """Prepare the process before any test is imported.

    Examples have no deadline, because hypothesis's default of 200 ms is too short for slow machines. Garbage collection
    is off during the imports, because it took a third of their time although they leave no garbage.
    """
    forget_account()
    settings.register_profile("quick", deadline=None, max_examples=20)
    settings.register_profile("thorough", deadline=None, max_examples=100)
    settings.load_profile("quick")  # the option --hypothesis-profile overrides it, because it is read later
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt everything imported so far from garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups and pytest reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Apply ``IN_ONE_PROCESS`` and ``SLOW``."""
    for item in items:
        top, folder, *_ = item.nodeid.split("/")
        if top == "tests" and folder in IN_ONE_PROCESS:
            item.add_marker(pytest.mark.xdist_group(folder))
        if top == "tests" and folder in SLOW:
            item.add_marker(pytest.mark.slow)
