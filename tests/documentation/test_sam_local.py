"""All commands of events/README.md in order, as far as possible without a container engine."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from local.build import architecture
from local.paths import BIN
from tests.documentation.project import free_port
from tests.template import resources

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands import Documentation
    from tests.documentation.project import Project, Running

PAGE = "events/README.md"
ENVIRON = 'python3 -c "import json, os; print(json.dumps(dict(os.environ)))"'

NEEDS_AN_ENGINE = {
    "sam local invoke HealthFunction": "runs the function in Lambda's image",
    "sam local invoke CreditsFunction": "runs the function in Lambda's image",
    "sam local start-api": "runs a function in Lambda's image for each request",
}
"""Commands that the tests cannot run to their end, and why.

SAM reads all files that these commands name, and then asks for the engine.
"""
NO_ENGINE = "requires a container runtime. Do you have Docker or Finch installed and running?"


class Terminal:
    """The shell of a user with an AWS account and without a container engine. It keeps exported variables."""

    def __init__(self, project: Project, home: Path, port: str) -> None:
        self.folder = project.folder
        self._project = project
        self.port = port
        self.environ = {
            "PATH": os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != str(BIN)),
            "HOME": str(home),
            "DOCKER_HOST": f"tcp://127.0.0.1:{free_port()}",
            "SAM_CLI_TELEMETRY": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SESSION_TOKEN": "of-another-account",
        }

    def type(self, command: str, status: int = 0) -> str:
        return self._project.type(self._for_this_machine(command), status, **self.environ)

    def type_up_to_the_engine(self, command: str) -> str:
        """Run a command that needs an engine; return SAM's output before it asks for the engine."""
        output, missing, _ = self.type(command, 1).partition(NO_ENGINE)
        assert missing, output
        return output

    def begin(self, command: str) -> Running:
        return self._project.begin(self._for_this_machine(command), **self.environ)

    def export(self, command: str) -> None:
        self.environ = json.loads(self.type(f"{command}\n{ENVIRON}"))

    def _for_this_machine(self, command: str) -> str:
        return command.replace(":4566", f":{self.port}").replace("=x86_64", f"={architecture()}")


@pytest.fixture(scope="module")
def port() -> str:
    """Return the port of the local AWS."""
    return free_port()


@pytest.fixture(scope="module")
def aws(project: Project, documentation: Documentation, port: str) -> Iterator[Running]:
    """Start `make run`, but do not wait until the local AWS is ready. A test that needs the local AWS waits."""
    with project.begin(documentation.line("make run"), PORT=port) as running:
        yield running


@pytest.fixture
def terminal(project: Project, port: str, tmp_path: Path) -> Iterator[Terminal]:
    variables = project.folder / "events/sam-local-env.json"
    untouched = variables.read_text()
    yield Terminal(project, tmp_path, port)
    variables.write_text(untouched)


def test_every_command_on_the_page_works_in_order(
    terminal: Terminal, aws: Running, documentation: Documentation
) -> None:
    """The fixture `aws` has started `make run`. If the page has a new command, unpacking `typed` fails."""
    typed = [line for line in documentation.page(PAGE) if line != "make run"]
    path, build, health, endpoint, address, credentials, unset, bridge, balance, jwt_secret, key, api = typed
    assert [line for line in typed if line.startswith(tuple(NEEDS_AN_ENGINE))] == [health, balance, api]
    assert [begin for begin in NEEDS_AN_ENGINE if not any(line.startswith(begin) for line in typed)] == []

    terminal.export(path)
    terminal.type(build)
    terminal.type_up_to_the_engine(health)

    aws.until("Ctrl-C stops the service")
    built = terminal.folder / ".aws-sam/build/template.yaml"
    variables = terminal.folder / "events/sam-local-env.json"
    table = json.loads((terminal.folder / ".local/stack.json").read_text())["tableName"]
    variables.write_text(variables.read_text().replace("the tableName of .local/stack.json", table))
    assert "AWS_ENDPOINT_URL" not in built.read_text()
    assert len(re.findall(r"Ref: \w+Function\.Alias", built.read_text())) == 2, "each authorizer must have one"
    terminal.type(endpoint)
    assert built.read_text().count("AWS_ENDPOINT_URL") == 1, "must be set once, in Globals"
    assert not re.findall(r"Ref: \w+Function\.Alias", built.read_text())

    for each in (address, credentials, unset):
        terminal.export(each)
    assert terminal.environ["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{terminal.port}"
    assert terminal.environ["AWS_ACCESS_KEY_ID"] == "test"
    assert "AWS_SESSION_TOKEN" not in terminal.environ
    for each in (balance, api):
        output = terminal.type_up_to_the_engine(each)
        assert "No current session found" not in output, "SAM must find out the caller's identity from the local AWS"

    terminal.type(jwt_secret)
    terminal.type(key)
    bridge_port = free_port()
    with terminal.begin(bridge.replace("172.17.0.1 4566", f"127.0.0.1 {bridge_port}")) as carrying:
        carrying.until(" is the local AWS")
        assert_the_authorizers_find_their_secrets(terminal, bridge_port)


def assert_the_authorizers_find_their_secrets(terminal: Terminal, port: str) -> None:
    """Check that the token and the key in the sample events match the authorizers' secrets.

    The secrets are read over the bridge to the local AWS, by the names that sam-local-env.json gives them.
    """
    events = terminal.folder / "events"
    names = json.loads((events / "sam-local-env.json").read_text())["Parameters"]

    def secret(variable: str) -> str:
        read = f"secretsmanager get-secret-value --secret-id {names[variable]}"
        return str(json.loads(terminal.type(f"aws --endpoint-url http://127.0.0.1:{port} {read}"))["SecretString"])

    def sent(sample: str) -> str:
        return str(json.loads((events / sample).read_text())["authorizationToken"])

    token = sent("authorizer/token.json").removeprefix("Bearer ")
    claims = jwt.decode(token, json.loads(secret("JWT_SECRET_ID"))["current"], algorithms=["HS256"])
    assert claims["sub"] == "demo-user"
    assert sent("internal_authorizer/key.json") == secret("INTERNAL_API_KEY_ID")


def test_the_table_on_the_page_has_every_function_with_its_own_sample_event(project: Project) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\S+)` \|$", (project.folder / PAGE).read_text(), re.MULTILINE))
    functions = {name: folder_of(function) for name, function in resources("AWS::Serverless::Function").items()}

    assert {name: Path(event).parent.name for name, event in rows.items()} == functions
    assert [event for event in rows.values() if not (project.folder / event).exists()] == []


def folder_of(function: dict[str, Any]) -> str:
    return Path(function["Properties"]["CodeUri"]).name
