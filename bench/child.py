"""Runs measurements in separate processes, so that they do not disturb each other."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import batched
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.scale import scaled
from local.paths import LAYER, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.database import Database


def run(module: str, requests: Sequence[dict[str, Any]], database: Database) -> list[Any]:
    """Send the requests to processes that run ``module``, and return the answers. ``module`` must call ``serve``.

    Each request gets a new process. But if ``SCALE`` is below 1, several requests share a process, because the start
    of a process takes longer than a small measurement.
    """
    shares = batched(requests, ceil(len(requests) / scaled(len(requests))), strict=False)
    return [answer for share in shares for answer in _answers(module, share, database)]


def _answers(module: str, requests: Sequence[dict[str, Any]], database: Database) -> Any:
    """Return the answers of one process. Its logs and metrics go to a file."""
    answer, log = database.scratch / "answer.json", database.scratch / "output.log"
    environ = database.environ() | {"PYTHONPATH": f"{ROOT}:{LAYER}"}
    command = [sys.executable, "-m", module, str(answer)]
    with log.open("w") as output:
        subprocess.run(command, cwd=ROOT, env=environ, input=json.dumps(requests), text=True, stdout=output, check=True)
    return json.loads(answer.read_text())


def serve(measure: Callable[[dict[str, Any]], Any]) -> None:
    """Answer the requests that this process was started with, one after another."""
    Path(sys.argv[1]).write_text(json.dumps([measure(request) for request in json.load(sys.stdin)]))
