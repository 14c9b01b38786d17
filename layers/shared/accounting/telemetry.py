"""Logs and metrics: one structured logger, and counters.

Counters are lines of the log in CloudWatch's embedded metric format (EMF), so they need no API call.
"""

import logging
import os
from threading import Lock

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(use_rfc3339=True)  # Lambda accepts no other format of the time in a JSON line
# Without the next two lines, Powertools and botocore would take their levels from Lambda's ApplicationLogLevel.
logging.getLogger(logger.name).setLevel(os.environ.get("LOG_LEVEL", "INFO"))
logging.getLogger("botocore").setLevel(logging.WARNING)
# Without this, the first log line would import asyncio to name the current task. No function uses asyncio.
logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # not in the types
# The namespace needs a default, because without one a flush would raise, after credits have moved.
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "AccountingService"))
# All stacks in an AWS account share the namespace. Without this dimension, one stack could silence another's alarms.
metrics.set_default_dimensions(stack=os.environ.get("STACK_NAME", "none"))

_counting = Lock()


def count(name: str, value: int = 1) -> None:
    """Add to a counter of this invocation. Zero is left out."""
    if value:
        count_even_zero(name, value)


def count_even_zero(name: str, value: int) -> None:
    """Add to a counter of this invocation, even zero: an alarm must be able to tell zero from missing data."""
    with _counting:  # Powertools' metrics are not thread-safe; the sweeper has several threads
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


def flush() -> None:
    """Write the counters of this invocation as one EMF line, if there are any."""
    if metrics.metric_set:
        metrics.flush_metrics()
