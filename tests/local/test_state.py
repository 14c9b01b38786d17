"""The local AWS keeps its saved data when it is stopped or killed. Functions get every record of a table's stream."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sys
import time
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local import account, emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from local.emulator import Emulator

CODE = """
import boto3

def handler(event, _context):
    dynamodb = boto3.client("dynamodb")
    print("called")
    if "Item" in dynamodb.get_item(TableName="seen", Key={"pk": {"S": "closed"}}):
        raise RuntimeError("closed")
    for record in event["Records"]:
        dynamodb.update_item(
            TableName="seen",
            Key=record["dynamodb"]["Keys"],
            UpdateExpression="ADD times :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
"""
PATIENCE_SECONDS = 20
CLOSED = {"pk": {"S": "closed"}}


def make_table(aws: Emulator, name: str, **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        **options,
    )["TableDescription"]
    return made


def put(aws: Emulator, *names: str, table: str = "things") -> None:
    for name in names:
        aws.client("dynamodb").put_item(TableName=table, Item={"pk": {"S": name}})


def items_in(aws: Emulator, table: str) -> dict[str, int]:
    """Return the names in a table, each with the item's `times`, or 0 if the item has none."""
    items = aws.client("dynamodb").scan(TableName=table)["Items"]
    return {item["pk"]["S"]: int(item.get("times", {"N": "0"})["N"]) for item in items}


def make_trigger(aws: Emulator) -> None:
    """Make a table `things` and a function that counts in `seen` how often it gets each record of `things`.

    While `seen` has the item `closed`, the function fails.
    """
    specification = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    stream = make_table(aws, "things", StreamSpecification=specification)["LatestStreamArn"]
    make_table(aws, "seen")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CODE)
    functions = aws.client("lambda")
    functions.create_function(
        FunctionName="counter",
        Runtime="python3.13",
        Handler="app.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": code.getvalue()},
        Timeout=30,
    )
    functions.create_event_source_mapping(
        FunctionName="counter", EventSourceArn=stream, StartingPosition="TRIM_HORIZON", BatchSize=10
    )


def until(wanted: Callable[[], bool], pause: float = 0.1) -> bool:
    """Wait until the condition holds; return whether it did in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


@contextmanager
def running_until_killed(state: Path) -> Iterator[Emulator]:
    """Run a local AWS during the block, then kill it and its functions without a warning."""
    with emulator.start(state=state) as aws:
        try:
            yield aws
        finally:
            os.killpg(aws.process.pid, signal.SIGKILL)


def saves(state: Path) -> list[Path]:
    return sorted((state / "saves").glob("*"))


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_each_record_of_a_stream_reaches_its_function_once_despite_a_restart(tmp_path: Path, end: str) -> None:
    with emulator.start(state=tmp_path) if end == "stopped" else running_until_killed(tmp_path) as aws:
        make_trigger(aws)
        put(aws, *(f"read-{number}" for number in range(12)))
        assert until(lambda: len(items_in(aws, "seen")) == 12)
        put(aws, "closed", table="seen")
        put(aws, *(f"unread-{number}" for number in range(15)))
        aws.save()

    with emulator.start(state=tmp_path) as aws:
        aws.client("dynamodb").delete_item(TableName="seen", Key=CLOSED)
        put(aws, *(f"new-{number}" for number in range(3)))
        assert until(lambda: len(items_in(aws, "seen")) == 30), items_in(aws, "seen")
        assert set(items_in(aws, "seen").values()) == {1}
        assert items_in(aws, "things").keys() == items_in(aws, "seen").keys()


def test_a_function_gets_new_records_if_an_older_version_made_the_save(tmp_path: Path) -> None:
    """Older versions saved no records of streams, and put the files directly into the state's folder."""
    with emulator.start(state=tmp_path) as aws:
        make_trigger(aws)
        put(aws, *(f"read-{number}" for number in range(12)))
        assert until(lambda: len(items_in(aws, "seen")) == 12)
    (save,) = saves(tmp_path)
    for file in save.iterdir():
        file.rename(tmp_path / file.name)
    save.rmdir()
    state = json.loads((tmp_path / "dynamodb.json").read_text())
    del state["payload"]["accounting_streams"]
    (tmp_path / "dynamodb.json").write_text(json.dumps(state))

    with emulator.start(state=tmp_path) as aws:
        put(aws, "new")
        assert until(lambda: items_in(aws, "seen").get("new") == 1)
        assert len(items_in(aws, "things")) == 13
    assert not list(tmp_path.glob("*.json")), "the new save must replace the old files"


