"""The refusal of a write because the item has changed since it was read."""

from typing import Any


class StaleRead(Exception):
    """Another writer came first. ``current`` has newer values that the refused write found, such as a ``wallet``."""

    def __init__(self, **current: Any) -> None:
        super().__init__(", ".join(current))
        self.current = current
