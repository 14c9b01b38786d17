"""Metrics for processes in which no invocation of Lambda writes them."""

from typing import Any, ClassVar


class Uncounted:
    """Drops all metrics, because Powertools' metrics support only one invocation in one thread."""

    metric_set: ClassVar[dict[str, Any]] = {}

    def add_metric(self, **_: Any) -> None:
        """Drop the metric."""
