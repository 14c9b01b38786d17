"""Changes the deployed service for the duration of a ``with`` block."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack

PATIENCE_SECONDS = 30


@contextmanager
def without_permissions(service: Stack, function: str) -> Iterator[None]:
    """Remove every permission that the template grants to a function."""
    iam = service.aws.client("iam")
    configuration = service.aws.client("lambda").get_function_configuration(FunctionName=_name(service, function))
    role = configuration["Role"].rpartition("/")[2]
    policies = {
        policy: iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }
    for policy in policies:
        iam.delete_role_policy(RoleName=role, PolicyName=policy)
    try:
        yield
    finally:
        for policy, document in policies.items():
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


@contextmanager
def with_environment(service: Stack, function: str, **variables: str) -> Iterator[None]:
    """Publish a version of a function with added or changed variables, and let the gateway call that version."""
    functions, name = service.aws.client("lambda"), _name(service, function)
    before = functions.get_function_configuration(FunctionName=name)["Environment"]
    live = functions.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": {**before["Variables"], **variables}}
    )
    _wait_until_updated(functions, name)
    changed = functions.publish_version(FunctionName=name)["Version"]
    _wait_until_updated(functions, f"{name}:{changed}")
    functions.update_alias(FunctionName=name, Name="live", FunctionVersion=changed)
    try:
        yield
    finally:
        functions.update_alias(FunctionName=name, Name="live", FunctionVersion=live)
        functions.update_function_configuration(FunctionName=name, Environment=before)


def _wait_until_updated(functions: Any, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = functions.get_function_configuration(FunctionName=name)
        if found["State"] == "Active" and found.get("LastUpdateStatus", "Successful") == "Successful":
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def _name(service: Stack, function: str) -> str:
    return f"{service.stack_name}-{function}"
