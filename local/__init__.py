"""Programs to run, document and maintain the service. None of their code is part of a deployed stack."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has ended, as in shells."""


def end_quietly_on_interrupt() -> None:
    """Make Ctrl-C end this program without a traceback, at any point."""
    sys.excepthook = _end_quietly


def _end_quietly(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stdout.flush()
    os._exit(INTERRUPTED)  # all `finally` blocks and context managers have run by now


if sys.argv[:1] == ["-m"]:
    # `python -m local.<program>` has not imported the program yet. Ctrl-C may come during its imports.
    end_quietly_on_interrupt()
