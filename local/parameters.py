"""The template's parameters that `make run` takes from the environment: all except SET_BY_STACK.

For example, SESSION_TIMEOUT_MINUTES sets SessionTimeoutMinutes. The template says which values are allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from local.steps import Refused
from local.template import template

if TYPE_CHECKING:
    from collections.abc import Mapping

SET_BY_STACK = {"Architecture", "BuildId", "GradualDeployment", "IssuersSecretArn"}
"""The parameters that `local/stack.py` sets itself.

Architecture is this machine's. BuildId is a hash of the sources and the other parameters. GradualDeployment is off,
because the local AWS has no CodeDeploy. IssuersSecretArn is the ARN of a secret with the content of the
file whose path is in the variable ISSUERS.
"""
MOST_DIGITS = 18


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all parameters except SET_BY_STACK, from the environment or else the template's defaults.

    Raises Refused, with the allowed values, if a value in the environment is not allowed.
    """
    declared = {name: about for name, about in template()["Parameters"].items() if name not in SET_BY_STACK}
    return {name: _value_of(variable(name), about, environ) for name, about in declared.items()}


def variable(parameter: str) -> str:
    """Return the name of the environment variable that sets a parameter."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).upper()


def _value_of(name: str, about: dict[str, Any], environ: Mapping[str, str]) -> str:
    value = environ.get(name) or str(about["Default"])
    accepted, values = _accepts(about, value)
    if not accepted:
        raise Refused(f"{name} must be {values}, not {value}")
    return value


def _accepts(about: dict[str, Any], value: str) -> tuple[bool, str]:
    """Return whether a value is allowed for a parameter, and a description of the allowed values."""
    if "AllowedValues" in about:
        allowed = [str(each) for each in about["AllowedValues"]]
        return value in allowed, " or ".join(allowed)
    if about["Type"] == "Number":
        least, most = about.get("MinValue", 0), about.get("MaxValue")
        numeric = value.isascii() and value.isdecimal() and len(value) <= MOST_DIGITS
        within = numeric and least <= int(value) and (most is None or int(value) <= most)
        return (
            within,
            f"a whole number of {least} or more" if most is None else f"a whole number from {least} to {most}",
        )
    pattern = about.get("AllowedPattern", ".*")
    return bool(re.fullmatch(pattern, value)), about.get("ConstraintDescription", f"a text of the form {pattern}")
