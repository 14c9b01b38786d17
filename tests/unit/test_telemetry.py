"""Metrics are written in CloudWatch's format EMF, with the stack's name. The parameter LogLevel sets the log level."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from typing import Any

from local.paths import LAYER

COUNT_TWICE = "from accounting.telemetry import count, flush; count('A', 2); flush(); count('B'); flush()"


def written(**environ: str) -> list[dict[str, Any]]:
    """Return the metrics that two invocations write in a new process."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT_TWICE],
        env=os.environ | {"PYTHONPATH": str(LAYER), "POWERTOOLS_SERVICE_NAME": "accounting-service"} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_every_invocation_adds_the_stack_to_its_metrics() -> None:
    first, second = written(STACK_NAME="staging")

    for line, metric in ((first, "A"), (second, "B")):
        (described,) = line["_aws"]["CloudWatchMetrics"]
        assert [each["Name"] for each in described["Metrics"]] == [metric]
        assert [sorted(each) for each in described["Dimensions"]] == [["service", "stack"]]
        assert (line["service"], line["stack"]) == ("accounting-service", "staging")


LOG_EVERY_LEVEL = (
    "import logging; from accounting.telemetry import logger;"
    "[logger.log(level, 'ours') for level in (10, 20, 30, 40)];"
    "logging.getLogger('botocore.credentials').info('Found credentials')"
)


def logged(level: str, from_lambda: str) -> list[dict[str, Any]]:
    """Return the lines that a function logs if Lambda has first set up logging at the level ``from_lambda``."""
    runtime = f"import logging; logging.basicConfig(level='{from_lambda}'); "
    run = subprocess.run(
        [sys.executable, "-c", runtime + LOG_EVERY_LEVEL],
        env=os.environ | {"PYTHONPATH": str(LAYER), "LOG_LEVEL": level, "AWS_LAMBDA_LOG_LEVEL": from_lambda},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == "", "Lambda's own logging handler wrote lines, too"
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_the_parameter_log_level_overrides_lambdas_own_log_level() -> None:
    for level, from_lambda, lines in (("DEBUG", "DEBUG", 4), ("INFO", "INFO", 3), ("WARNING", "INFO", 2)):
        assert [line["level"] for line in logged(level, from_lambda)] == ["DEBUG", "INFO", "WARNING", "ERROR"][-lines:]


def test_log_lines_have_timestamps_that_lambda_can_read() -> None:
    for line in logged("INFO", "INFO"):
        assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
        assert "T" in line["timestamp"]
