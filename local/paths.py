"""Paths of files and folders."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
LAYER = ROOT / "layers/shared"
FUNCTIONS = ROOT / "functions"
DOCUMENT = FUNCTIONS / "docs/openapi.json"
REFERENCE = ROOT / "docs/reference"
BIN = ROOT / ".venv/bin"

# A folder for generated files and installed programs. It contains no source code of the project.
LOCAL = ROOT / ".local"
BUILDS = LOCAL / "builds"
EMULATOR_PYTHON = LOCAL / "ministack/bin/python"

# The data and the secret of `make run`: the next run uses them again.
STATE = LOCAL / "state"
JWT_SECRET = LOCAL / "jwt-secret"

# The lock and the addresses of a run, and the emulator's temporary files: the next run writes new ones.
RUNNING = LOCAL / "running"
STACK_JSON = LOCAL / "stack.json"
SCRATCH = LOCAL / "scratch"
