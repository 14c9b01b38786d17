"""For all tests: no AWS account of this machine's, neither its credentials nor a profile that there is not."""

from __future__ import annotations

from local.account import leave_account


def pytest_configure() -> None:
    """Do it before a test is imported."""
    leave_account()
