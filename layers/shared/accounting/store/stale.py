"""The refusal of a write that was decided on an item that has changed since. Imports the domain only."""

from typing import Any


class StaleRead(Exception):
    """Another writer came first. ``current`` holds, by name, what the refused write found, to decide on again."""

    def __init__(self, **current: Any) -> None:
        super().__init__(", ".join(current))
        self.current = current
