"""The LiteLLM proxy for the tests and an example. It has a separate Python environment, because LiteLLM is large."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from local import bootstrap
from local.account import HOST
from local.paths import LOCAL, ROOT

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = LOCAL / "litellm"
PATIENCE_SECONDS = 30
LOCK = ROOT / "requirements/litellm.txt"


def install() -> None:
    """Make or update the Python environment. Raises Refused if that fails."""
    bootstrap.make_environments({ENVIRONMENT: LOCK})


def command(config: Path, port: int | str) -> list[str]:
    """Return the command that runs the proxy with a configuration."""
    return [str(ENVIRONMENT / "bin/litellm"), "--config", str(config), "--host", HOST, "--port", str(port)]


def run(config: Path, port: int, environ: dict[str, str]) -> int:
    """Run the proxy until it ends; return its exit status. Ctrl-C ends the proxy and raises KeyboardInterrupt."""
    with subprocess.Popen(command(config, port), env=environ) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the terminal also interrupts the proxy, which then ends
            process.wait(PATIENCE_SECONDS)
            raise


def environ(**more: str) -> dict[str, str]:
    """Return environment variables that make the proxy use the client's sources, and load nothing from the network."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "client/src"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # the prices in LiteLLM's package, not the newest from the network
        "LITELLM_TELEMETRY": "False",
        "NO_PROXY": HOST,
        **more,
    }
