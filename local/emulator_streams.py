"""Makes the local AWS save the records of the tables' streams together with its other data.

The local AWS is MiniStack. The version that we pin saves the position of each trigger (how many records of a stream the
event source mapping has read), but not the records. After a restart, the stream is empty, so a trigger that had read
five records would skip the first five new records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ministack import app
from ministack.core.arn import ArnParseError, parse_arn
from ministack.core.responses import AccountRegionScopedDict
from ministack.services import dynamodb, lambda_svc

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURES = {
    app._load_persisted_state: "()",
    dynamodb.get_state: "()",
    dynamodb.load_persisted_state: "(data)",
    dynamodb.stream_start_position: "(table_name: str, *, account_id=None, region=None) -> int",
    dynamodb.stream_end_position: "(table_name: str, *, account_id=None, region=None) -> int",
    dynamodb.stream_live_records: "(table_name: str, *, account_id=None, region=None) -> list[dict]",
    lambda_svc._dynamodb_stream_table_from_arn_spec: "(spec) -> tuple[str, str] | None",
}
STREAMS = "accounting_streams"
"""The key of the stream records in DynamoDB's saved state."""


def keep_unread_records() -> None:
    """Make MiniStack save the stream records that a trigger has not read, and restore them when it starts."""
    get_state, load, load_all = dynamodb.get_state, dynamodb.load_persisted_state, app._load_persisted_state

    def get_state_with_records() -> dict[str, Any]:
        copying, dynamodb.copy = dynamodb.copy, Uncopied
        try:
            return {**get_state(), STREAMS: unread_streams()}
        finally:
            dynamodb.copy = copying

    def load_with_records(data: dict[str, Any]) -> None:
        load(data)
        restore_streams(data.get(STREAMS))

    def load_all_with_positions() -> None:
        load_all()
        correct_positions()

    dynamodb.get_state = get_state_with_records
    dynamodb.load_persisted_state = load_with_records
    app._load_persisted_state = load_all_with_positions


class Uncopied:
    """Replaces the module `copy` during a save. No request changes the data during a save, so no copy is needed."""

    @staticmethod
    def deepcopy(data: Any) -> Any:
        return data


def unread_streams() -> dict[str, Any]:
    """For each stream, return the records that its slowest trigger has not read, and the first one's position."""
    streams = AccountRegionScopedDict()
    for account, region, table in list(dynamodb._tables._data):
        where = {"account_id": account, "region": region}
        start, end = dynamodb.stream_start_position(table, **where), dynamodb.stream_end_position(table, **where)
        positions = [start if position is None else position for _, position in positions_of(account, region, table)]
        first = min(max(min(positions, default=end), start), end)
        records = list(dynamodb.stream_live_records(table, **where)[first - start :])
        streams.set_scoped(account, region, table, {"first": first, "records": records})
    return {"streams": streams, "counter": dynamodb._stream_seq_counter}


def restore_streams(saved: dict[str, Any] | None) -> None:
    """Give each stream its unread records back, at the positions that they had."""
    if saved is None:
        return
    for (account, region, table), stream in saved["streams"]._data.items():
        dynamodb._stream_trimmed.set_scoped(account, region, table, stream["first"])
        dynamodb._stream_records.set_scoped(account, region, table, stream["records"])
    dynamodb._stream_seq_counter = saved["counter"]


def correct_positions() -> None:
    """If a trigger's position is beyond the end of its stream, set it to the end, so that no new record is skipped.

    A position is too high if the data was saved by an older version of this project, which saved no records.
    """
    for account, region, table in list(dynamodb._tables._data):
        end = dynamodb.stream_end_position(table, account_id=account, region=region)
        with lambda_svc._dynamodb_stream_positions_lock:
            for mapping, position in positions_of(account, region, table):
                if position is not None and position > end:
                    lambda_svc._dynamodb_stream_positions.set_scoped(account, region, mapping, end)


def positions_of(account: str, region: str, table: str) -> Iterator[tuple[str, int | None]]:
    """Yield each trigger of a table's stream with its position, or with None if the trigger has not begun to read."""
    for (owner, owner_region, mapping), found in list(lambda_svc._esms._data.items()):
        try:
            source = parse_arn(found.get("EventSourceArn", ""))
        except ArnParseError:
            continue
        if (owner, owner_region, source.service) != (account, region, "dynamodb"):
            continue
        stream = lambda_svc._dynamodb_stream_table_from_arn_spec(source)
        if stream is not None and stream[0] == table:
            yield mapping, lambda_svc._dynamodb_stream_positions.get_scoped(account, region, mapping)
