"""The real handlers answer the sample events, which are the files for `sam local invoke`."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import jwt
import pytest

from accounting import secrets, telemetry
from accounting.operations import system_usage
from local.emulator import Emulator
from tests.contract.test_routes import functions
from tests.metrics import Counted
from tests.template import resources

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"
EXAMPLE_SECRET = "an-example-secret-of-at-least-32-bytes"  # the one that events/README.md names

# Each sample, and the status and fields of its answer. Later answers depend on the earlier samples.
STEPS: list[tuple[str, int, dict[str, Any]]] = [
    ("health/health", 200, {"status": "ok"}),
    ("health/api-health", 200, {"status": "ok"}),
    ("docs/document", 200, {"openapi": "3.1.0"}),
    ("credits/allocate", 201, {"credits": 1000, "totalCredits": 1000}),
    ("credits/balance", 200, {"totalCredits": 1000, "heldCredits": 0}),
    ("credits/balance-of", 200, {"userId": "demo-user", "totalCredits": 1000}),
    ("credits/check", 200, {"sufficient": True}),
    ("credits/calculate", 200, {"credits": 1, "pricePerThousandTokens": 0.25}),
    ("credits/calculate-usage", 200, {"credits": 2, "tokens": 4500}),
    ("credits/set", 200, {"totalCredits": 500, "previousCredits": 1000}),
    ("credits/remove", 200, {"removedCredits": 20, "totalCredits": 480}),
    ("credits/adjust", 200, {"adjustment": -30, "totalCredits": 450}),
    ("ledger/allocations", 200, {"total": 1}),
    ("ledger/allocations-of", 200, {"total": 1}),
    ("streaming_sessions/preview", 200, {"passes": True, "estimatedCredits": 15, "requiredCredits": 18}),
    ("streaming_sessions/initialize", 201, {"allocatedCredits": 18, "estimatedCredits": 15}),
    ("streaming_sessions/heartbeat", 200, {"tokensGenerated": 1200}),
    ("streaming_sessions/finalize", 200, {"status": "completed", "actualCredits": 12, "refund": 6}),
    ("streaming_sessions/abort", 404, {"code": "SESSION_NOT_ACTIVE"}),
    ("streaming_sessions/end", 404, {"code": "SESSION_NOT_ACTIVE"}),
    ("ledger/ledger", 200, {}),
    ("ledger/ledger-of", 200, {}),
    ("ledger/outstanding", 200, {"asOf": None, "accounts": 0}),
    ("usage/record", 201, {"credits": 5, "deducted": True}),
    ("usage/stats", 200, {"totalRecords": 2, "totalCredits": 17}),
    ("usage/stats-of", 200, {"byService": {"chat-streaming": 12, "image-generation": 5}}),
    ("usage/system-stats", 200, {"truncated": False}),
    ("usage/system", 200, {"truncated": False}),
    ("budgets/set", 200, {"subject": "member:demo-user", "limitCredits": 500, "committedCredits": 0}),
    ("budgets/list", 200, {}),
    ("budgets/begin-run", 201, {"runId": "demo-run", "status": "active"}),
    ("budgets/show-run", 200, {"remainingCredits": 50, "byModel": {}, "metadata": {"task": "translate"}}),
    ("budgets/stop-run", 200, {"status": "stopped"}),
    ("budgets/delete", 200, {}),
    ("users/me", 200, {"userId": "demo-user"}),
    ("users/user-of", 200, {"userId": "demo-user"}),
    ("users/list", 200, {"total": 1}),
    ("users/disable", 200, {"userId": "demo-user", "disabled": True, "disabledReason": "Left the company"}),
    ("users/enable", 200, {"userId": "demo-user", "disabled": False}),
    ("users/sync", 201, {"userId": "new-user", "created": True}),
    ("users/erase", 202, {"userId": "new-user"}),
    ("api_keys/create", 201, {"name": "Nightly job"}),
    ("api_keys/change", 404, {"code": "API_KEY_NOT_FOUND"}),
    ("api_keys/revoke", 404, {"code": "API_KEY_NOT_FOUND"}),
    ("api_keys/delete", 404, {"code": "API_KEY_NOT_FOUND"}),
    ("api_keys/validate", 401, {"valid": False, "code": "NOT_FOUND"}),
    ("organizations/create", 201, {"name": "Acme", "members": 1}),
    ("organizations/list", 200, {}),
    ("organizations/get", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("organizations/rename", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("organizations/close", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("organizations/members", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("organizations/set-member", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("organizations/remove-member", 404, {"code": "ACCOUNT_NOT_FOUND"}),
    ("service_credentials/create", 201, {"name": "Chat proxy", "rights": ["sessions", "read", "users:sync"]}),
    ("service_credentials/list", 200, {}),
    ("service_credentials/change", 404, {"code": "SERVICE_CREDENTIAL_NOT_FOUND"}),
    ("service_credentials/rotate", 404, {"code": "SERVICE_CREDENTIAL_NOT_FOUND"}),
    ("service_credentials/delete", 404, {"code": "SERVICE_CREDENTIAL_NOT_FOUND"}),
    ("pricing/add", 201, {"modelId": "sample-model", "pricePerThousandTokens": 0.0175}),
    ("pricing/import", 200, {"changed": [], "unchanged": ["sample-model"], "problems": []}),
    ("pricing/list", 200, {"defaultPrice": 1}),
    ("pricing/price-of", 200, {"pricePerThousandTokens": 0.8}),
    ("pricing/end", 200, {"effectiveTo": "2026-02-01T00:00:00.000Z"}),
    ("pricing/withdraw", 404, {"code": "PRICE_NOT_FOUND"}),
]
LISTS = {
    "api_keys/list": 1,
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
    get_remaining_time_in_millis=lambda: 900_000,
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


def send_sample(name: str) -> tuple[int, Any]:
    answer = app(name.partition("/")[0]).handler(event(name), CONTEXT)
    return answer["statusCode"], json.loads(answer["body"])


def test_samples_get_the_expected_answers(user: Callable[..., str]) -> None:
    user("demo-user")
    for name, status, fields in STEPS:
        answered, body = send_sample(name)
        assert (answered, {key: body.get(key) for key in fields}) == (status, fields), name
    for name, length in LISTS.items():
        answered, body = send_sample(name)
        assert (answered, len(body)) == (200, length), name


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("page", "<!doctype html>"),
        ("asset", ".swagger-ui"),
        ("console", "<!doctype html>"),
    ],
)
def test_the_sample_events_of_pages_and_assets_return_their_content(name: str, beginning: str) -> None:
    answer = app("docs").handler(event(f"docs/{name}"), CONTEXT)
    assert (answer["statusCode"], answer["body"][: len(beginning)]) == (200, beginning)


WITH_HEAD = ["health/health", "health/api-health", "docs/document", "docs/page", "docs/asset", "docs/console"]


@pytest.mark.parametrize("name", WITH_HEAD)
def test_head_is_answered_like_get_but_without_a_body(name: str) -> None:
    handler = app(name.partition("/")[0]).handler
    whole, head = handler(event(name), CONTEXT), handler(event(f"{name}-head"), CONTEXT)

    assert whole["body"]
    length = {"Content-Length": str(len(whole["body"].encode()))}
    assert head == {**whole, "headers": {**whole["headers"], **length}, "body": ""}


def test_a_removal_with_fields_in_both_body_and_query_is_refused(user: Callable[..., str]) -> None:
    user("demo-user", credits_granted=50)
    sample = event("credits/remove")
    for query in ({"userId": "demo-user", "credits": "5"}, {"notes": "x"}):
        both = {**sample, "queryStringParameters": query}
        both["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        answer = app("credits").handler(both, CONTEXT)

        assert answer["statusCode"] == 400
        assert json.loads(answer["body"])["details"]["errors"][0]["field"] == next(iter(query))
    assert send_sample("credits/balance-of")[1]["totalCredits"] == 50


def test_the_sample_schedule_and_stream_events_are_accepted() -> None:
    assert app("sweeper").handler(event("sweeper/schedule"), CONTEXT)["complete"] is True
    assert app("auditor").handler(event("auditor/schedule"), CONTEXT)["complete"] is True
    assert app("rollups").handler(event("rollups/stream"), CONTEXT) == {"batchItemFailures": []}


def test_records_that_cannot_be_counted_are_reported_to_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_records: object) -> None:
        raise RuntimeError("the table is unavailable")

    monkeypatch.setattr(system_usage, "count", failing)

    answer = app("rollups").handler(event("rollups/stream"), CONTEXT)

    assert answer == {"batchItemFailures": [{"itemIdentifier": "111"}]}


class Flushed(Counted):
    """Metrics that remember what each flush wrote."""

    metric_set: ClassVar[dict[str, Any]] = {"any": {}}

    def __init__(self) -> None:
        super().__init__()
        self.written: list[dict[str, int]] = []

    def flush_metrics(self) -> None:
        self.written.append(dict(self.counts))


def test_a_record_that_cannot_be_read_fails_its_batch_and_is_counted_as_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = Flushed()
    monkeypatch.setattr(telemetry, "metrics", metrics)
    batch = event("rollups/stream")
    del batch["Records"][-1]["dynamodb"]["NewImage"]["service"]

    with pytest.raises(KeyError, match="service"):
        app("rollups").handler(batch, CONTEXT)

    assert metrics.written == [{"RollupFailures": 1}]


@pytest.mark.parametrize(("stored", "effect"), [("an-example-internal-key", "Allow"), ("another", "Deny")])
def test_the_sample_internal_key_is_accepted_only_if_it_is_the_stored_key(
    monkeypatch: pytest.MonkeyPatch, stored: str, effect: str
) -> None:
    monkeypatch.setattr(secrets, "_read", lambda _name, *, refresh: stored)
    monkeypatch.setenv("INTERNAL_API_KEY_ID", "internal")

    answer = app("internal_authorizer").handler(event("internal_authorizer/key"), CONTEXT)

    assert answer["policyDocument"]["Statement"][0]["Effect"] == effect


def test_the_sample_token_is_accepted(aws: Emulator, monkeypatch: pytest.MonkeyPatch, table_name: str) -> None:
    secret = json.dumps({"current": EXAMPLE_SECRET, "previous": ""})
    aws.client("secretsmanager").create_secret(Name=table_name, SecretString=secret)
    monkeypatch.setenv("JWT_SECRET_ID", table_name)
    secrets._provider.cache_clear()
    answer = app("authorizer").handler(event("authorizer/token"), CONTEXT)
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert answer["context"]["userId"] == "demo-user"
    secrets._provider.cache_clear()


def test_the_sample_token_is_signed_with_the_secret_that_the_readme_names() -> None:
    token = event("authorizer/token")["authorizationToken"].removeprefix("Bearer ")
    assert jwt.decode(token, EXAMPLE_SECRET, algorithms=["HS256"])["sub"] == "demo-user"
    assert EXAMPLE_SECRET in (EVENTS / "README.md").read_text()


def test_every_route_has_a_sample_and_every_sample_has_a_route() -> None:
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


def test_the_settings_for_sam_local_have_one_variable_that_the_template_does_not_declare() -> None:
    """SAM drops undeclared variables. So ``events/README.md`` shows how to declare ``AWS_ENDPOINT_URL``."""
    declared = {name for function in functions().values() for name in function["Environment"]["Variables"]}
    settings = json.loads((EVENTS / "sam-local-env.json").read_text())["Parameters"]
    assert settings.keys() - declared == {"AWS_ENDPOINT_URL"}
    assert "AWS_ENDPOINT_URL" in (EVENTS / "README.md").read_text()
