"""The commands and code of README.md, other pages and examples/, run against the service that `make run` starts."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from client.tests.providers import Provider
from local import litellm
from local.chromium import Missing, chromium
from tests.documentation.project import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Documentation
    from tests.documentation.project import Project, Running

MODEL = """
import asyncio
import sys
from types import SimpleNamespace


class Model:
    async def stream(self, model, prompt):
        for _ in range(4):
            yield SimpleNamespace(text="Because.", usage=None)
        yield SimpleNamespace(text="", usage={"prompt_tokens": 4, "completion_tokens": 400})


async def main():
    async for text in answer(sys.argv[1], "Why?", {"inputTokens": 4, "outputTokens": int(sys.argv[2])}):
        print(text, end="")
    await accounting.aclose()


llm = Model()
asyncio.run(main())
"""
"""What the code of docs/account-a-stream.md needs: a model, and a program that asks for an answer."""

SETTINGS = """
import os
import sys

url, token = os.environ["ACCOUNTING_URL"], sys.argv[1]
"""
"""The variables that the README's code needs."""


PATIENCE_SECONDS = 30
MAX_PICTURES_BYTES = 400_000
PROXIES = {
    **dict.fromkeys(("HTTP_PROXY", "http_proxy"), "http://127.0.0.1:1"),
    **dict.fromkeys(("ALL_PROXY", "all_proxy"), "socks5://127.0.0.1:1"),
    "NO_PROXY": "",
}
"""Proxies that cannot be reached. A command fails if it uses them for a request to 127.0.0.1."""


def attached(project: Project) -> Any:
    """Return what a tool needs to connect to the running service."""
    return json.loads((project.folder / ".local/stack.json").read_text())


def token(project: Project) -> str:
    return project.type("make token USER=demo-user").strip()


def balance(project: Project) -> Any:
    answer = httpx.get(
        f"{attached(project)['baseUrl']}/api/credits/balance",
        headers={"Authorization": f"Bearer {token(project)}"},
        trust_env=False,
    )
    return answer.raise_for_status().json()


def test_make_run_prints_a_command_that_shows_the_balance(service: Running, project: Project) -> None:
    (line,) = re.findall(r"^curl .*$", service.output, re.MULTILINE)

    credits = json.loads(project.type(line.replace("curl", "curl -f")))

    assert credits["totalCredits"] == 1000
    assert attached(project)["baseUrl"] in service.output


def test_make_token_prints_a_token_or_why_it_refuses(
    service: Running, project: Project, documentation: Documentation
) -> None:
    documentation.line("make token USER=demo-user")
    alice = project.type(documentation.line("make token USER=alice ROLE=admin")).strip()
    users = httpx.get(
        f"{attached(project)['baseUrl']}/api/users", headers={"Authorization": f"Bearer {alice}"}, trust_env=False
    )

    assert "alice" in [user["userId"] for user in users.raise_for_status().json()["users"]]
    assert "ROLE must be user, supervisor or admin, not" in project.type("make token USER=alice ROLE=boss", status=2)
    assert "say whose token it is" in project.type("make token", status=2, USER="root")


def test_make_demo_runs_a_proxys_workflow(service: Running, project: Project, documentation: Documentation) -> None:
    output = project.type(documentation.line("make demo"), 0, **PROXIES)

    assert "1 sessions swept" in output
    assert "chat-streaming-expired: 3 credits for 700 tokens" in output
    assert re.search(r"BUDGET_EXCEEDED: \d+ needed, 200 left of member:demo-grace-\w+\n", output)
    assert re.search(r"BUDGET_EXCEEDED: run:demo-\w+\n", output)
    assert "stopped: 32 credits in 2 sessions\n" in output
    assert "968 credits left for the team\n" in output


