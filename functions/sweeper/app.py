"""The sweeper runs on a schedule.

It ends stale sessions, expires credits, empties the accounts of closed organizations, and continues erasures.
"""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.operations.sweep import sweep
from accounting.telemetry import flush, logger
from accounting.times import clock

RESERVE_MILLISECONDS = 30_000
"""Enough time to finish a batch that has begun."""


@logger.inject_lambda_context(clear_state=True)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Sweep until time is up, and return what was done. The next run does the rest."""
    try:
        swept = sweep(clock(), lambda: context.get_remaining_time_in_millis() > RESERVE_MILLISECONDS)
    finally:
        flush()
    logger.info("swept", **asdict(swept))
    return asdict(swept)
