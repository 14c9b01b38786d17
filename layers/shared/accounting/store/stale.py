"""The refusal of a write because the item has changed since it was read. Imports nothing of ours."""

from typing import Any


class StaleRead(Exception):
    """Another writer came first. ``current`` has the newer values that the refused write found, by name."""

    def __init__(self, **current: Any) -> None:
        super().__init__(", ".join(current))
        self.current = current
