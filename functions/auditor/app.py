"""The auditor, on a schedule: proves every wallet from its ledger, and the ledger from its hashes."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.operations.audit import audit_all
from accounting.telemetry import flush, logger
from accounting.times import clock

RESERVE_MILLISECONDS = 60_000
"""Enough time to finish a batch that has begun, with all the entries of its wallets."""


@logger.inject_lambda_context(clear_state=True)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Audit until time is up, and return what was done. The next run continues from there."""
    try:
        audited = audit_all(clock(), lambda: context.get_remaining_time_in_millis() > RESERVE_MILLISECONDS)
    finally:
        flush()
    logger.info("audited", **asdict(audited))
    return asdict(audited)
