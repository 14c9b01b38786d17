"""What the documentation has people type, typed: the demo, and the lines of examples/README.md."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from local import demo
from local.paths import BIN, ROOT
from tests.e2e.client import Person

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint

LINES = re.findall(r"^\| [a-z]+ \| `(curl .*?)` \| `(http .*?)` \|$", (ROOT / "examples/README.md").read_text(), re.M)


def test_the_demo_comes_to_its_end(
    service: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = tmp_path / "stack.json"
    running.write_text(service.as_json())
    monkeypatch.setattr(demo, "STACK_JSON", running)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    assert demo.main() == 0

    said = capsys.readouterr().out
    assert "1 sessions swept" in said
    assert "chat-streaming-expired: 3 credits for 700 tokens" in said


@pytest.mark.parametrize("column", [0, 1], ids=["curl", "httpie"])
def test_the_lines_to_type_do_what_they_are_for(
    service: Stack, http: httpx.Client, token: Mint, admin: Person, column: int
) -> None:
    """A user known as the lines have it, with credits; a session's id is used by each column once."""
    assert len(LINES) == 8
    user = Person(http, "demo-user", token("demo-user"))
    user.balance()
    admin.ok("POST", "credits/set", {"userId": user.id, "credits": 100})
    environ = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "NO_PROXY": "127.0.0.1",
        "base": service.base_url,
        "USER_TOKEN": user.token,
        "ADMIN_TOKEN": admin.token,
    }
    for line in (pair[column] for pair in LINES):
        typed = line.replace("s1", f"s{column}").replace("g1", f"g{column}")
        typed = re.sub("^http ", "http --ignore-stdin --check-status ", typed)
        typed = re.sub("^curl ", "curl --fail-with-body ", typed)
        done = subprocess.run(["bash", "-c", typed], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert user.balance()["totalCredits"] == 100 - 5 + 500
