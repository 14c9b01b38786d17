"""Builds the service, deploys it on a local AWS, and sets up what the local CloudFormation leaves out.

with stack.start() as service:  # on a free port, without keeping data
    httpx.get(f"{service.base_url}/api/health")
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import httpx
from botocore.exceptions import ClientError

from local import account, emulator, template
from local.build import architecture, build, deployment_id, sam_environment
from local.paths import BIN, ROOT
from local.steps import Refused, step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.build import Build
    from local.emulator import Emulator

STACK_NAME = "accounting-service"
ISSUERS_NAME = "accounting-service-issuers"
FIRST_ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Stack:
    """The service as it is deployed on a running local AWS."""

    aws: Emulator
    base_url: str
    jwt_secret: str
    internal_api_key: str
    table_name: str
    stack_name: str = STACK_NAME

    @property
    def endpoint_url(self) -> str:
        """Return the address of the local AWS on which the service runs."""
        return self.aws.endpoint_url

    def as_json(self) -> str:
        """Return the addresses and secrets that other tools need, as JSON."""
        return json.dumps(
            {
                "baseUrl": self.base_url,
                "jwtSecret": self.jwt_secret,
                "internalApiKey": self.internal_api_key,
                "endpointUrl": self.endpoint_url,
                "tableName": self.table_name,
                "stackName": self.stack_name,
            },
            indent=2,
        )


@contextmanager
def start(
    port: int = 0, state: Path | None = None, jwt_secret: str | None = None, issuers: str = "", **parameters: str
) -> Iterator[Stack]:
    """Run the service during the block, on a new local AWS that enforces the functions' IAM policies.

    See emulator.start for `port` and `state`. `issuers` describes the accepted identity providers, as JSON.
    `parameters` are values for the template's parameters.
    """
    with emulator.start(port, state, enforce_iam=True) as aws:
        yield deploy(aws, jwt_secret or secrets.token_urlsafe(48), issuers, **parameters)


def deploy(aws: Emulator, jwt_secret: str, issuers: str = "", **parameters: str) -> Stack:
    """Build the service from the current sources, deploy it if anything has changed, and wait until it answers."""
    with step("Build"):
        built = build()
    parameters |= {"Architecture": architecture(), "GradualDeployment": "false"}  # the local AWS has no CodeDeploy
    parameters["IssuersSecretArn"] = _put_issuers(aws, issuers) if issuers else ""
    parameters["BuildId"] = deployment_id(built.id, _overrides(parameters))
    with step("Deployment") as note:
        if parameters.items() <= _deployed_parameters(aws).items():
            note("already there")
        else:
            _sam_deploy(aws, built, parameters)
    with step("Time to live and secrets"):
        outputs = _outputs(aws)
        _switch_on_time_to_live(aws, outputs["TableName"])
        _put_jwt_secret(aws, outputs["JwtSecretArn"], jwt_secret)
        internal_key = aws.client("secretsmanager").get_secret_value(SecretId=outputs["InternalApiKeySecretArn"])
    stack = Stack(
        aws=aws,
        base_url=f"{aws.endpoint_url}/_aws/execute-api/{outputs['ApiId']}/{outputs['StageName']}",
        jwt_secret=jwt_secret,
        internal_api_key=internal_key["SecretString"],
        table_name=outputs["TableName"],
    )
    with step("First answer"):
        _wait_for_health(stack)
    return stack


def _sam_deploy(aws: Emulator, built: Build, parameters: dict[str, str]) -> None:
    data = template.read(built.template)
    for name, value in parameters.items():
        # On the local AWS, SAM's transform sees only defaults of parameters. So each value is written as a default.
        data["Parameters"][name]["Default"] = value
    # JSON instead of YAML saves a second.
    with NamedTemporaryFile("w", dir=built.template.parent, suffix=".json") as file:
        json.dump(data, file)
        file.flush()
        _deploy_template(aws, file.name, parameters)


def _deploy_template(aws: Emulator, file: str, parameters: dict[str, str]) -> None:
    command: list[str | Path] = [BIN / "sam", "deploy", "--template-file", file, "--stack-name", STACK_NAME]
    command += ["--use-json", "--resolve-s3", "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    command += ["--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
    command += ["--parameter-overrides", *_overrides(parameters)]
    environ = account.without_proxies(sam_environment()) | {
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ACCESS_KEY_ID": account.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": account.SECRET_KEY,
        "SAM_CLI_POLL_DELAY": "0.2",  # seconds; by default, `sam deploy` checks its progress only every 5 seconds
    }
    result = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Refused(
            f"`sam deploy` failed:\n{(result.stdout + result.stderr)[-4000:].strip()}\n"
            "If data of an earlier start does not fit the new template, `make run FRESH=1` starts without that data."
        )


def _overrides(parameters: dict[str, str]) -> list[str]:
    return [f'{name}="{value}"' for name, value in parameters.items()]  # SAM accepts an empty value only in quotes


def _describe(aws: Emulator) -> dict[str, Any] | None:
    try:
        stacks = aws.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
    except ClientError:  # CloudFormation's answer if there is no stack
        return None
    return dict(stacks[0])


def _deployed_parameters(aws: Emulator) -> dict[str, str]:
    """Return the parameters of the stack, or an empty dict if the stack is not completely deployed."""
    stack = _describe(aws)
    if stack is None or stack["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        return {}
    return {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack["Parameters"]}


def _outputs(aws: Emulator) -> dict[str, str]:
    stack = _describe(aws)
    if stack is None:
        raise Refused("`sam deploy` succeeded, yet there is no stack")
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _switch_on_time_to_live(aws: Emulator, table_name: str) -> None:
    """Switch on the table's time to live, which the emulator's CloudFormation leaves out."""
    dynamodb = aws.client("dynamodb")
    described = dynamodb.describe_time_to_live(TableName=table_name)["TimeToLiveDescription"]
    if described["TimeToLiveStatus"] != "ENABLED":
        specification = {"AttributeName": "ttl", "Enabled": True}
        dynamodb.update_time_to_live(TableName=table_name, TimeToLiveSpecification=specification)


def _put_jwt_secret(aws: Emulator, arn: str, jwt_secret: str) -> None:
    value = json.dumps({"current": jwt_secret, "previous": ""})
    aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=value)


def _put_issuers(aws: Emulator, document: str) -> str:
    """Store the description of the identity providers as a secret, as operators do on AWS. Return the secret's ARN."""
    manager = aws.client("secretsmanager")
    try:
        stored = manager.create_secret(Name=ISSUERS_NAME, SecretString=document)
    except manager.exceptions.ResourceExistsException:
        stored = manager.put_secret_value(SecretId=ISSUERS_NAME, SecretString=document)
    return str(stored["ARN"])


def _wait_for_health(stack: Stack) -> None:
    deadline = time.monotonic() + FIRST_ANSWER_SECONDS
    with httpx.Client(trust_env=False, timeout=FIRST_ANSWER_SECONDS) as http:
        while True:
            answer = http.get(f"{stack.base_url}/api/health")
            if answer.is_success:
                return
            if time.monotonic() > deadline:
                raise Refused(f"the service does not answer: {answer.status_code} {answer.text}")
            time.sleep(0.5)
