"""The refusal of a write because the item has changed since it was read."""

from typing import Any


class StaleRead(Exception):
    """Another writer came first. ``current`` has the newer values, such as a ``wallet``, for the next attempt."""

    def __init__(self, **current: Any) -> None:
        super().__init__(", ".join(current))
        self.current = current
