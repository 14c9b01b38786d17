"""For all tests: no AWS account of this machine's, and no test that fails because the machine is slow."""

from __future__ import annotations

import gc

from hypothesis import settings

from local.account import leave_account


def pytest_configure() -> None:
    """Do it before a test is imported: hypothesis has a deadline of 200 ms for each example by default.

    Nothing is garbage while the tests are imported. To look for it there took a third of the time.
    """
    leave_account()
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave out what was imported when looking for garbage."""
    gc.freeze()
    gc.enable()
