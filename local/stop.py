"""`make stop`: stops what `make run` started in this folder.

This module uses only the standard library, because `make stop` also runs without the project's environment.
"""

from __future__ import annotations

import sys

from local import running
from local.steps import Refused, explain, step


def main() -> int:
    """Stop the service; return the exit status."""
    try:
        with step("Stop") as note:
            if not running.stop():
                note("nothing was running")
    except Refused as refused:
        return explain(refused)
    return 0


if __name__ == "__main__":
    sys.exit(main())
