"""Keeps local programs away from the AWS account that this machine is set up for: they use the local AWS only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCESS_KEY = SECRET_KEY = "test"  # noqa: S105 - not a secret

ACCOUNT_PREFIXES = ("AWS_", "SAM_")
"""The prefixes of the environment variables that select an AWS account and its endpoints."""
NO_PROFILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
"""Variables that keep a process from reading this machine's AWS profiles."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
"""Environment variables for proxies. Each name can also be in upper case.

If both spellings are set, the value of the lower-case name is used.
"""


def without_account(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without this machine's AWS account."""
    return {name: value for name, value in environ.items() if not name.startswith(ACCOUNT_PREFIXES)} | NO_PROFILES


def forget_account() -> None:
    """Remove this machine's AWS account from this process's environment, and exempt the local AWS from proxies."""
    kept = without_account(os.environ)
    unproxied = kept.get("no_proxy") or kept.get("NO_PROXY")
    kept["no_proxy"] = ",".join(filter(None, [unproxied, HOST]))
    os.environ.clear()
    os.environ.update(kept)


def without_proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for a process that talks to this machine only."""
    return {name: value for name, value in environ.items() if name.lower() not in PROXIES}
