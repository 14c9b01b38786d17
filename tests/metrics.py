"""Replacements for Powertools' metrics in tests and benchmarks, which do not run on Lambda."""

from collections import Counter
from typing import Any, ClassVar


class Uncounted:
    """Drops all metrics. Powertools' metrics are made for one thread, and many tests use several."""

    metric_set: ClassVar[dict[str, Any]] = {}

    def add_metric(self, **_: Any) -> None:
        """Drop the metric."""


class Counted:
    """Adds up metrics by name, and writes none."""

    metric_set: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add_metric(self, *, name: str, value: int, **_: Any) -> None:
        self.counts[name] += value
