"""What the environment says to `make run`, and how what runs in the background is stopped."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from local import tokens
from tests.documentation.project import free_port

if TYPE_CHECKING:
    from tests.commands import Documentation
    from tests.documentation.project import Project

SECRET = "a-secret-of-the-sign-in-service-of-48-characters"
VARIABLES = ("PORT=4700", "FRESH=1", "BACKGROUND=1", "JWT_ACCESS_SECRET=…", "SESSION_TIMEOUT_MINUTES=1")


def test_each_variable_does_what_the_readme_says(project: Project, documentation: Documentation) -> None:
    """Set at a second start, which has to bring what is deployed and kept up to date; all but `FRESH` at once."""
    for each in VARIABLES:
        documentation.line(f"{each} make run")
    project.type("make run", PORT=free_port(), BACKGROUND="1")
    project.type(documentation.line("make stop"))
    port = free_port()

    said = project.type("make run", PORT=port, BACKGROUND="1", JWT_ACCESS_SECRET=SECRET, SESSION_TIMEOUT_MINUTES="1")
    try:
        assert "It runs in the background" in said
        running = json.loads((project.folder / ".local/stack.json").read_text())
        assert (httpx.URL(running["baseUrl"]).port, running["jwtSecret"]) == (int(port), SECRET)
        authorization = {"Authorization": f"Bearer {tokens.mint(SECRET, 'demo-user')}"}
        with httpx.Client(base_url=running["baseUrl"], headers=authorization, trust_env=False, timeout=60) as http:
            ledger = http.get("/api/credits/ledger").raise_for_status().json()["entries"]
            session = {"sessionId": "s", "modelId": "m", "estimatedTokens": 1000}
            begun = http.post("/api/streaming-sessions/initialize", json=session).raise_for_status().json()
        assert [entry["kind"] for entry in ledger if entry["reason"]] == ["grant"]
        assert datetime.fromisoformat(begun["expiresAt"]) <= datetime.now(UTC) + timedelta(minutes=1)
        assert "stop it with `make stop`" in project.type("make run", status=2, PORT=port)
    finally:
        project.type("make stop")
    assert not (project.folder / ".local/stack.json").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(running["baseUrl"], trust_env=False)
    for second_terminal in ("python3 -m local.bridge 127.0.0.1 4566", "make example"):
        assert "start it with `make run`" in project.type(f"{second_terminal} || true")
