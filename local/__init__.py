"""The service on one machine: environments, a local AWS, build, deployment. Nothing here is deployed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended, as shells have it."""


def _end_without_traceback(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stdout.flush()
    os._exit(INTERRUPTED)  # what had to be undone was undone on the way here


if sys.argv[:1] == ["-m"]:  # `python -m local.<program>` begins, and Ctrl-C may come before its own code is reached
    sys.excepthook = _end_without_traceback
