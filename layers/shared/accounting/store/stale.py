"""The refusal of a write because the item has changed since it was read. Imports nothing of ours."""

from typing import Any


class StaleRead(Exception):
    """Another writer came first. ``current`` has, by name, the newer items that the refused write found."""

    def __init__(self, **current: Any) -> None:
        super().__init__(", ".join(current))
        self.current = current