def test_changes_are_saved_automatically_and_reads_cause_no_save(tmp_path: Path) -> None:
    with running_until_killed(tmp_path) as aws:
        make_table(aws, "things")
        put(aws, "one")
        assert until(lambda: len(saves(tmp_path)) == 1 and saves(tmp_path)[0].name.isdecimal())
        time.sleep(3)  # longer than the pause between two saves, which is 2 seconds after a quick save
        (before,) = saves(tmp_path)
        for _ in range(3):
            items_in(aws, "things")
            time.sleep(1)
        assert saves(tmp_path) == [before]
        put(aws, "two")
        assert until(lambda: saves(tmp_path) != [before])
        assert until(lambda: len(saves(tmp_path)) == 1 and saves(tmp_path)[0].name.isdecimal())

    with emulator.start(state=tmp_path) as aws:
        assert items_in(aws, "things").keys() == {"one", "two"}


def test_a_kill_during_a_save_keeps_the_previous_save(tmp_path: Path) -> None:
    """The kills happen at different moments of a save. At the end, the test writes a truncated save itself."""
    names: list[str] = []
    for delay in (0.0, 0.004, 0.008, 0.012):
        with running_until_killed(tmp_path) as aws:
            if not names:
                make_table(aws, "things")
            assert set(names) <= items_in(aws, "things").keys()
            names.append(f"thing-{delay}")
            put(aws, names[-1])
            aws.save()
            begin_to_save(aws)
            time.sleep(delay)
    cut = tmp_path / "saves/999.unfinished"
    cut.mkdir()
    (cut / "dynamodb.json").write_text('{"__ministack_format__": 2, "payload": {"tab')

    with emulator.start(state=tmp_path) as aws:
        assert items_in(aws, "things").keys() == set(names)


@pytest.mark.skipif(sys.platform != "linux", reason="on this system, requests wait until the save ends")
def test_requests_are_answered_during_a_save(tmp_path: Path) -> None:
    def unfinished() -> bool:
        return any(each.suffix for each in saves(tmp_path))

    def answered_during_a_save() -> bool:
        begun = unfinished()
        items_in(aws, "few")
        return begun and unfinished()

    with emulator.start(state=tmp_path) as aws:
        make_table(aws, "things")
        make_table(aws, "few")
        many = {"L": [{"S": f"{number:x}"} for number in range(10_000)]}
        for number in range(50):
            aws.client("dynamodb").put_item(TableName="things", Item={"pk": {"S": f"thing-{number}"}, "many": many})
        begin_to_save(aws)
        assert until(answered_during_a_save, pause=0)


def begin_to_save(aws: Emulator) -> None:
    """Request a save without waiting for the answer."""
    with socket.create_connection((account.HOST, aws.port)) as connection:
        connection.sendall(b"POST /_accounting/save HTTP/1.1\r\nHost: local\r\nContent-Length: 0\r\n\r\n")


def test_nothing_is_saved_during_a_deployment(tmp_path: Path) -> None:
    """After a restart, a half-created stack could not be completed."""
    never = {"Handle": {"Ref": "Handle"}, "Timeout": "600"}
    waiting = {
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
        "Never": {"Type": "AWS::CloudFormation::WaitCondition", "Properties": never},
    }
    with running_until_killed(tmp_path) as aws:
        make_table(aws, "things")
        aws.save()
        stacks = aws.client("cloudformation")
        stacks.create_stack(StackName="half", TemplateBody=json.dumps({"Resources": waiting}))
        assert stacks.describe_stacks(StackName="half")["Stacks"][0]["StackStatus"] == "CREATE_IN_PROGRESS"
        put(aws, "one")
        assert httpx.post(f"{aws.endpoint_url}/_accounting/save", trust_env=False).status_code == 500

    with emulator.start(state=tmp_path) as aws:
        assert aws.client("cloudformation").describe_stacks()["Stacks"] == []
        assert items_in(aws, "things") == {}


def test_data_written_after_the_last_save_is_gone_after_a_kill(tmp_path: Path) -> None:
    """A kill loses unsaved stacks. If a stack's bucket remained, the next deployment would fail."""
    with running_until_killed(tmp_path) as aws:
        aws.save()
        aws.client("s3").create_bucket(Bucket="artifacts")
        aws.client("s3").put_object(Bucket="artifacts", Key="code", Body=b"zip")

    with emulator.start(state=tmp_path) as aws:
        assert aws.client("s3").list_buckets()["Buckets"] == []


def test_saves_are_not_readable_by_others(tmp_path: Path) -> None:
    state, scratch = tmp_path / "state", tmp_path / "scratch"
    aws = emulator.launch(0, scratch, state)
    try:
        aws.client("secretsmanager").create_secret(Name="any", SecretString="hidden")
        make_trigger(aws)
        put(aws, "one")
        assert until(lambda: bool(items_in(aws, "seen")))
        aws.save()
        made = [state, *state.rglob("*"), scratch, *scratch.rglob("*")]
        assert aws.log in made
        assert [path for path in made if not path.is_symlink() and path.stat().st_mode & 0o077] == []
    finally:
        aws.stop()
