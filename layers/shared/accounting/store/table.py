"""The table as a handful of calls: the only module that talks to DynamoDB. Imports settings, keys, times and errors.

Every call is bounded in time. A read that fails for good raises Unavailable. A transaction is sent with a token, so
that the client may send it again when its answer was lost without it happening twice; only a definite refusal comes
back to the caller, as the error that the refused write carries.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from heapq import merge
from itertools import batched, islice
from operator import itemgetter
from random import SystemRandom
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from accounting.domain.errors import Contention, Unavailable
from accounting.settings import settings
from accounting.store import keys
from accounting.store.formats import FORMAT
from accounting.store.keys import Key, Range
from accounting.times import iso

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Item = dict[str, Any]
type Action = dict[str, Any]

MAX_BATCH = 100
MAX_BATCH_WRITE = 25
MAX_TRANSACTED = 100

THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "InternalServerError",
        "ServiceUnavailable",
        "TransactionInProgressException",
    }
)
PASSING_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


REQUEST_SECONDS = 10.0
"""After this, no call is begun for a request: the last one may take 12 s with its repeats, and a function has 25 s."""

CONFLICT_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)
"""The longest pauses before a write is sent again as it is."""

_random = SystemRandom()
_time_is_up = float("inf")


class Conflict(Contention):
    """The write met another one, or was throttled: nothing was written, read again and decide again."""

    def __init__(self) -> None:
        super().__init__("Too many requests for the same thing at once, try again")


@dataclass(frozen=True, slots=True)
class Write:
    """One item of a transaction, and the error that its failed condition means, given the item that stood there."""

    action: Action
    refused: Callable[[Item | None], Exception] | None = None


@cache
def client() -> "DynamoDBClient":
    """The process's one client; botocore repeats what was throttled or lost, with jitter, up to twice."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "dynamodb",
        config=Config(
            connect_timeout=1,
            read_timeout=2,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=16,
            # A tenth of a call's processor time each: DynamoDB itself validates, and this name need not be put together
            # from the whole environment twice a request.
            parameter_validation=False,
            user_agent="accounting-service",
        ),
    )


