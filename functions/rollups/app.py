"""The rollups function, on the table's stream: system-wide sums of new usage records, each counted exactly once."""

from typing import Any

from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBStreamEvent
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.domain.usage import UsageRecord
from accounting.operations import system_usage
from accounting.store import usage
from accounting.telemetry import count, flush, logger


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Count a batch; what could not be is reported, so that the stream comes again from there.

    The order of batches does not matter, nor does a batch that comes twice or cut otherwise: a record carries the
    mark that it was counted, which is written with the sums. A part of the stream that an operator sends again also
    has the changes that made those marks.
    """
    sequence_numbers: dict[str, str | None] = {}
    fresh: dict[str, UsageRecord] = {}
    for record in DynamoDBStreamEvent(event).records:
        change = record.dynamodb
        if change and change.new_image and usage.is_record(change.new_image):
            found = usage.from_image(change.new_image)
            sequence_numbers.setdefault(found.id, change.sequence_number)
            fresh.setdefault(found.id, found)
    failed: str | None = None
    for chunk in system_usage.chunks(fresh.values()):
        try:
            system_usage.count(chunk)
        except Exception:
            logger.exception("a chunk of records was not counted")
            failed = sequence_numbers[chunk[0].id]
            count("RollupFailures")
            break
    logger.info("counted", records=len(fresh), failed_from=failed)
    flush()
    return {"batchItemFailures": [{"itemIdentifier": failed}] if failed else []}
