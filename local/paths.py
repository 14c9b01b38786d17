"""Paths of files and folders. Standard library only."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template.yaml"
LAYER = ROOT / "layers/shared"
FUNCTIONS = ROOT / "functions"
DOCUMENT = FUNCTIONS / "docs/openapi.json"
REFERENCE = ROOT / "docs/reference"
BIN = ROOT / ".venv/bin"

# A folder for generated files and installed programs. Nothing in it is a source.
LOCAL = ROOT / ".local"
BUILDS = LOCAL / "builds"
EMULATOR_PYTHON = LOCAL / "ministack/bin/python"

# `make run` keeps its data and its secret. Its lock, its addresses and the emulator's temporary files are not kept.
STATE = LOCAL / "state"
JWT_SECRET = LOCAL / "jwt-secret"
RUNNING = LOCAL / "running"
STACK_JSON = LOCAL / "stack.json"
SCRATCH = LOCAL / "scratch"
