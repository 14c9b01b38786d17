"""`make run` takes the template's parameters from the environment, and refuses invalid values."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from local import parameters
from local.steps import Refused
from local.template import template


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return a copy of the template, which a test can change and `make run` reads."""
    own = copy.deepcopy(template())
    monkeypatch.setattr(parameters, "template", lambda: own)
    return own


def test_without_variables_all_parameters_but_four_get_their_defaults() -> None:
    found = parameters.from_environment({"SESSION_TIMEOUT_MINUTES": ""})

    assert set(template()["Parameters"]) - set(found) == {
        "Architecture",
        "BuildId",
        "GradualDeployment",
        "IssuersSecretArn",
    }
    assert found == {name: str(template()["Parameters"][name]["Default"]) for name in found}


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("SESSION_TIMEOUT_MINUTES", "SessionTimeoutMinutes", "1"),
        ("REQUIRE_SERVICE_KEY", "RequireServiceKey", "true"),
        ("USAGE_RECORD_DEDUCTS", "UsageRecordDeducts", "true"),
        ("REFUND_GRACE_HOURS", "RefundGraceHours", "720"),
        ("CORS_ALLOW_ORIGIN", "CorsAllowOrigin", "http://localhost:3000"),
        ("STAGE_NAME", "StageName", "v2"),
        ("LOG_LEVEL", "LogLevel", "DEBUG"),
        ("USAGE_RETENTION_DAYS", "UsageRetentionDays", "3650"),
    ],
)
def test_a_variable_sets_its_parameter(name: str, parameter: str, value: str) -> None:
    assert parameters.from_environment({name: value})[parameter] == value


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("SESSION_TIMEOUT_MINUTES", "0", "a whole number from 1 to 1440"),
        ("SESSION_TIMEOUT_MINUTES", "1441", "a whole number from 1 to 1440"),
        ("SESSION_TIMEOUT_MINUTES", "1.5", "a whole number from 1 to 1440"),
        ("SESSION_TIMEOUT_MINUTES", "-1", "a whole number from 1 to 1440"),
        ("SESSION_TIMEOUT_MINUTES", "١", "a whole number from 1 to 1440"),
        ("SESSION_TIMEOUT_MINUTES", "9" * 5000, "a whole number from 1 to 1440"),
        ("REQUIRE_SERVICE_KEY", "yes", "true or false"),
        ("REQUIRE_SERVICE_KEY", "True", "true or false"),
        ("CORS_ALLOW_ORIGIN", "localhost:3000", "an origin, * or nothing"),
        ("LOG_LEVEL", "debug", "DEBUG or INFO or WARNING or ERROR"),
        ("THROTTLING_RATE_LIMIT", "0", "a whole number of 1 or more"),
    ],
)
def test_the_refusal_of_an_invalid_value_describes_the_allowed_values(name: str, value: str, allowed: str) -> None:
    with pytest.raises(Refused) as refused:
        parameters.from_environment({name: value})

    assert str(refused.value) == f"{name} must be {allowed}, not {value}"


def test_a_new_parameter_can_be_set_without_further_code(changed: dict[str, Any]) -> None:
    made = {
        "HoldBufferWhenNew": {"Type": "String", "Default": "refuse", "AllowedValues": ["refuse", "reduce"]},
        "NewHours": {"Type": "Number", "Default": 24, "MinValue": 1},
        "NewName": {
            "Type": "String",
            "Default": "a",
            "AllowedPattern": "^[a-z]$",
            "ConstraintDescription": "one letter",
        },
    }
    changed["Parameters"] |= made

    environment = {"HOLD_BUFFER_WHEN_NEW": "reduce", "NEW_HOURS": "48", "NEW_NAME": "b"}
    assert set(environment.values()) <= set(parameters.from_environment(environment).values())
    for name, allowed in (
        ("HOLD_BUFFER_WHEN_NEW", "refuse or reduce"),
        ("NEW_HOURS", "a whole number of 1 or more"),
        ("NEW_NAME", "one letter"),
    ):
        with pytest.raises(Refused, match=f"{name} must be {allowed}, not 0"):
            parameters.from_environment({name: "0"})
