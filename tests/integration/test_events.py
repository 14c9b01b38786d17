"""The sample events, run by the real handlers: the same files that `sam local invoke` takes."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jwt
import pytest

from accounting import secrets
from local.emulator import Emulator
from tests.template import resources

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"
EXAMPLE_SECRET = "an-example-secret-of-at-least-32-bytes"  # the one that events/README.md names

# In the order in which they make sense, with what each answers for a user with 1,000 credits.
STEPS: list[tuple[str, int, dict[str, Any]]] = [
    ("health/health", 200, {"status": "ok"}),
    ("health/api-health", 200, {"status": "ok"}),
    ("credits/allocate", 201, {"credits": 1000, "totalCredits": 1000}),
    ("credits/balance", 200, {"totalCredits": 1000, "heldCredits": 0}),
    ("credits/balance-of", 200, {"userId": "demo-user", "totalCredits": 1000}),
    ("credits/check", 200, {"sufficient": True}),
    ("credits/calculate", 200, {"credits": 1, "pricePerThousandTokens": 0.25}),
    ("credits/set", 200, {"totalCredits": 500, "previousCredits": 1000}),
    ("credits/remove", 200, {"removedCredits": 20, "totalCredits": 480}),
    ("credits/adjust", 200, {"adjustment": -30, "totalCredits": 450}),
    ("credits/allocations", 200, {"total": 1}),
    ("credits/allocations-of", 200, {"total": 1}),
    ("streaming_sessions/initialize", 201, {"allocatedCredits": 18, "estimatedCredits": 15}),
    ("streaming_sessions/heartbeat", 200, {"tokensGenerated": 1200}),
    ("streaming_sessions/finalize", 200, {"status": "completed", "actualCredits": 12, "refund": 6}),
    ("streaming_sessions/abort", 404, {"code": "SESSION_NOT_ACTIVE"}),
    ("credits/ledger", 200, {}),
    ("credits/ledger-of", 200, {}),
]
LISTS = {
    "streaming_sessions/active": 0,
    "streaming_sessions/active-of": 0,
    "streaming_sessions/active-all": 0,
    "streaming_sessions/recent": 1,
    "streaming_sessions/recent-of": 1,
}
CONTEXT = SimpleNamespace(
    function_name="sample",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:sample",
    aws_request_id="sample",
)


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return loaded


def app(group: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"functions.{group}.app", ROOT / f"functions/{group}/app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str) -> tuple[int, Any]:
    answer = app(name.partition("/")[0]).handler(event(name), CONTEXT)
    return answer["statusCode"], json.loads(answer["body"])


def test_each_sample_is_answered_as_its_route_should(user: Callable[..., str]) -> None:
    user("demo-user")
    for name, status, fields in STEPS:
        answered, body = run(name)
        assert (answered, {key: body.get(key) for key in fields}) == (status, fields), name
    for name, length in LISTS.items():
        answered, body = run(name)
        assert (answered, len(body)) == (200, length), name


def test_the_sample_token_is_let_in(aws: Emulator, monkeypatch: pytest.MonkeyPatch, table_name: str) -> None:
    secret = json.dumps({"current": EXAMPLE_SECRET, "previous": ""})
    aws.client("secretsmanager").create_secret(Name=table_name, SecretString=secret)
    monkeypatch.setenv("JWT_SECRET_ID", table_name)
    secrets._provider.cache_clear()
    answer = app("authorizer").handler(event("authorizer/token"), CONTEXT)
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert answer["context"]["userId"] == "demo-user"
    secrets._provider.cache_clear()


def test_the_sample_token_is_signed_with_the_secret_that_the_page_names() -> None:
    token = event("authorizer/token")["authorizationToken"].removeprefix("Bearer ")
    assert jwt.decode(token, EXAMPLE_SECRET, algorithms=["HS256"])["sub"] == "demo-user"
    assert EXAMPLE_SECRET in (EVENTS / "README.md").read_text()


def test_every_route_has_a_sample_and_every_sample_a_route() -> None:
    routes = {
        (route["Properties"]["Method"].upper(), route["Properties"]["Path"])
        for function in resources("AWS::Serverless::Function").values()
        for route in function["Properties"].get("Events", {}).values()
        if route["Type"] == "Api"
    }
    samples = {
        (sample["httpMethod"], sample["resource"])
        for file in EVENTS.glob("*/*.json")
        if "httpMethod" in (sample := json.loads(file.read_text()))
    }
    assert samples == routes
