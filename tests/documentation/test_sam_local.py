"""events/README.md, typed from its first line to its last, with a stand-in for the engine that `sam local` asks for."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local.build import architecture
from local.paths import BIN
from tests.documentation.docker import Engine
from tests.documentation.project import free_port
from tests.template import resources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.commands import Documentation
    from tests.documentation.project import Project, Running

PAGE = "events/README.md"
ENVIRON = 'python3 -c "import json, os; print(json.dumps(dict(os.environ)))"'


class Terminal:
    """A shell that keeps what is exported in it, of somebody who has a Docker engine and an AWS account."""

    def __init__(self, project: Project, engine: str, home: Path, port: str) -> None:
        self.folder = project.folder
        self._project = project
        self._port = port
        self._environ = {
            "PATH": os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if each != str(BIN)),
            "HOME": str(home),
            "DOCKER_HOST": engine,
            "SAM_CLI_TELEMETRY": "0",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SESSION_TOKEN": "of-another-account",
        }

    def type(self, command: str) -> str:
        return self._project.type(self._here(command), 0, **self._environ)

    def begin(self, command: str) -> Running:
        return self._project.begin(self._here(command), **self._environ)

    def export(self, command: str) -> None:
        self._environ = json.loads(self.type(f"{command}\n{ENVIRON}"))

    def _here(self, command: str) -> str:
        return command.replace(":4566", f":{self._port}").replace("=x86_64", f"={architecture()}")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("docker"))


@pytest.fixture(scope="module")
def port() -> str:
    """Return the port of the local AWS."""
    return free_port()


@pytest.fixture(scope="module")
def aws(project: Project, documentation: Documentation, port: str) -> Iterator[Running]:
    """Begin `make run`; who needs it waits for it."""
    with project.begin(documentation.line("make run"), PORT=port) as running:
        yield running


@pytest.fixture
def terminal(project: Project, engine: Engine, port: str, tmp_path: Path) -> Iterator[Terminal]:
    variables = project.folder / "events/sam-local-env.json"
    untouched = variables.read_text()
    with engine.answering() as host:
        yield Terminal(project, host, tmp_path, port)
    variables.write_text(untouched)


def test_the_page_can_be_typed_from_its_first_line_to_its_last(
    terminal: Terminal, engine: Engine, aws: Running, documentation: Documentation
) -> None:
    """But for `make run`, which begins before."""
    typed = (line for line in documentation.page(PAGE) if line != "make run")
    path, build, health, endpoint, address, credentials, unset, bridge, balance, jwt_secret, key, api = typed
    bridge_port = free_port()

    terminal.export(path)
    terminal.type(build)
    assert json.loads(answer(terminal.type(health))["body"])["status"] == "ok"

    aws.until("Ctrl-C stops it")
    built = terminal.folder / ".aws-sam/build/template.yaml"
    variables = terminal.folder / "events/sam-local-env.json"
    table = json.loads((terminal.folder / ".local/stack.json").read_text())["tableName"]
    text = variables.read_text().replace("the tableName of .local/stack.json", table)
    variables.write_text(text.replace(":4566", f":{bridge_port}"))
    said = terminal.type(of_another(balance, "AuthorizerFunction", "events/authorizer/token.json"))
    assert "knows no host secretsmanager.us-east-1.amazonaws.com" in said, "it asks the real AWS before the next line"

    terminal.type(endpoint)
    assert built.read_text().count("AWS_ENDPOINT_URL") == 1, "in Globals, for all functions"
    for each in (address, credentials, unset):
        terminal.export(each)
    with terminal.begin(bridge.replace("172.17.0.1 4566", f"127.0.0.1 {bridge_port}")) as carrying:
        carrying.until(" is the local AWS")
        over_the_bridge(terminal, engine, aws, balance, jwt_secret, key, api)


def over_the_bridge(
    terminal: Terminal, engine: Engine, aws: Running, balance: str, jwt_secret: str, key: str, api: str
) -> None:
    """Type the rest of the page: what reaches the local AWS from containers."""
    said = terminal.type(balance)
    assert "No current session found" not in said, "SAM has asked the local AWS for the account"
    (curl,) = re.findall(r"^curl .*/balance .*$", aws.said, re.MULTILINE)
    assert json.loads(answer(said)["body"]) == json.loads(terminal.type(curl))
    assert engine.newest.environ["AWS_ACCESS_KEY_ID"] == "test"
    assert "AWS_SESSION_TOKEN" not in engine.newest.environ

    terminal.type(jwt_secret)
    terminal.type(key)
    own_port = free_port()
    before = set(engine.containers)
    with terminal.begin(f"{api} --port {own_port}") as serving:
        serving.until("Press CTRL")
        assert set(engine.containers) == before, "none is started before it is needed"
        assert_the_api_answers(terminal.folder / "events", own_port)
    assert len(engine.containers) > len(before)
    assert engine.left - before == set(), "Ctrl-C leaves none behind"
    assert unsuccessful(terminal, balance) == []


def answer(said: str) -> Any:
    """Return what the function answered, which SAM says last."""
    return json.loads(said.rstrip().splitlines()[-1])


def of_another(line: str, function: str, event: str) -> str:
    """Return the line that invokes a function with what it takes to invoke another one."""
    return line.replace("CreditsFunction", function).replace("events/credits/balance.json", event)


def unsuccessful(terminal: Terminal, line: str) -> list[Any]:
    """Invoke each function of the page's table; return what failed."""
    rows = re.findall(r"^\| `(\w+)` \| `(\S+)` \|$", (terminal.folder / PAGE).read_text(), re.MULTILINE)
    assert {function for function, _ in rows} == set(resources("AWS::Serverless::Function"))
    with ThreadPoolExecutor(os.cpu_count()) as several:
        answers = several.map(lambda row: answer(terminal.type(of_another(line, *row))), rows)
        return [(*row, answered) for row, answered in zip(rows, answers, strict=True) if not succeeded(answered)]


def succeeded(answered: Any) -> bool:
    """Return whether a function did what the event asks for, by what its kind of function answers."""
    match answered:
        case {"statusCode": status}:
            return status in {200, 201}
        case {"policyDocument": {"Statement": [{"Effect": effect}]}}:
            return bool(effect == "Allow")
        case {"batchItemFailures": failures}:
            return not failures
        case {"complete": complete}:
            return complete is True
    return False


def assert_the_api_answers(events: Path, port: str) -> None:
    token, key, user = (
        json.loads((events / name).read_text())
        for name in ("authorizer/token.json", "internal_authorizer/key.json", "users/sync.json")
    )
    as_user = {"Authorization": token["authorizationToken"]}
    as_platform = {"X-Internal-Api-Key": key["authorizationToken"]}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:
        assert http.get("/api/health").json()["status"] == "ok"
        assert http.get("/api/credits/balance", headers=as_user).raise_for_status().json()["userId"] == "demo-user"
        assert http.get("/api/credits/balance", headers={"Authorization": "Bearer another"}).status_code == 403
        assert http.post("/api/users/sync", headers=as_platform, content=user["body"]).is_success
        assert http.post("/api/users/sync", content=user["body"]).status_code == 401
