"""Which machine, when, and how busy it was with other things: what figures mean nothing without."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def description() -> list[str]:
    """Return lines that say on what the figures were measured."""
    emulator = next(
        line.split()[0].replace("==", " ")
        for line in Path("requirements/ministack.txt").read_text().splitlines()
        if line.startswith("ministack==")
    )
    return [
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- Machine: {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {platform.machine()}",
        f"- Python {platform.python_version()}, boto3 {version('boto3')}, pydantic {version('pydantic')},"
        f" Powertools {version('aws-lambda-powertools')}",
        f"- Database, and the source of the write units: {emulator}, an emulator, on the same machine. Its latency"
        " says nothing about AWS",
    ]


def load() -> str:
    """Return how many processes wanted a core in the last minute, on average."""
    return f"{os.getloadavg()[0]:.1f}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