def make_for_snapshot() -> None:
    """Make the client now, where it is kept for all processes to come: SnapStart restores what the import left.

    Elsewhere it is made when it is needed.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        client()


@contextmanager
def for_a_request() -> Iterator[None]:
    """Bound the time of the block, that a caller waits for; outside of one, as for the sweeper, there is no bound."""
    global _time_is_up  # noqa: PLW0603 - a process of Lambda's has one request at a time
    _time_is_up = time.monotonic() + REQUEST_SECONDS
    try:
        yield
    finally:
        _time_is_up = float("inf")


def put(
    item: Item,
    *,
    condition: str | None = None,
    values: Item | None = None,
    names: Mapping[str, str] | None = None,
) -> Action:
    """A Put of ``item``, for ``Write``; a failed condition reports the item that stood there."""
    return {"Put": _conditioned({"Item": pack({"format": FORMAT, **item})}, condition, values, names)}


def update(
    key: Key,
    expression: str,
    *,
    values: Item,
    condition: str | None = None,
    names: Mapping[str, str] | None = None,
) -> Action:
    """An Update of the item at ``key``, for ``Write``."""
    update = {"Key": pack(key), "UpdateExpression": expression}
    return {"Update": _conditioned(update, condition, values, names)}


def delete(key: Key, *, condition: str, values: Item) -> Action:
    """A Delete of the item at ``key``, for ``Write``."""
    return {"Delete": _conditioned({"Key": pack(key)}, condition, values, None)}


def check(key: Key, *, condition: str, values: Item) -> Action:
    """A check of the item at ``key`` that the transaction does not write, for ``Write``."""
    return {"ConditionCheck": _conditioned({"Key": pack(key)}, condition, values, None)}


def get(key: Key) -> Item | None:
    """The item, strongly consistent."""
    answer = _call(client().get_item, TableName=settings().table_name, Key=pack(key), ConsistentRead=True)
    return unpack(answer["Item"]) if "Item" in answer else None


def get_many(wanted: Sequence[Key]) -> list[Item | None]:
    """The items at ``wanted`` (all different), strongly consistent, in their order; a call reads up to 100."""
    table = settings().table_name
    found: dict[tuple[str, str], Item] = {}
    left = [pack(key) for key in wanted]
    while left:
        batch, left = left[:MAX_BATCH], left[MAX_BATCH:]
        answer = _call(client().batch_get_item, RequestItems={table: {"Keys": batch, "ConsistentRead": True}})
        for item in map(unpack, answer["Responses"].get(table, [])):
            found[item["pk"], item["sk"]] = item
        left += answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
    return [found.get((key["pk"], key["sk"])) for key in wanted]


def query(pk: str, low: str, high: str, *, limit: int) -> list[Item]:
    """Up to ``limit`` items with ``low <= sk <= high``, strongly consistent, last first."""
    return list(islice(_query(("pk", "sk"), pk, low, high, limit, ConsistentRead=True), limit))


def query_all(pk: str, low: str, high: str, *, forward: bool = False, attributes: Sequence[str] = ()) -> Iterator[Item]:
    """Every item with ``low <= sk <= high``, strongly consistent, last first unless ``forward``, read as asked for.

    DynamoDB ends a page at 1 MB. Of ``attributes``, if there are any, only these are read.
    """
    options: dict[str, Any] = {"ConsistentRead": True, "ScanIndexForward": forward}
    if attributes:
        options["ProjectionExpression"] = ", ".join(f"#{name}" for name in attributes)
    return _query(("pk", "sk"), pk, low, high, None, attributes, **options)


def newest(
    index: str, ranges: Sequence[Range], *, before: str | None, limit: int, skip: int = 0
) -> tuple[list[Item], str | None]:
    """A page over several ranges of an index as if they were one, last first: at most ``limit`` keys after ``skip``.

    A position is a sort key without its range's prefix: it holds in every range alike, so that an item which moves
    between them is neither lost nor doubled. The second value is where the next page begins, None at the end.
    """
    page_size = min(MAX_BATCH, skip + limit + 2)
    merged = merge(*(_positions(index, part, before, page_size) for part in ranges), key=itemgetter(0), reverse=True)
    # An item that is moving between ranges may stand in two of them for a moment.
    distinct = {(item["pk"], item["sk"]): (position, item) for position, item in islice(merged, skip + limit + 1)}
    page = list(distinct.values())[skip:]
    return [item for _, item in page[:limit]], page[limit - 1][0] if len(page) > limit else None


def highest(index: str, pk: str, limit: int) -> tuple[list[Item], bool]:
    """The last ``limit`` keys in a partition of an index, last first, and whether there are more."""
    low, high = keys.BEFORE_ALL_TIMES, keys.AFTER_ALL_TIMES
    found = list(islice(_query(keys.INDEX_KEYS[index], pk, low, high, limit + 1, IndexName=index), limit + 1))
    return found[:limit], len(found) > limit


def _positions(index: str, part: Range, before: str | None, page_size: int) -> Iterator[tuple[str, Item]]:
    """The keys in a range with their positions, last first, read as they are asked for."""
    names = keys.INDEX_KEYS[index]
    low, high = part.prefix + keys.BEFORE_ALL_TIMES, part.prefix + (before or keys.AFTER_ALL_TIMES)
    for item in _query(names, part.pk, low, high, page_size, IndexName=index):
        position = item[names[1]].removeprefix(part.prefix)
        if position != before:
            yield position, item


def forward(index: str, pk: str, low: str, high: str) -> Iterator[list[Item]]:
    """The keys in a partition of an index with ``low < sk <= high``, first to last, in batches.

    It goes forward only: what is not dealt with is not met again in the same pass.
    """
    names = keys.INDEX_KEYS[index]
    found = _query(names, pk, low, high, MAX_BATCH, IndexName=index, ScanIndexForward=True)
    for batch in batched((item for item in found if item[names[1]] != low), MAX_BATCH, strict=False):
        yield list(batch)


def due(pk: str, now: int) -> Iterator[list[Key]]:
    """The table keys of what is due in a partition of ``due`` by ``now``, earliest first, in batches."""
    for batch in forward(keys.DUE, pk, keys.BEFORE_ALL_TIMES, iso(now) + keys.AFTER_ALL_TIMES):
        yield [{"pk": item["pk"], "sk": item["sk"]} for item in batch]


def put_many(items: Sequence[Item]) -> None:
    """Put items, each by itself and whatever stood there: for what can be made again from the rest of the table."""
    table = settings().table_name
    for batch in batched(items, MAX_BATCH_WRITE, strict=False):
        left = [{"PutRequest": {"Item": pack({"format": FORMAT, **item})}} for item in batch]
        while left:
            answer = _call(client().batch_write_item, RequestItems={table: left})
            left = answer.get("UnprocessedItems", {}).get(table, [])


def _query(
    names: tuple[str, str],
    pk: str,
    low: str,
    high: str,
    page_size: int | None,
    attributes: Sequence[str] = (),
    **options: Any,
) -> Iterator[Item]:
    request: dict[str, Any] = {
        "TableName": settings().table_name,
        "KeyConditionExpression": "#pk = :pk AND #sk BETWEEN :low AND :high",
        "ExpressionAttributeNames": {"#pk": names[0], "#sk": names[1], **{f"#{name}": name for name in attributes}},
        "ExpressionAttributeValues": pack({":pk": pk, ":low": low, ":high": high}),
        "ScanIndexForward": False,
        **({"Limit": page_size} if page_size else {}),
        **options,
    }
    while True:
        answer = _call(client().query, **request)
        yield from map(unpack, answer["Items"])
        if "LastEvaluatedKey" not in answer:
            return
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def update_one(
    key: Key, expression: str, *, condition: str, values: Item, names: Mapping[str, str]
) -> tuple[bool, Item | None]:
    """Update one item: whether the condition held, and the item after the update, or as it stood when refused.

    Raises Conflict while transactions on the item go on.
    """
    from botocore.exceptions import ClientError

    for longest in CONFLICT_PAUSES_SECONDS:
        try:
            answer = _call(
                client().update_item,
                TableName=settings().table_name,
                Key=pack(key),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=pack(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            match error.response["Error"]["Code"]:
                case "ConditionalCheckFailedException":
                    old: Item | None = error.response.get("Item")  # type: ignore[assignment]  # not in botocore's types
                    return False, unpack(old) if old else None
                case "TransactionConflictException":
                    time.sleep(jitter(longest))
                case _:
                    raise
        else:
            return True, unpack(answer["Attributes"])
    raise Conflict


def transact(writes: Sequence[Write]) -> None:
    """Write all or nothing.

    Raises what the first write whose condition failed carries; Conflict when nothing was decided because another
    transaction was under way or the table was throttled; Unavailable when the outcome is not known.
    """
    from botocore.exceptions import ClientError

    token, lost = str(uuid4()), False
    for longest in CONFLICT_PAUSES_SECONDS:
        try:
            _call(
                client().transact_write_items,
                TransactItems=[write.action for write in writes],
                ClientRequestToken=token,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            refusal = _refusal(writes, error.response.get("CancellationReasons", []))
            # What was sent before this attempt, and not answered, may still arrive: the same token keeps it from
            # happening beside another decision.
            lost = lost or error.response["ResponseMetadata"]["RetryAttempts"] > 0
            if not (lost and isinstance(refusal, Conflict)):
                raise refusal from error
            time.sleep(jitter(longest))
        else:
            return
    raise Unavailable("The database is busy, and whether it acted is unknown")


def _refusal(writes: Sequence[Write], reasons: Sequence[Mapping[str, Any]]) -> Exception:
    """The error that a cancelled transaction means.

    A passing reason beside a failed condition wins: the condition may only have failed because a repeat of the same
    request is committing, and only a fresh look can tell.
    """
    codes = {str(reason.get("Code")) for reason in reasons}
    if codes & PASSING_REASONS:
        return Conflict()
    for write, reason in zip(writes, reasons, strict=True):
        if reason.get("Code") == "ConditionalCheckFailed" and write.refused:
            old = reason.get("Item")
            return write.refused(unpack(old) if old else None)
    return RuntimeError(f"transaction cancelled: {sorted(codes)}")


def _call(operation: Callable[..., Any], **request: Any) -> Any:
    """One call to the database; what the client could not mend in its attempts, or in time, is Unavailable."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004 - botocore's own

    if time.monotonic() > _time_is_up:
        raise Unavailable("The database is too slow just now")
    try:
        return operation(**request)
    except (ConnectionError, HTTPClientError) as error:
        raise Unavailable("The database did not answer in time") from error
    except ClientError as error:
        if error.response["Error"]["Code"] in THROTTLED:
            raise Unavailable("The database is busy") from error
        raise


