"""All commands of docs/operations.md in order, except that the command for a second stack comes last.

The local AWS is empty at first.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx

from local import account, emulator, tokens
from local.stack import STACK_NAME, Stack
from tests.documentation.project import Project, copy, with_environments
from tests.e2e.books import usage_in_stream

if TYPE_CHECKING:
    from pathlib import Path

    from local.emulator import Emulator
    from tests.commands import Documentation

PAGE = "docs/operations.md"
PRELUDE = """
# Version 1 of the AWS CLI has no option for the format of payloads, and its SQS commands ignore AWS_ENDPOINT_URL.
aws() {
  local each kept=()
  for each in "$@"; do case $each in --cli-binary-format|raw-in-base64-out) ;; *) kept+=("$each");; esac; done
  command aws --endpoint-url "$AWS_ENDPOINT_URL" "${kept[@]}"
}
# Answer yes to every question.
make() { command make "$@" < <(yes); }
# The stack's outputs have addresses on AWS. Call the local AWS instead.
curl() {
  local each kept=()
  for each in "$@"; do
    kept+=("$(sed -E "s#https://(\\w+)\\.execute-api[^/]+/#$AWS_ENDPOINT_URL/_aws/execute-api/\\1/#" <<< "$each")")
  done
  command curl --fail-with-body "${kept[@]}"
}
"""
ONLY_TWO_FUNCTIONS = "functions=$(grep -E -o '\\S+-(credits|sweeper)' <<< $functions)"
"""Commands for all functions are run for only two, because each call of the AWS CLI takes most of a second."""
NAMED = {
    *("AWS::Lambda::Function", "AWS::Scheduler::Schedule", "AWS::Logs::LogGroup", "AWS::SQS::Queue", "AWS::SNS::Topic"),
    *("AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard"),
}
"""The kinds of resources to which the template gives names."""
LETTER = """{"DDBStreamBatchInfo": {"streamArn": "%s", "shardId": "%s", "startSequenceNumber": "%s"}}"""


def test_every_command_on_the_page_works_in_order(tmp_path: Path, documentation: Documentation) -> None:
    page = [command.replace("eu-central-1", "us-east-1") for command in documentation.page(PAGE)]
    first_use = next(number for number, command in enumerate(page) if "$ADMIN" in command)
    definitions = [command for command in page[:first_use] if re.match(r"export |output\(\)|url=", command)]
    with emulator.start(enforce_iam=True) as aws:
        project = Project(
            with_environments(copy(tmp_path / "project")),
            AWS_ENDPOINT_URL=aws.endpoint_url,
            AWS_DEFAULT_REGION="us-east-1",  # version 1 of the AWS CLI knows no AWS_REGION
            AWS_ACCESS_KEY_ID=account.ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=account.SECRET_KEY,
        )
        project.fit_to_local_aws()

        deployed = project.type("\n".join([PRELUDE, *page[:first_use]]))

        assert '"status": "ok"' in deployed
        service = deployed_service(aws, deployed)
        create_user_and_administrator(service)
        publish_versions(aws)
        # The page reads a message from the queue of uncounted records, writes it to letter.json, and shows this file.
        # Here, the queue is empty, because nothing has failed. So the test writes its own message to letter.json.
        (project.folder / "sent.json").write_text(LETTER % tuple(usage_in_stream(service, "boss").values()))
        (second_stack,) = [command for command in page if " STACK=" in command]
        rest = [command.replace("cat letter.json", "cp sent.json letter.json") for command in page[first_use:]]
        rest.remove(second_stack)
        rest.insert(
            1 + next(number for number, command in enumerate(rest) if command.startswith("functions=")),
            ONLY_TWO_FUNCTIONS,
        )

        output = project.type(
            "\n".join([PRELUDE, *definitions, *rest]),
            ADMIN=tokens.mint(service.jwt_secret, "boss", "admin"),
            NEW=service.jwt_secret,
            OLD=service.jwt_secret[::-1],
            VERSION="3",
            PAGER="pager.example.com/alarms",
            INSTANT="2026-11-20T09:30:00Z",
        )

        assert '"totalCredits":1000' in output
        assert '{"batchItemFailures": []}' in output
        assert "nothing was written: APPLY=1 writes" in output
        assert output.count('"complete": true') == 2, "both sweeps by hand must be complete"
        assert versions_of_credits(aws) == ["$LATEST", "3", "4"]
        now = {each["ParameterKey"]: each["ParameterValue"] for each in stack(aws)["Parameters"]}
        assert now["KmsKeyArn"].startswith("arn:aws:kms:")
        assert now["AlarmEmail"] == "oncall@example.com", "parameters that are not given again must stay"

        project.type("\n".join([PRELUDE, second_stack]))

        assert_is_a_second_stack(aws, "accounting-staging", {"team": "billing", "stage": "staging"})


def assert_is_a_second_stack(aws: Emulator, name: str, tags: dict[str, str]) -> None:
    """Assert that the stack ``name`` answers, and has its own copy of each resource of the first stack.

    The names of the copies begin with ``name`` where the originals' names begin with the first stack's name.
    """
    second = stack(aws, name)
    outputs = {each["OutputKey"]: each["OutputValue"] for each in second["Outputs"]}
    assert {each["Key"]: each["Value"] for each in second["Tags"]} == tags
    assert httpx.get(gateway(aws, outputs) + "/api/health", trust_env=False, timeout=60).is_success
    for kind, listed, named in (
        ("lambda", "list_functions", "FunctionName"),
        ("scheduler", "list_schedules", "Name"),
        ("cloudwatch", "describe_alarms", "AlarmName"),
    ):
        pages = aws.client(kind).get_paginator(listed).paginate()
        names = {each[named] for page in pages for found in page.values() if isinstance(found, list) for each in found}
        first = {each.removeprefix(STACK_NAME) for each in names if each.startswith(STACK_NAME)}
        assert first, kind
        assert first == {each.removeprefix(name) for each in names if each.startswith(name)}, kind
    of_first = resources(aws, STACK_NAME)
    assert all(STACK_NAME in physical_id for _, _, physical_id in of_first)
    assert resources(aws, name) == {(*of, physical_id.replace(STACK_NAME, name)) for *of, physical_id in of_first}


def resources(aws: Emulator, name: str) -> set[tuple[str, str, str]]:
    """Return the kind, the logical id and the name of each resource of a stack, but only of the kinds in ``NAMED``."""
    pages = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    found = {
        (each["ResourceType"], each["LogicalResourceId"], each["PhysicalResourceId"])
        for page in pages
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] in NAMED
    }
    assert {kind for kind, _, _ in found} == NAMED
    return found


def deployed_service(aws: Emulator, output: str) -> Stack:
    """Return the deployed service, with the secrets that the commands so far have printed."""
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack(aws)["Outputs"]}
    (secret, internal_key) = re.findall(r'(\{"previous.*\})\n(\S+)\n$', output)[0]
    return Stack(
        aws=aws,
        base_url=gateway(aws, outputs),
        jwt_secret=json.loads(secret)["current"],
        internal_api_key=internal_key,
        table_name=outputs["TableName"],
    )


def gateway(aws: Emulator, outputs: dict[str, str]) -> str:
    """Return the address at which the local AWS serves a stack's API."""
    return f"{aws.endpoint_url}/_aws/execute-api/{outputs['ApiId']}/{outputs['StageName']}"


def create_user_and_administrator(service: Stack) -> None:
    """Create the page's user and administrator, and record usage, which needs the internal key."""
    with httpx.Client(base_url=service.base_url, trust_env=False, timeout=60) as http:
        for name, role in (("their-sub", "user"), ("boss", "admin")):
            http.headers["Authorization"] = f"Bearer {tokens.mint(service.jwt_secret, name, role)}"
            assert http.get("/api/credits/balance").is_success
        used = {"service": "images", "operation": "render", "credits": 3}
        assert http.post("/api/usage/record", json=used).status_code == 403
        http.headers["X-Internal-Api-Key"] = service.internal_api_key
        assert http.post("/api/usage/record", json=used).is_success


def publish_versions(aws: Emulator) -> None:
    """Publish three more versions of a function."""
    functions, name = aws.client("lambda"), f"{STACK_NAME}-credits"
    for number in range(3):
        functions.update_function_configuration(FunctionName=name, Description=f"Deployed again: {number}")
        version = functions.publish_version(FunctionName=name)["Version"]
        functions.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    assert versions_of_credits(aws) == ["$LATEST", "1", "2", "3", "4"]


def versions_of_credits(aws: Emulator) -> list[str]:
    versions = aws.client("lambda").list_versions_by_function(FunctionName=f"{STACK_NAME}-credits")["Versions"]
    return [each["Version"] for each in versions]


def stack(aws: Emulator, name: str = STACK_NAME) -> Any:
    (found,) = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return found
