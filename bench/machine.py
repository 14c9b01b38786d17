"""Describes the machine, the date, and how busy the machine was. Without these, a benchmark's figures mean nothing."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from local.build import build_id


def description(load_before: str) -> list[str]:
    """Return lines that describe the machine, and how busy it was before the benchmark and at its end."""
    emulator = next(
        line.split()[0].replace("==", " ")
        for line in Path("requirements/ministack.txt").read_text().splitlines()
        if line.startswith("ministack==")
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("boto3", "pydantic", "aws-lambda-powertools"))
    busy = f"{load_before} before the benchmark, {load()} at its end"
    warning = f"Above {os.cpu_count()}, the measured times are too long"
    return [
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- Build: {build_id()}, as `python -m local.build` prints it",
        f"- Machine: {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {platform.machine()}",
        f"- Python {platform.python_version()}, {versions}",
        f"- Database: {emulator}, an emulator on the same machine",
        f"- Load average of one minute: {busy}. {warning}",
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
