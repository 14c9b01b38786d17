"""Logs and metrics: one structured logger, and EMF counters that are written to the log and cost no call."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics()


def count(name: str, value: int = 1) -> None:
    """Add to a counter of this invocation; a zero says nothing and is left out."""
    if value:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def flush() -> None:
    """Write what this invocation counted as one EMF line, if anything."""
    if metrics.metric_set:
        metrics.flush_metrics()
