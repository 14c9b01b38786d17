"""Internal faults, as a caller sees them and as an operator finds them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal
from accounting.store import keys
from accounting.store.table import pack
from tests.e2e.books import dynamodb, items_of, usage_in_stream
from tests.e2e.changes import without_permissions
from tests.e2e.client import Person, assert_refused, new_id
from tests.e2e.logged import events, group_of

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

PATIENCE_SECONDS = 30


def test_if_the_next_ledger_entry_already_exists_the_command_fails_and_reveals_nothing(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=10)
    item = pack({**keys.entry(personal(person.id), 2), "seq": 2})
    dynamodb(service).put_item(TableName=service.table_name, Item=item)
    before = items_of(service, person.id)

    answer = admin.post("credits/allocate", {"userId": person.id, "credits": 1})

    assert assert_refused(answer, 500, "INTERNAL_ERROR", "Internal error") == {}
    assert items_of(service, person.id) == before


def test_if_the_wallet_changes_before_every_attempt_the_command_gives_up_in_time(
    service: Stack, people: People, admin: Person
) -> None:
    """This test adds a half to the wallet's version, and the service reads versions as integers.

    So the service's condition on the version never holds, as if another writer were always first.
    """
    person = people(credits=10)
    dynamodb(service).update_item(
        TableName=service.table_name,
        Key=pack(keys.wallet(personal(person.id))),
        UpdateExpression="SET version = version + :half",
        ExpressionAttributeValues={":half": {"N": "0.5"}},
    )
    before = items_of(service, person.id)

    answer = admin.post("credits/allocate", {"userId": person.id, "credits": 1})

    assert_refused(answer, 503, "CONTENTION")
    assert answer.headers["retry-after"] == "1"
    assert items_of(service, person.id) == before


def test_a_failing_authorizer_answers_503(service: Stack, http: httpx.Client, token: Mint) -> None:
    with without_permissions(service, "authorizer"):
        stranger = Person(http, new_id("stranger"), token(new_id("stranger")))
        answer = stranger.get("credits/balance")

    assert_refused(answer, 503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"
    assert stranger.get("credits/balance").status_code == 200, "the authorizer must work again with its permissions"


def test_a_failed_sweep_sends_a_message_and_does_not_stop_the_next_sweep(service: Stack) -> None:
    functions, queues = service.aws.client("lambda"), service.aws.client("sqs")
    name = f"{service.stack_name}-sweeper"
    invoke_config = functions.get_function_event_invoke_config(FunctionName=name, Qualifier="live")
    assert invoke_config["MaximumRetryAttempts"] == 0
    assert invoke_config["MaximumEventAgeInSeconds"] == 300
    # The emulator ignores these settings of an alias, so this test invokes the same code without its alias.
    functions.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig=invoke_config["DestinationConfig"]
    )
    queue = queues.get_queue_url(QueueName=f"{service.stack_name}-failed-runs")["QueueUrl"]

    with without_permissions(service, "sweeper"):
        functions.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        message = _message(queues, queue)

    assert message["requestContext"]["functionArn"].split(":")[6] == name
    assert "AccessDenied" in json.dumps(message["responsePayload"])
    swept = functions.invoke(FunctionName=f"{name}:live", Payload=b"{}")
    assert json.loads(swept["Payload"].read())["complete"] is True


def test_uncounted_usage_records_that_are_sent_twice_are_counted_once(
    service: Stack, people: People, admin: Person
) -> None:
    """As docs/operations.md tells operators, the test sends stream records to the function `rollups` again."""
    person = people()
    with without_permissions(service, "rollups"):
        person.ok("POST", "usage/record", {"service": "images", "operation": "render", "credits": 7})
        _wait_for_the_log(service, "a chunk of records was not counted")
    assert _counted(admin, person) == 0

    position = usage_in_stream(service, person.id)
    for _ in range(2):
        _send_again(service, position)

    assert _counted(admin, person) == 7


def _message(queues: Any, queue: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for message in queues.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
            body: dict[str, Any] = json.loads(message["Body"])
            return body
    pytest.fail("no message came")


def _wait_for_the_log(service: Stack, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if any(text in event["message"] for event in events(service, group_of(service, "rollups"))):
            return
        time.sleep(0.2)
    pytest.fail(f"no line of the log has the text: {text}")


def _counted(admin: Person, person: Person) -> int:
    by_user: dict[str, int] = admin.ok("GET", "usage/system-stats?top=1000")["byUser"]
    return by_user.get(person.id, 0)


def _send_again(service: Stack, position: dict[str, str]) -> None:
    streams, functions = service.aws.client("dynamodbstreams"), service.aws.client("lambda")
    iterator = streams.get_shard_iterator(**position, ShardIteratorType="AT_SEQUENCE_NUMBER")["ShardIterator"]
    page = streams.get_records(ShardIterator=iterator, Limit=100)
    answer = functions.invoke(
        FunctionName=f"{service.stack_name}-rollups:live",
        Payload=json.dumps({"Records": page["Records"]}, default=str).encode(),
    )
    assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}
