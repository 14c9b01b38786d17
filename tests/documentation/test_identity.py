"""The commands of docs/identity.md: a token is checked, the local AWS accepts it, a deployment reads the issuers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx
import pytest

from local import account, emulator
from local.stack import STACK_NAME
from tests import providers
from tests.contract.test_identity_page import recipe
from tests.documentation.project import Project, copy, free_port, with_environments
from tests.documentation.test_operations import PRELUDE
from tests.providers import claims_of, key_set, make_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands import Documentation

KEY = make_key("RS256", "key-1")
CHECK, RUN = "make check-token ISSUERS=issuers.json TOKEN=eyJhbGciOi…", "ISSUERS=issuers.json make run"
STORE, DEPLOY = (
    "aws secretsmanager create-secret --name accounting-issuers",
    'make deploy PARAMETERS="IssuersSecretArn=',
)
ISSUER = recipe("Keycloak")
TOKEN = KEY.sign(claims_of(ISSUER["issuer"], "jane", typ="Bearer", realm_access={"roles": ["accounting-admin"]}))


@pytest.fixture(scope="module")
def identity_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a copy of the project with an issuers.json, and serve the provider's keys during the tests."""
    with providers.key_server() as server:
        server.answers["/keys"] = key_set(KEY)
        project = Project(with_environments(copy(tmp_path_factory.mktemp("identity") / "project")))
        document = json.dumps([{**ISSUER, "jwksUrl": server.url("/keys")}])
        (project.folder / "issuers.json").write_text(document)
        yield project


def test_checking_a_token_shows_its_user_or_why_it_is_refused(
    identity_project: Project, documentation: Documentation
) -> None:
    command, example = documentation.line(CHECK), CHECK.rpartition("TOKEN=")[2]

    output = identity_project.type(command.replace(example, TOKEN))

    assert f"issuer:         {ISSUER['issuer']}" in output
    assert "user id:        jane" in output
    assert "role:           admin" in output
    refused = identity_project.type(command.replace(example, KEY.sign(claims_of(ISSUER["issuer"], "jane"))), status=2)
    assert "refused: The access token lacks a claim that its issuer's tokens must have (TOKEN_INVALID)" in refused
    (identity_project.folder / "issuers.json").rename(identity_project.folder / "moved.json")
    assert "ISSUERS names a file that cannot be read" in identity_project.type(command, status=2)
    (identity_project.folder / "moved.json").rename(identity_project.folder / "issuers.json")


def test_the_local_aws_accepts_the_token(identity_project: Project, documentation: Documentation) -> None:
    identity_project.type(documentation.line(RUN), PORT=free_port(), BACKGROUND="1")
    try:
        stack = json.loads((identity_project.folder / ".local/stack.json").read_text())
        assert me(stack["baseUrl"]) == ("jane", "admin")
    finally:
        identity_project.type("make stop")


def test_a_deployment_reads_the_issuers_from_its_secret(
    identity_project: Project, documentation: Documentation
) -> None:
    page = documentation.page("docs/identity.md")
    (store,) = [command for command in page if command.startswith(STORE)]
    (deploy,) = [command for command in page if command.startswith(DEPLOY)]
    with emulator.start(enforce_iam=True) as aws:
        project = Project(
            identity_project.folder,
            AWS_ENDPOINT_URL=aws.endpoint_url,
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ACCESS_KEY_ID=account.ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=account.SECRET_KEY,
        )
        project.fit_to_local_aws()
        arn = json.loads(project.type("\n".join([PRELUDE, store])))["ARN"]

        project.type("\n".join([PRELUDE, f'{deploy.partition("=arn:")[0]}={arn}"']))

        (deployed,) = aws.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"]
        outputs = {each["OutputKey"]: each["OutputValue"] for each in deployed["Outputs"]}
        address = f"{aws.endpoint_url}/_aws/execute-api/{outputs['ApiId']}/{outputs['StageName']}"
        assert me(address) == ("jane", "admin")


def me(address: str) -> tuple[str, str]:
    """Return the id and the role that the service reads from the token."""
    answer = httpx.get(
        f"{address}/api/users/me", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=120
    )
    found = answer.raise_for_status().json()
    return found["userId"], found["role"]
