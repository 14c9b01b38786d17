"""Every request of the store is sent twice, and the two answers are compared.

``Wire``, which is our client of DynamoDB, sends the request to one table. boto3's client sends it to a second table,
the twin.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from uuid import uuid4

import botocore.session
import pytest
from botocore.exceptions import ClientError

from accounting.domain.errors import AccountingError
from accounting.operations import credits, sessions, settling, system_usage, usage
from accounting.operations import sweep as sweeping
from accounting.operations.usage import Event
from accounting.store import keys, table, wallets
from accounting.store.table import connection, queries, transactions
from accounting.store.table.wire import Wire
from local.emulator import Emulator
from tests.calls import the_wire
from tests.integration.conftest import ACCOUNT, NOW
from tests.integration.test_events import CONTEXT, LISTS, STEPS, app, event, send_sample
from tests.reach import LAYER, ROOT
from tests.template import create_table

type MakeUser = Callable[..., str]

CALLS_OF_THE_STORE = {
    name
    for module in (queries, transactions)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
} - {"put", "update", "add", "delete", "check"}  # these build parts of a transaction


class Twins:
    def __init__(self, wire: Wire, names: tuple[str, str]) -> None:
        self.calls: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self._ours, self._theirs = wire.call, connection.sdk_client(botocore.session.get_session())
        self._names = names

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        self.operations[operation] += 1
        own_request = {**request, "ReturnConsumedCapacity": "INDEXES"}
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        twin_request = self._to_the_twin(own_request)
        if "ClientRequestToken" in own_request:  # DynamoDB refuses a token that was used with another table
            twin_request["ClientRequestToken"] = own_request["ClientRequestToken"][::-1]
        theirs = _outcome(lambda: getattr(self._theirs, method)(**twin_request))
        ours = _outcome(lambda: self._ours(operation, own_request))
        assert self._to_the_twin(ours.fields) == theirs.fields
        if isinstance(ours, _Refused):
            assert isinstance(theirs, _Refused)
            self.refusals[ours.error.response["Error"]["Code"]] += 1
            raise ours.error
        return ours.fields

    def counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.calls[function.__name__] += 1
            return function(*arguments, **named)

        return counted

    def _to_the_twin(self, fields: dict[str, Any]) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(json.dumps(fields).replace(*self._names)))


class _Answered:
    def __init__(self, answer: dict[str, Any]) -> None:
        self.fields = {name: value for name, value in answer.items() if name != "ResponseMetadata"}


class _Refused:
    def __init__(self, error: ClientError) -> None:
        self.error = error
        response = cast("dict[str, Any]", error.response)
        about = response["ResponseMetadata"]
        self.fields = {name: response.get(name) for name in ("Error", "CancellationReasons", "Item")}
        self.fields |= {"status": about["HTTPStatusCode"], "repeats": about["RetryAttempts"], "operation": str(error)}


def _outcome(call: Callable[[], dict[str, Any]]) -> _Answered | _Refused:
    try:
        return _Answered(call())
    except ClientError as error:
        return _Refused(error)


@pytest.fixture
def twins(table_name: str, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twins]:
    twin = f"twin-{uuid4()}"
    create_table(dynamodb, twin)
    wire = the_wire()
    made = Twins(wire, (table_name, twin))
    monkeypatch.setattr(wire, "call", made)
    for name in CALLS_OF_THE_STORE:
        monkeypatch.setattr(table, name, made.counting(getattr(table, name)))
    yield made
    items = [
        sorted(json.dumps(item, sort_keys=True) for item in dynamodb.scan(TableName=name)["Items"])
        for name in (table_name, twin)
    ]
    dynamodb.delete_table(TableName=twin)
    assert items[0] == items[1]


def assert_refused(call: Callable[[], object]) -> None:
    with pytest.raises(AccountingError):
        call()


def test_wire_and_boto3_answer_every_call_of_the_store_alike(
    user: MakeUser, twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("demo-user")
    for name, status, _ in STEPS:
        assert send_sample(name)[0] == status
    for name in LISTS:
        assert send_sample(name)[0] == 200
    app("sweeper").handler(event("sweeper/schedule"), CONTEXT)
    app("auditor").handler(event("auditor/schedule"), CONTEXT)
    app("rollups").handler(event("rollups/stream"), CONTEXT)
    user("u1", 60)
    made = usage.record(Event("u1", "images", "render", 5, {}, deduct=False), now=NOW, key=None).record
    assert system_usage.count([made]) == 1
    assert system_usage.statistics(NOW, NOW + 1, top=10, now=NOW).sums.records == 1
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    assert_refused(lambda: sessions.initialize("u1", "s2", "m", 500_000, now=NOW))
    settling.finalize("u1", "s1", 2_000, success=True, now=NOW)
    assert_refused(lambda: sessions.heartbeat("u1", "s1", 100, now=NOW))
    sessions.initialize("u1", "s3", "m", 5_000, now=NOW)
    assert sweeping.sweep(NOW + 10**8, lambda: True).sessions == 1
    monkeypatch.setattr(queries, "MAX_BATCH", 1)
    credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=3)
    assert list(table.due("none", NOW)) == []
    table.delete_one(keys.session_metadata("u1", "s1"))
    table.delete_one(keys.session_metadata("u1", "nothing"))

    assert set(twins.calls) == CALLS_OF_THE_STORE
    assert twins.operations.keys() == {
        "BatchGetItem", "BatchWriteItem", "GetItem", "Query", "TransactWriteItems", "UpdateItem"
    }  # fmt: skip
    assert twins.refusals.keys() >= {"ConditionalCheckFailedException"}
    assert sum(twins.operations.values()) > 100


ITEM = {"pk": {"S": "a"}, "sk": {"S": 'é \n"\\\u2028𝄞'}, "n": {"N": "-12"}, "yes": {"BOOL": True}}
KEY = {"pk": ITEM["pk"], "sk": ITEM["sk"]}
ABSENT = {"ConditionExpression": "attribute_not_exists(pk)", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


def test_wire_and_boto3_raise_the_same_refusals(twins: Twins, table_name: str) -> None:
    wire: Any = the_wire()

    def transact(*actions: dict[str, Any], token: str = "") -> None:
        items = [{kind: {"TableName": table_name, **action}} for each in actions for kind, action in each.items()]
        wire.transact_write_items(TransactItems=items, ClientRequestToken=token or str(uuid4()))

    def assert_client_error(code: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> ClientError:
        with pytest.raises(ClientError) as raised:
            call(*arguments, **named)
        assert raised.value.response["Error"]["Code"] == code
        return raised.value

    transact({"Put": {"Item": ITEM}}, token="the first one")
    transact({"Put": {"Item": ITEM}}, token="the first one")
    assert_client_error("IdempotentParameterMismatchException", transact, {"Put": {"Item": KEY}}, token="the first one")
    other = {"pk": {"S": "other"}, "sk": {"S": "b"}}
    cancelled: Any = assert_client_error(
        "TransactionCanceledException",
        transact,
        {"Put": {"Item": other}},
        {"Put": {"Item": ITEM, **ABSENT}},
        {"Delete": {"Key": {**KEY, "sk": {"S": "none"}}, "ConditionExpression": "attribute_exists(pk)"}},
    )
    reasons = cancelled.response["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["None", "ConditionalCheckFailed", "ConditionalCheckFailed"]
    assert reasons[1]["Item"] == ITEM
    update = {"TableName": table_name, "Key": KEY, "UpdateExpression": "SET n = n + :one"}
    values = {"ExpressionAttributeValues": {":one": {"N": "1"}}}
    old: Any = assert_client_error("ConditionalCheckFailedException", wire.update_item, **update, **values, **ABSENT)
    assert old.response["Item"] == ITEM
    assert wire.update_item(**update, **values, ReturnValues="ALL_NEW")["Attributes"]["n"] == {"N": "-11"}
    assert_client_error("ValidationException", wire.update_item, **update)
    assert_client_error("ValidationException", transact, {"Put": {"Item": other}}, {"Put": {"Item": other}})
    assert_client_error("ResourceNotFoundException", wire.get_item, TableName="none", Key=KEY)
    assert_client_error("ValidationException", wire.query, TableName="none", KeyConditionExpression="pk = :pk")
    assert twins.refusals.total() == 7


def test_wire_and_boto3_return_the_same_pages_and_empty_answers(twins: Twins, table_name: str) -> None:
    wire: Any = the_wire()
    stored = [{"pk": {"S": "a"}, "sk": {"S": f"{number:02}"}, "x": {"S": "é" * 99}} for number in range(20)]
    puts = [{"PutRequest": {"Item": item}} for item in stored]
    wire.batch_write_item(RequestItems={table_name: puts})
    query = {
        "TableName": table_name,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "a"}},
        "Limit": 8,
    }
    pages = [answer := wire.query(**query)]
    while "LastEvaluatedKey" in answer:
        pages.append(answer := wire.query(**query, ExclusiveStartKey=answer["LastEvaluatedKey"]))
    assert [len(page["Items"]) for page in pages] == [8, 8, 4]
    assert wire.get_item(TableName=table_name, Key=KEY).keys() == {"ConsumedCapacity"}
    assert wire.query(**query | {"ExpressionAttributeValues": {":pk": {"S": "none"}}})["Items"] == []
    wanted = [{"pk": item["pk"], "sk": item["sk"]} for item in stored] + [KEY]
    found = wire.batch_get_item(RequestItems={table_name: {"Keys": wanted, "ConsistentRead": True}})
    assert len(found["Responses"][table_name]) == 20
    assert twins.operations.total() == 7


def test_threads_that_share_the_wire_lose_no_update(table_name: str) -> None:
    wire = the_wire()
    add = {"UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(wire.update_item, TableName=table_name, Key=KEY, **add) for _ in range(300)]:
            done.result()
    assert wire.get_item(TableName=table_name, Key=KEY, ConsistentRead=True)["Item"]["n"] == {"N": "300"}


def test_a_first_request_imports_neither_boto3_nor_botocores_client(table_name: str, aws: Emulator) -> None:
    """The environment has a region and credentials, as on Lambda without SnapStart.

    Without them in the environment, botocore would be imported to find them.
    """
    code = f"""
import json, sys
from types import SimpleNamespace
sys.path[:0] = [{str(LAYER)!r}, {str(ROOT / "functions/credits")!r}]
import app
event = json.load(open({str(ROOT / "events/credits/balance.json")!r}))
context = SimpleNamespace(function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r")
answer = app.handler(event, context)
print(answer["statusCode"], *{{"boto3", "botocore.session", "botocore.client", "urllib3"}} & set(sys.modules))
"""
    environ = {
        "PATH": "",
        "TABLE_NAME": table_name,
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_LAMBDA_FUNCTION_NAME": "credits",
        "POWERTOOLS_SERVICE_NAME": "s",
        "POWERTOOLS_METRICS_NAMESPACE": "n",
    }
    run_alone = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60, check=False
    )

    assert run_alone.returncode == 0, run_alone.stderr
    assert run_alone.stdout.splitlines()[-1] == "200"
