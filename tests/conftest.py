"""All tests ignore this machine's AWS account. Random tests try few examples, unless ``make test-slow`` runs them."""

from __future__ import annotations

import gc

import pytest
from hypothesis import settings

from local.account import forget_account

IN_ONE_PROCESS = ("browser", "contract", "documentation", "e2e", "fuzz", "gateways", "outages")
"""Folders whose tests share what takes long to make, such as a deployed service."""
SLOW = ("fuzz", "outages")
"""Folders in which all tests are slow."""


def pytest_configure() -> None:
    """Prepare the process before any test is imported.

    By default, hypothesis allows an example only 200 ms, and a slow machine needs more. The imports leave
    no garbage, but garbage collection took a third of their time. So garbage collection is off during the imports.
    """
    forget_account()
    settings.register_profile("quick", deadline=None, max_examples=20)
    settings.register_profile("thorough", deadline=None, max_examples=100)
    settings.load_profile("quick")  # before hypothesis loads the profile of its option --hypothesis-profile
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt everything imported so far from garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, and pytest the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Apply ``IN_ONE_PROCESS`` and ``SLOW``."""
    for item in items:
        top, folder, *_ = item.nodeid.split("/")
        if top == "tests" and folder in IN_ONE_PROCESS:
            item.add_marker(pytest.mark.xdist_group(folder))
        if top == "tests" and folder in SLOW:
            item.add_marker(pytest.mark.slow)
