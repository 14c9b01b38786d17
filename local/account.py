"""The AWS account that is used here: that of the local AWS, and never this machine's. Standard library only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCESS_KEY = SECRET_KEY = "test"  # noqa: S105 - the local AWS takes any

OF_THE_ACCOUNT = ("AWS_", "SAM_")
"""How the variables begin that say whose account it is, where it answers and how it is asked."""
NO_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
"""For a process that would read the account's profiles without being told to."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""Variables of either case; where there are both, those in small letters count."""


def without_account(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without this machine's AWS account."""
    return {name: value for name, value in environ.items() if not name.startswith(OF_THE_ACCOUNT)} | NO_FILES


def leave_account() -> None:
    """Take this machine's AWS account out of this process' own environment, and reach the local AWS without proxies."""
    kept = without_account(os.environ)
    elsewhere = kept.get("no_proxy") or kept.get("NO_PROXY")
    kept["no_proxy"] = ",".join(filter(None, [elsewhere, HOST]))
    os.environ.clear()
    os.environ.update(kept)


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that talks to this machine only."""
    return {name: value for name, value in environ.items() if name.lower() not in PROXIES}
