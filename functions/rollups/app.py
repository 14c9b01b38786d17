"""The rollups function reads the table's stream. It adds each new usage record to the system-wide sums once."""

from typing import Any

from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBStreamEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.domain.usage import UsageRecord
from accounting.operations import system_usage
from accounting.store import usage
from accounting.telemetry import count, flush, logger


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Add a batch to the sums. If a chunk of it can't be added, the stream sends the batch again from this chunk on.

    The transaction that adds records to the sums also marks the records as counted. So each record is counted once,
    even if the stream sends it more than once, or in a different order.

    If a record can't be read, the function adds nothing and raises. The stream then splits the batch again and again,
    until only this record is left.
    """
    try:
        sequence_numbers, fresh = _records(event)
    except Exception:
        logger.exception("a batch has a record that can't be read")
        count("RollupFailures")
        flush()
        raise
    failed_from: str | None = None
    for chunk in system_usage.chunks(fresh.values()):
        try:
            system_usage.count(chunk)
        except Exception:
            logger.exception("a chunk of records was not counted")
            failed_from = sequence_numbers[chunk[0].id]
            count("RollupFailures")
            break
    logger.info("counted", records=len(fresh), failed_from=failed_from)
    flush()
    return {"batchItemFailures": [{"itemIdentifier": failed_from}] if failed_from else []}


def _records(event: dict[str, Any]) -> tuple[dict[str, str | None], dict[str, UsageRecord]]:
    """By id, each usage record's sequence number in the stream, and the record. Repeats in the batch are left out."""
    sequence_numbers: dict[str, str | None] = {}
    fresh: dict[str, UsageRecord] = {}
    for record in DynamoDBStreamEvent(event).records:
        change = record.dynamodb
        if change and change.new_image and usage.is_record(change.new_image):
            found = usage.from_image(change.new_image)
            sequence_numbers.setdefault(found.id, change.sequence_number)
            fresh.setdefault(found.id, found)
    return sequence_numbers, fresh
