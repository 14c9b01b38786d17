"""All tests ignore this machine's AWS account, and hypothesis sets no deadline for an example."""

from __future__ import annotations

import gc

from hypothesis import settings

from local.account import forget_account


def pytest_configure() -> None:
    """Prepare the process before any test is imported.

    By default, hypothesis allows an example only 200 ms, and a slow machine needs more. The imports leave
    no garbage, but garbage collection took a third of their time. So garbage collection is off during the imports.
    """
    forget_account()
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    gc.disable()


def pytest_collection_finish() -> None:
    """Exempt everything imported so far from garbage collection."""
    gc.freeze()
    gc.enable()
