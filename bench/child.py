"""Measurements in a process of their own, so that they do not disturb each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.paths import LAYER, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.database import Database


def run(module: str, request: dict[str, Any], database: Database) -> Any:
    """Run a module of ours that calls ``serve``, and return what it answers to ``request``.

    Its standard output, where functions write logs and metrics, is a file as it is a pipe on Lambda.
    """
    answer, log = database.scratch / "answer.json", database.scratch / "output.log"
    environ = database.environ() | {"PYTHONPATH": f"{ROOT}:{LAYER}"}
    command = [sys.executable, "-m", module, str(answer)]
    with log.open("w") as output:
        subprocess.run(command, cwd=ROOT, env=environ, input=json.dumps(request), text=True, stdout=output, check=True)
    return json.loads(answer.read_text())


def serve(measure: Callable[[dict[str, Any]], Any]) -> None:
    """Answer the request that this process was started with."""
    Path(sys.argv[1]).write_text(json.dumps(measure(json.load(sys.stdin))))
