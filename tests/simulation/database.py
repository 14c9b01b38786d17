"""DynamoDB in this process: moto's table and moto's evaluation of expressions, one call at a time.

Moto's backend is called without its HTTP layer. This module implements transactions itself, because moto's differ from
DynamoDB's. Here, a repeat of a committed transaction is answered without being applied again, and all conditions of a
transaction are checked before anything is written. Moto instead writes first, and copies the whole table for each item
so that it can roll back.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.models import DynamoDBBackend, dynamodb_backends

from accounting.store import table
from tests.template import create_table

TABLE = "simulated"
MAX_TRANSACTED = 100
FAILED = "ConditionalCheckFailed"

type Key = tuple[str, str]
type Answer = dict[str, Any]


class Database:
    """The template's table, empty at first. ``written`` has the keys written since the last `take_written`."""

    def __init__(self) -> None:
        self._backend = _backend()
        self._items = self._backend.tables[TABLE].items
        self._items.clear()
        self._committed: dict[str, list[Any]] = {}
        self.written: list[Key] = []

    def perform(self, operation: str, request: dict[str, Any]) -> Answer:
        """Carry out a call as DynamoDB does. Raises ClientError as botocore does."""
        match operation:
            case "GetItem":
                found = self._find(request["Key"])
                return {"Item": found} if found else {}
            case "BatchGetItem":
                wanted = request["RequestItems"][TABLE]["Keys"]
                return {"Responses": {TABLE: [item for key in wanted if (item := self._find(key))]}}
            case "BatchWriteItem":
                for put in request["RequestItems"][TABLE]:
                    self._apply("Put", put["PutRequest"])
                return {}
            case "Query":
                return self._query(request)
            case "UpdateItem":
                return self._update(request)
        assert operation == "TransactWriteItems", operation
        return self._transact(request["TransactItems"], request["ClientRequestToken"])

    def committed(self, token: str | None) -> bool:
        """Whether a transaction with this token was carried out."""
        return token in self._committed

    def item(self, key: Key) -> table.Item | None:
        """The item as the service reads it."""
        found = self._find({"pk": {"S": key[0]}, "sk": {"S": key[1]}})
        return table.unpack(found) if found else None

    def keys(self) -> list[Key]:
        """The keys of all items."""
        return [(pk.value, sk.value) for pk, part in self._items.items() for sk in part]

    def _find(self, key: dict[str, Any]) -> Answer | None:
        item = self._backend.get_item(TABLE, key)
        return dict(item.to_json()["Attributes"]) if item else None

    def _query(self, request: dict[str, Any]) -> Answer:
        names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
        index = request.get("IndexName")
        found, _, last = self._backend.query(
            TABLE,
            values[":pk"],
            "BETWEEN",
            [values[":low"], values[":high"]],
            request.get("Limit"),  # type: ignore[arg-type]  # moto takes None
            request.get("ExclusiveStartKey"),  # type: ignore[arg-type]  # moto takes None
            request["ScanIndexForward"],
            None,
            index,
            hash_key_conditions=[(names["#pk"], values[":pk"])] if index else None,
        )
        projected = [names[name] for name in request.get("ProjectionExpression", "").split(", ") if name]
        items = [item.to_json()["Attributes"] for item in found]
        answer: Answer = {"Items": [{name: item[name] for name in projected or item} for item in items]}
        if last:
            answer["LastEvaluatedKey"] = {name: value.to_json() for name, value in last.items()}
        return answer

    def _update(self, request: dict[str, Any]) -> Answer:
        reason = self._judge(request)
        if reason.pop("Code") == FAILED:
            raise error("ConditionalCheckFailedException", "UpdateItem", **reason)
        self._apply("Update", request)
        return {"Attributes": self._find(request["Key"])}

    def _transact(self, actions: list[Any], token: str) -> Answer:
        if token in self._committed:
            if self._committed[token] != actions:
                raise error("IdempotentParameterMismatchException", "TransactWriteItems")
            return {}
        writes = [write for action in actions for write in action.values()]
        assert len(set(map(_key, writes))) == len(actions) <= MAX_TRANSACTED, (
            "a transaction writes an item twice, or more than 100 items"
        )
        reasons = [self._judge(write) for write in writes]
        if any(reason["Code"] == FAILED for reason in reasons):
            raise error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
        for action in actions:
            ((kind, write),) = action.items()
            self._apply(kind, write)
        self._committed[token] = actions
        return {}

    def _judge(self, write: dict[str, Any]) -> Answer:
        """Check a write's condition. Return the write's entry in ``CancellationReasons``.

        If the condition is met, the entry's code is the text ``None``.
        """
        pk, sk = _key(write)
        current = self._backend.get_item(TABLE, {"pk": {"S": pk}, "sk": {"S": sk}})
        condition = get_filter_expression(
            write.get("ConditionExpression"),
            write.get("ExpressionAttributeNames"),
            write.get("ExpressionAttributeValues"),
        )
        if condition.expr(current):
            return {"Code": "None"}
        if current is None or write.get("ReturnValuesOnConditionCheckFailure") != "ALL_OLD":
            return {"Code": FAILED}
        return {"Code": FAILED, "Item": current.to_json()["Attributes"]}

    def _apply(self, kind: str, write: dict[str, Any]) -> None:
        names, values = write.get("ExpressionAttributeNames") or {}, write.get("ExpressionAttributeValues") or {}
        match kind:
            case "Put":
                self._backend.put_item(TABLE, write["Item"])
            case "Update":
                self._backend.update_item(TABLE, write["Key"], write["UpdateExpression"], names, values)
            case "Delete":
                self._backend.delete_item(TABLE, write["Key"])
        self.written.append(_key(write))

    def take_written(self) -> Iterator[Key]:
        """Return the keys written since the last call."""
        written, self.written = self.written, []
        return iter(written)


def error(code: str, operation: str, **fields: Any) -> ClientError:
    """Return the exception that botocore raises for a DynamoDB error."""
    return ClientError({"Error": {"Code": code, "Message": code}, **fields}, operation)  # type: ignore[typeddict-item]


def _key(write: dict[str, Any]) -> Key:
    key = write.get("Key") or write["Item"]
    return key["pk"]["S"], key["sk"]["S"]


@cache
def _backend() -> DynamoDBBackend:
    """Moto's backend with the template's table in it."""
    with mock_aws():
        create_table(boto3.client("dynamodb", region_name="us-east-1"), TABLE)
        (backend,) = [regions["us-east-1"] for regions in dynamodb_backends.values() if regions["us-east-1"].tables]
        stored = backend.tables[TABLE]
    backend.tables[TABLE] = stored  # the backend was emptied when the mock ended
    # Moto's all_items sorts all items. Only Scan needs this order: Query sorts what it finds. The service never scans.
    stored.all_items = lambda: [item for part in stored.items.values() for item in part.values()]  # type: ignore[method-assign]
    return backend
