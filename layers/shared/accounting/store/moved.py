"""Refusals that mean: what was decided on has changed. Imports the domain only."""

from typing import Any


class Moved(Exception):
    """Another writer came first. ``newer`` holds, by name, what stands there now, to decide on again."""

    def __init__(self, **newer: Any) -> None:
        super().__init__(", ".join(newer))
        self.newer = newer