def test_make_screenshots_takes_small_pictures_of_the_console(
    service: Running, project: Project, documentation: Documentation
) -> None:
    pictures = project.folder / "docs/images"
    before = {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")}
    command = documentation.line("make screenshots")
    try:
        chromium()
    except Missing as missing:
        pytest.skip(f"no Chromium: {missing}")
    project.type(command)
    after = {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")}

    assert before.keys() == after.keys() == {"overview.png", "wallet.png", "prices.png"}
    assert all(after[name] > before[name] for name in before)
    assert sum(path.stat().st_size for path in pictures.iterdir()) < MAX_PICTURES_BYTES


def test_make_prices_shows_the_changes_and_imports_them_if_apply_is_set(
    service: Running, project: Project, documentation: Documentation
) -> None:
    compare = documentation.line(
        'make prices CREDITS_PER_USD=100000 MARKUP="1.2 anthropic=1.3" MODELS="openai/gpt-5* anthropic"'
    )

    shown, imported, again = (project.type(line) for line in (compare, f"{compare} APPLY=1", compare))

    assert "Nothing was changed. APPLY=1 imports this." in shown
    assert re.search(r": [1-9]\d+ added, 0 changed, 0 unchanged\nImported", imported)
    assert re.search(r": 0 added, 0 changed, [1-9]\d+ unchanged\nNothing was changed", again)
    assert "give CREDITS_PER_USD" in project.type("make prices", status=2)


def test_make_example_answers_a_user_who_has_credits(
    service: Running, project: Project, documentation: Documentation
) -> None:
    before = balance(project)["totalCredits"]
    with project.begin(documentation.line("make example"), PORT=free_port(), **PROXIES) as proxy:
        (line,) = proxy.until(r"(curl -N .*?50}')\n").groups()
        output = project.type(f"curl -f --retry 20 --retry-connrefused --retry-delay 1 {line.removeprefix('curl ')}")

    assert '"completion_tokens": 50' in output
    assert balance(project)["totalCredits"] == before - 1


def test_the_example_of_a_litellm_proxy_charges_a_known_user_and_refuses_an_unknown_one(
    service: Running, project: Project, documentation: Documentation
) -> None:
    litellm.install()  # the copy of the project links to this installation
    before = balance(project)["totalCredits"]
    with project.begin(documentation.line("make example NAME=litellm_proxy"), PORT=free_port(), **PROXIES) as proxy:
        (line,) = proxy.until(r"(curl -N .*?]}')\n").groups()
        proxy.until("Application startup complete")
        output = project.type(f"curl -f {line.removeprefix('curl ')}")
        assert '"content":"Air' in output
        nobody = project.type(line.replace('"demo-user"', '"nobody"'))
        assert "RIGHT_MISSING" in nobody
        deadline = time.monotonic() + PATIENCE_SECONDS
        while balance(project)["heldCredits"]:
            assert time.monotonic() < deadline, "the call was never settled"
            time.sleep(0.1)

    assert balance(project)["totalCredits"] == before - 1


def test_the_example_agent_stops_when_its_run_has_too_few_credits_for_a_step(
    service: Running, project: Project, documentation: Documentation
) -> None:
    before = balance(project)["totalCredits"]

    output = project.type(documentation.line("make example NAME=agent"), 0, **PROXIES)

    steps = re.findall(r"^step (\d+): ", output, re.MULTILINE)
    assert "The run has too few credits for a step: 1 left, 2 needed." in output
    spent = before - balance(project)["totalCredits"]
    assert f"{len(steps)} sessions, {spent} of 4 credits, stopped" in output
    assert 1 <= spent == len(steps) <= 4


@pytest.mark.parametrize("program", ["curl", "http"])
def test_the_commands_of_the_examples_work(
    service: Running, project: Project, documentation: Documentation, program: str
) -> None:
    """Run a program's commands in one shell. Each program gets a session and a grant of its own."""
    page = documentation.page("examples/README.md")
    set_up = [line for line in page if line.startswith(("base=", "USER_TOKEN=", "ADMIN_TOKEN="))]
    assert len(set_up) == 3
    lines = [line for line in page if line.startswith(f"{program} ")]
    assert len(lines) == 8
    before = balance(project)["totalCredits"]
    script = "\n".join(
        line.replace("s1", f"s-{program}").replace("g1", f"g-{program}") for line in [*set_up, "set -x", *lines]
    )
    script = re.sub("^http ", "http --ignore-stdin --check-status ", script, flags=re.MULTILINE)
    script = re.sub("^curl ", "curl --fail-with-body ", script, flags=re.MULTILINE)

    project.type(script)

    assert balance(project)["totalCredits"] == before - 5 + 500


def test_the_client_installs_into_a_fresh_environment_and_the_documented_code_works(
    service: Running, project: Project, documentation: Documentation, tmp_path: Path
) -> None:
    project.type(f"{sys.executable} -m venv {tmp_path}/fresh")
    path = f"{tmp_path}/fresh/bin:/usr/bin:/bin"
    project.type(documentation.line("pip install ./client"), PATH=path)
    page, readme = (project.folder / "docs/account-a-stream.md").read_text(), (project.folder / "README.md").read_text()
    (tmp_path / "proxy.py").write_text(lines_of(page) + MODEL)
    (tmp_path / "readme.py").write_text(f"{SETTINGS}{lines_of(readme)}accounting.close()\n")
    exports = re.findall(r"^export ACCOUNTING_.*$", page, re.MULTILINE)
    assert len(exports) == 2
    set_up = "\n".join([*(documentation.line(each) for each in exports), f"cd {tmp_path}"])
    before = balance(project)

    def run(program: str, **environ: str) -> str:
        return project.type(f"{set_up}\npython -W error {program}", 0, PATH=path, **environ)

    assert run(f"proxy.py {token(project)} 400") == "Because." * 4
    assert re.fullmatch(r"\nYou lack \d+ credits.", run(f"proxy.py {token(project)} {10**9}"))
    project.type(documentation.line('pip install "./client[openai]"'), PATH=path)
    shown = lines_of(readme, "text").splitlines()
    with Provider.running() as provider:
        tokens = [int(number) for number in re.findall(r"\d+", shown[1])]
        provider.plans(says=shown[0], words=len(shown[0].split()), input_tokens=tokens[0], output_tokens=tokens[1])
        output = run(f"readme.py {token(project)}", OPENAI_BASE_URL=provider.base_url, OPENAI_API_KEY="none")
    assert [line.rstrip() for line in output.splitlines()[:2]] == shown[:2]
    after = balance(project)
    assert (after["totalCredits"], after["heldCredits"]) == (before["totalCredits"] - 2, before["heldCredits"])
    assert output.splitlines()[2] == f"{after['totalCredits']} credits left"
    assert re.sub(r"\d+", "", output.splitlines()[2]) == re.sub(r"\d+", "", shown[2])
    assert list(tmp_path.glob("fresh/lib/*/site-packages/accounting_client/py.typed"))


def test_the_clients_openai_example_settles_a_stream_in_a_fresh_environment(
    service: Running, project: Project, documentation: Documentation, tmp_path: Path
) -> None:
    project.type(f"{sys.executable} -m venv {tmp_path}/fresh")
    path = f"{tmp_path}/fresh/bin:/usr/bin:/bin"
    project.type(documentation.line('pip install "./client[openai]"'), PATH=path)
    page = (project.folder / "client/README.md").read_text()
    (lines,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "accounted(OpenAI()" in block]
    (tmp_path / "first.py").write_text(lines)
    stack = json.loads((project.folder / ".local/stack.json").read_text())
    before = balance(project)

    with Provider.running() as provider:
        output = project.type(
            f"python {tmp_path}/first.py",
            PATH=path,
            OPENAI_API_KEY="k",
            OPENAI_BASE_URL=provider.base_url,
            ACCOUNTING_URL=stack["baseUrl"],
            ACCOUNTING_TOKEN=token(project),
            ACCOUNTING_SERVICE_KEY=stack["internalApiKey"],
            no_proxy="*",
        )

    assert output.strip() == provider.plan.text.strip()
    after = balance(project)
    assert (after["totalCredits"], after["heldCredits"]) == (before["totalCredits"] - 1, before["heldCredits"])


def lines_of(page: str, language: str = "python") -> str:
    """Return a page's only block in this language."""
    (lines,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return str(lines)
