"""What the functions count is written as EMF, of the stack that counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from local.paths import LAYER

COUNT_TWICE = "from accounting.telemetry import count, flush; count('A', 2); flush(); count('B'); flush()"


def written(**environ: str) -> list[dict[str, Any]]:
    """Return what two invocations of a new process write."""
    said = subprocess.run(
        [sys.executable, "-c", COUNT_TWICE],
        env=os.environ | {"PYTHONPATH": str(LAYER), "POWERTOOLS_SERVICE_NAME": "accounting-service"} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_every_invocation_counts_for_its_stack() -> None:
    first, second = written(STACK_NAME="staging")

    for line, metric in ((first, "A"), (second, "B")):
        (described,) = line["_aws"]["CloudWatchMetrics"]
        assert [each["Name"] for each in described["Metrics"]] == [metric]
        assert [sorted(each) for each in described["Dimensions"]] == [["service", "stack"]]
        assert (line["service"], line["stack"]) == ("accounting-service", "staging")
