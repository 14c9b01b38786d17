"""`make run` with its variables, `make stop`, and a start after a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from local import tokens
from tests.documentation.project import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.commands import Documentation
    from tests.documentation.project import Project

SECRET = "a-secret-of-the-sign-in-service-of-48-characters"
VARIABLES = (
    *("PORT=4700", "FRESH=1", "BACKGROUND=1", "JWT_ACCESS_SECRET=…", "SESSION_TIMEOUT_MINUTES=1"),
    "REQUIRE_SERVICE_KEY=true",
)
PATIENCE_SECONDS = 30


def test_each_variable_does_what_getting_started_says(project: Project, documentation: Documentation) -> None:
    """The second start sets all variables except `FRESH`, and must update the deployed service.

    The fixture ``service`` checks `FRESH`.
    """
    for each in VARIABLES:
        documentation.line(f"{each} make run")
    project.type("make run", PORT=free_port(), BACKGROUND="1")
    project.type(documentation.line("make stop"))
    port = free_port()
    settings = {"SESSION_TIMEOUT_MINUTES": "1", "REQUIRE_SERVICE_KEY": "true"}

    output = project.type("make run", 0, PORT=port, BACKGROUND="1", JWT_ACCESS_SECRET=SECRET, **settings)
    try:
        assert "The service runs in the background" in output
        running = json.loads((project.folder / ".local/stack.json").read_text())
        assert (httpx.URL(running["baseUrl"]).port, running["jwtSecret"]) == (int(port), SECRET)
        authorization = {"Authorization": f"Bearer {tokens.mint(SECRET, 'demo-user')}"}
        with httpx.Client(base_url=running["baseUrl"], headers=authorization, trust_env=False, timeout=60) as http:
            kinds_with_reason = [entry["kind"] for entry in _ledger(http) if entry["reason"]]
            session = {"sessionId": "s", "modelId": "m", "estimatedTokens": 1000}
            assert http.post("/api/streaming-sessions/initialize", json=session).status_code == 403
            http.headers["X-Internal-Api-Key"] = running["internalApiKey"]
            opened = http.post("/api/streaming-sessions/initialize", json=session).raise_for_status().json()
        assert kinds_with_reason == ["grant"], "the second start must keep the data and not repeat the grant"
        assert datetime.fromisoformat(opened["expiresAt"]) <= datetime.now(UTC) + timedelta(minutes=1)
        assert "1 sessions swept" in project.type("make demo"), "the demo must send the service key"
        seeded = project.type(documentation.line("make seed"), USERS="500", RECORDS="500")
        intact = re.search(r"(\d+) wallets intact", seeded)
        assert intact, seeded
        assert int(intact[1]) >= 511, "500 users, 10 organizations and the demo user must have wallets"
        assert "stop it with `make stop`" in project.type("make run", status=2, PORT=port)
    finally:
        project.type("make stop")
    assert not (project.folder / ".local/stack.json").exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(running["baseUrl"], trust_env=False)
    for command in ("python3 -m local.bridge 127.0.0.1 4566", "make example", "make token USER=alice"):
        assert "start it with `make run`" in project.type(f"{command} || true")


def _ledger(http: httpx.Client) -> Iterator[dict[str, Any]]:
    """Yield all entries of the demo user's ledger. Earlier tests may have added more than one page of them."""
    page: dict[str, Any] = {"nextCursor": None}
    while "nextCursor" in page:
        cursor = {"cursor": page["nextCursor"]} if page["nextCursor"] else {}
        page = http.get("/api/credits/ledger", params=cursor).raise_for_status().json()
        yield from page["entries"]


def test_an_invalid_value_of_a_variable_is_refused_before_anything_starts(project: Project) -> None:
    output = project.type("make run", status=2, PORT=free_port(), REQUIRE_SERVICE_KEY="yes")

    assert "error: REQUIRE_SERVICE_KEY must be true or false, not yes" in output
    assert "Local AWS" not in output


BROKEN_ENVIRONMENT = {
    "AWS_PROFILE": "nope",
    "AWS_CONFIG_FILE": "/nope/config",
    "AWS_CA_BUNDLE": "/nope/bundle.pem",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1",
    "AWS_RETRY_MODE": "nope",
    "SAM_STACK_NAME": "nope",
    "http_proxy": "http://127.0.0.1:1",
    "no_proxy": "example.com",
}


def test_a_killed_service_continues_from_its_last_save_and_counts_everything_once(project: Project) -> None:
    """Unusable AWS and proxy variables must be ignored.

    The first start must remove other users' access to secrets.
    """
    local = project.folder / ".local"
    (local / "state").mkdir(exist_ok=True)
    opened = local / "state/opened"
    opened.write_text("of an earlier start")
    for path in (local, local / "state", opened):
        path.chmod(0o755)
    start = {"PORT": free_port(), "BACKGROUND": "1", **BROKEN_ENVIRONMENT}

    project.type("make run", 0, **start)
    try:
        assert readable_by_others(project.folder) == []
        user = f"killed-{time.time_ns()}"
        report(attached(project), user, 4)
        assert until(lambda: counted_credits(attached(project), user) == 12)
        report(attached(project), user, 5)
        save = f"{attached(project)['endpointUrl']}/_accounting/save"
        httpx.post(save, trust_env=False, timeout=60).raise_for_status()
        os.killpg(json.loads((local / "running").read_text())["pid"], signal.SIGKILL)

        assert "already there" in project.type("make run", 0, **start)
        report(attached(project), user, 2)
        assert until(lambda: counted_credits(attached(project), user) == 33), counted_credits(attached(project), user)
        assert "1 sessions swept" in project.type("make demo", 0, **BROKEN_ENVIRONMENT)
        assert counted_credits(attached(project), user) == 33
    finally:
        project.type("make stop")


def attached(project: Project) -> dict[str, str]:
    found: dict[str, str] = json.loads((project.folder / ".local/stack.json").read_text())
    return found


def as_user(stack: dict[str, str], user: str, role: str = "user") -> httpx.Client:
    authorization = {"Authorization": f"Bearer {tokens.mint(stack['jwtSecret'], user, role)}"}
    return httpx.Client(base_url=stack["baseUrl"], headers=authorization, trust_env=False, timeout=60)


def report(stack: dict[str, str], user: str, records: int) -> None:
    """Send this number of usage records, each of 3 credits."""
    with as_user(stack, user) as http:
        for _ in range(records):
            usage = {"service": "s", "operation": "o", "credits": 3}
            http.post("/api/usage/record", json=usage).raise_for_status()


def counted_credits(stack: dict[str, str], user: str) -> int:
    """Return the credits of a user in the system's statistics."""
    with as_user(stack, "demo-admin", "admin") as http:
        answer = http.get("/api/usage/system-stats", params={"top": 1000}).raise_for_status().json()
    return int(answer["byUser"].get(user, 0))


def until(wanted: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def readable_by_others(folder: Path) -> list[Path]:
    """Return the files and folders that contain secrets but give other users access."""
    local = folder / ".local"
    secret = [local / name for name in ("state", "scratch")]
    secret += [path for each in secret for path in each.rglob("*")]
    secret += [local, local / "jwt-secret", local / "stack.json", local / "running"]
    return [path for path in secret if not path.is_symlink() and _mode(path) & 0o077]


def _mode(path: Path) -> int:
    """Return the mode of a file, or 0 if the file is gone: the running service removes old saves."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0