def _conditioned(action: Action, condition: str | None, values: Item | None, names: Mapping[str, str] | None) -> Action:
    action["TableName"] = settings().table_name
    if condition:
        action["ConditionExpression"] = condition
        action["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    if values:
        action["ExpressionAttributeValues"] = pack(values)
    if names:
        action["ExpressionAttributeNames"] = dict(names)
    return action


def pack(item: Mapping[str, Any]) -> dict[str, Any]:
    """Attribute values of text, integers and booleans, and what ``unpack`` left as it was; None is left out.

    Written out here because boto3's own codec, which knows every type, takes a tenth of a request's processor time.
    """
    return {name: _packed(value) for name, value in item.items() if value is not None}


def _packed(value: Any) -> Any:
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
    return value


def unpack(item: Mapping[str, Any]) -> Item:
    """The inverse of ``pack``; every number of the table is an integer. What ``pack`` never makes stays as it is."""
    return {name: _unpacked(value) for name, value in item.items()}


def _unpacked(value: Mapping[str, Any]) -> Any:
    match value:
        case {"S": text}:
            return text
        case {"N": number}:
            return int(number) if number.lstrip("-").isdecimal() else int(Decimal(number))
        case {"BOOL": flag}:
            return flag
    return value


def jitter(longest: float) -> float:
    """A pause in seconds, up to ``longest``. Not from a seed: SnapStart restores every process with the same one."""
    return _random.uniform(0, longest)


def any_below(count: int) -> int:
    """A number from 0, below ``count``."""
    return _random.randrange(count)


def compact(value: Any) -> str:
    """JSON without blanks and escapes, for the small values that are read and written as one."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
