"""Connects the store and the operations, used in a local program, to the table that `make run` started."""

from __future__ import annotations

import json
import os

from local import account
from local.paths import STACK_JSON
from local.steps import Refused


def attach(advice: str) -> dict[str, str]:
    """Make the store use the table and the credentials of the local AWS; return the stack's addresses and secrets.

    Raises Refused, with the `advice`, if the service is not running.
    """
    try:
        stack: dict[str, str] = json.loads(STACK_JSON.read_text())
    except FileNotFoundError as exc:
        raise Refused(f"the service is not running: {advice}") from exc
    account.forget_account()
    os.environ |= {
        "TABLE_NAME": stack["tableName"],
        "AWS_ENDPOINT_URL": stack["endpointUrl"],
        "AWS_DEFAULT_REGION": account.REGION,
        "AWS_ACCESS_KEY_ID": account.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": account.SECRET_KEY,
    }
    return stack
