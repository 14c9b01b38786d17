"""Writes one item, or several items in a transaction, which writes all of them or none.

A transaction has a token. If an answer is lost, the same transaction can be sent again with the same token, and
DynamoDB carries it out only once.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import batched
from typing import Any, NamedTuple
from uuid import uuid4

from accounting.domain.errors import Contention, Unavailable
from accounting.settings import settings
from accounting.store.formats import FORMAT
from accounting.store.keys import Key
from accounting.store.table.codec import Item, pack, unpack
from accounting.store.table.connection import attempts, attempts_at_a_batch, call, client

type Action = dict[str, Any]

MAX_BATCH_WRITE = 25
MAX_TRANSACTED = 100
CONFLICT = "TransactionConflict"
THROTTLES = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})

CONFLICT_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.4)
"""The upper limits of the random pauses before the same write is sent again."""


class Conflict(Contention):
    """Another write changed the same data at the same time. Nothing was written; read again and decide again."""

    def __init__(self) -> None:
        super().__init__("Too many requests changed the same data at once, try again")


class Throttled(Conflict):
    """The table, or one of its partitions, got more requests than DynamoDB allows. Nothing was written."""


class Write(NamedTuple):
    """One write of a transaction. If its condition fails, ``refused`` gets the stored item and returns the error."""

    action: Action
    refused: Callable[[Item | None], Exception] | None = None


def put(
    item: Item,
    *,
    condition: str | None = None,
    values: Item | None = None,
    names: Mapping[str, str] | None = None,
) -> Action:
    """A Put of ``item``, for ``Write``."""
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


def add(key: Key, added: Mapping[str, int], *, if_absent: Item) -> Action:
    """An Update without a condition. It adds numbers, and sets those attributes of ``if_absent`` that are absent."""
    adds = ", ".join(f"#{name} :{name}" for name in added)
    sets = ", ".join(f"#{name} = if_not_exists(#{name}, :{name})" for name in if_absent)
    values = {f":{name}": value for name, value in (*added.items(), *if_absent.items())}
    return update(
        key, f"ADD {adds} SET {sets}", values=values, names={f"#{name}": name for name in (*added, *if_absent)}
    )


def delete(key: Key, *, condition: str, values: Item, names: Mapping[str, str] | None = None) -> Action:
    """A Delete of the item at ``key``, for ``Write``."""
    return {"Delete": _conditioned({"Key": pack(key)}, condition, values, names)}


def check(key: Key, *, condition: str, values: Item | None = None) -> Action:
    """A condition on an item that the transaction does not write. It is an action of a ``Write``, too."""
    return {"ConditionCheck": _conditioned({"Key": pack(key)}, condition, values, None)}


def put_many(items: Sequence[Item]) -> None:
    """Put items without a transaction or conditions: only for data that can be rebuilt from other items."""
    for batch in batched(items, MAX_BATCH_WRITE, strict=False):
        _write_batch([{"PutRequest": {"Item": pack({"format": FORMAT, **item})}} for item in batch])


def delete_one(key: Key) -> None:
    """Delete an item if it exists, whatever it contains."""
    _write_batch([{"DeleteRequest": {"Key": pack(key)}}])


def _write_batch(left: Sequence[Action]) -> None:
    table = settings().table_name
    for _ in attempts_at_a_batch():
        answer = call(client().batch_write_item, RequestItems={table: left})
        left = answer.get("UnprocessedItems", {}).get(table, [])
        if not left:
            return


def update_one(
    key: Key, expression: str, *, condition: str, values: Item, names: Mapping[str, str]
) -> tuple[bool, Item | None]:
    """Update one item. Return True and the updated item or, if the condition failed, False and the item as it was.

    Raises Conflict if other transactions keep changing the item.
    """
    from botocore.exceptions import ClientError

    for _ in attempts(CONFLICT_PAUSES_SECONDS):
        try:
            answer = call(
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
                    continue
                case _:
                    raise
        else:
            return True, unpack(answer["Attributes"])
    raise Conflict


def transact(writes: Sequence[Write]) -> None:
    """Write everything or nothing.

    If conditions fail, raises the error of the first failed write that has ``refused``. If no failed write has
    ``refused``, raises RuntimeError.
    Raises Conflict if another transaction was in progress, Throttled if the table is throttled, Unavailable if the
    outcome is unknown.
    """
    from botocore.exceptions import ClientError

    token, lost = str(uuid4()), False
    for _ in attempts(CONFLICT_PAUSES_SECONDS):
        try:
            call(
                client().transact_write_items,
                TransactItems=[write.action for write in writes],
                ClientRequestToken=token,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            refusal = _refusal(writes, error.response.get("CancellationReasons", []))
            # An earlier attempt whose answer was lost may still commit. A new transaction of the caller could commit,
            # too. So the same transaction is sent again, with the same token.
            lost = lost or error.response["ResponseMetadata"]["RetryAttempts"] > 0
            if not (lost and isinstance(refusal, Conflict)):
                raise refusal from error
        else:
            return
    raise Unavailable("The database is busy; it is unknown whether the request was carried out")


def _refusal(writes: Sequence[Write], reasons: Sequence[Mapping[str, Any]]) -> Exception:
    """The error for a canceled transaction.

    Throttled and Conflict take precedence over a failed condition. The condition may have failed only because the same
    request is being carried out a second time at this moment. After Throttled or Conflict, the caller reads again, and
    finds what the other execution wrote.
    """
    codes = {str(reason.get("Code")) for reason in reasons}
    if codes & THROTTLES:
        return Throttled()
    if CONFLICT in codes:
        return Conflict()
    for write, reason in zip(writes, reasons, strict=True):
        if reason.get("Code") == "ConditionalCheckFailed" and write.refused:
            old = reason.get("Item")
            return write.refused(unpack(old) if old else None)
    return RuntimeError(f"transaction canceled: {sorted(codes)}")


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
