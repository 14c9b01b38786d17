"""The auditor runs on a schedule. It checks every wallet against its ledger, and every ledger against its hashes."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.operations.audit import audit_all
from accounting.telemetry import flush, logger
from accounting.times import clock

RESERVE_MILLISECONDS = 60_000
"""Enough time to finish the current batch of wallets and all of their ledger entries."""


@logger.inject_lambda_context(clear_state=True)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Audit wallets while time allows, and return what was done. If time runs out, the next invocation continues."""
    try:
        audited = audit_all(clock(), lambda: context.get_remaining_time_in_millis() > RESERVE_MILLISECONDS)
    finally:
        flush()
    logger.info("audited", **asdict(audited))
    return asdict(audited)
