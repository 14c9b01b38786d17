"""`make token` prints a token that the running service accepts, or explains why it prints no token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest

from accounting.domain import users
from local import run, tokens
from local.stack import Stack
from local.steps import Refused

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "a-secret-of-the-sign-in-service-of-48-characters"


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[httpx.Response]:
    """Replace the service: each request gets an answer from the returned list. At first, the list has one success."""
    answers: list[httpx.Response] = [httpx.Response(200)]
    stack_json = tmp_path / "stack.json"
    stack_json.write_text(json.dumps({"baseUrl": "http://127.0.0.1:1/v1", "jwtSecret": SECRET}))
    monkeypatch.setattr(tokens, "STACK_JSON", stack_json)

    def get(url: str, headers: dict[str, str], **_: Any) -> httpx.Response:
        assert url == "http://127.0.0.1:1/v1/api/credits/balance"
        assert jwt.decode(headers["Authorization"].removeprefix("Bearer "), SECRET, ["HS256"])["type"] == "access"
        return answers.pop()

    monkeypatch.setattr(httpx, "get", get)
    return answers


def test_a_token_names_its_user_and_role(
    running: list[httpx.Response], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USER", "alice")
    monkeypatch.setenv("ROLE", "admin")

    assert tokens.main() == 0

    claims = jwt.decode(capsys.readouterr().out.strip(), SECRET, ["HS256"])
    assert (claims["sub"], claims["role"]) == ("alice", "admin")


@pytest.mark.parametrize("role", [None, "", "user"])
def test_the_default_role_of_a_token_is_user(
    running: list[httpx.Response],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    role: str | None,
) -> None:
    monkeypatch.setenv("USER", "alice")
    monkeypatch.delenv("ROLE", raising=False)
    if role is not None:
        monkeypatch.setenv("ROLE", role)

    assert tokens.main() == 0

    assert jwt.decode(capsys.readouterr().out.strip(), SECRET, ["HS256"])["role"] == "user"


def test_make_token_knows_the_same_roles_as_the_service() -> None:
    assert tokens.ROLES == users.ROLES


def test_a_missing_or_wrong_variable_and_a_refused_token_are_explained(running: list[httpx.Response]) -> None:
    with pytest.raises(Refused, match="say whose token it is: `make token USER=alice`"):
        tokens.accepted_token("", "user")
    with pytest.raises(Refused, match="ROLE must be user, supervisor or admin, not boss"):
        tokens.accepted_token("alice", "boss")
    # The service refuses a token of the user "all", because no user may have this id.
    running[:] = [httpx.Response(401, text='{"code": "TOKEN_INVALID"}')]
    with pytest.raises(Refused, match="does not accept a token of all: 401"):
        tokens.accepted_token("all", "user")


def test_make_token_says_if_the_service_is_not_running(
    running: list[httpx.Response], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def get(*_: Any, **__: Any) -> httpx.Response:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(httpx, "get", get)
    with pytest.raises(Refused, match="does not answer"):
        tokens.accepted_token("alice", "user")
    monkeypatch.setattr(tokens, "STACK_JSON", tmp_path / "none")
    with pytest.raises(Refused, match="the service is not running: start it with `make run`"):
        tokens.accepted_token("alice", "user")


def test_make_run_prints_at_most_ten_lines_and_no_secret() -> None:
    stack = Stack(aws=None, base_url="http://127.0.0.1:1/v1", jwt_secret=SECRET, internal_api_key="k", table_name="t")  # type: ignore[arg-type]

    printed = [*run.introduction(stack).splitlines(), "Ctrl-C stops the service."]

    assert len([line for line in printed if line]) <= 10
    assert SECRET not in "\n".join(printed)
