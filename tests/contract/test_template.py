"""The template's promises about every function, the table and the gateway's own answers."""

import ast
import copy
import json
import re
from itertools import zip_longest
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samtranslator.translator.transform import transform

from accounting.settings import Settings, settings
from accounting.store import keys
from accounting.web import headers
from accounting.web.api import STATUSES
from accounting.web.idempotency import HEADER as IDEMPOTENCY_KEY
from accounting.web.on_behalf import HEADER as ON_BEHALF_OF
from local.build import deployment_id
from local.paths import DOCUMENT, ROOT
from tests.contract.test_routes import functions
from tests.reach import function_names, nodes, reach
from tests.template import resources, template

GATEWAY_LIMIT_SECONDS = 29


def properties(kind: str) -> dict[str, Any]:
    (only,) = resources(kind).values()
    found: dict[str, Any] = only["Properties"]
    return found


NOBODY_WAITS_FOR = ("rollups", "sweeper", "auditor")
SNAPSHOTS = ("authorizer", "credits", "streaming_sessions")
"""The functions that a stream waits for. Only they use SnapStart, because a snapshot costs about 2 USD a month."""


@pytest.mark.parametrize("function", function_names())
def test_a_function_has_the_properties_that_the_design_requires(function: str) -> None:
    found = functions()[function]

    assert (found["Runtime"], found["Handler"]) == ("python3.13", "app.handler")
    assert found["Architectures"] == [{"Ref": "Architecture"}]
    assert found["Timeout"] < GATEWAY_LIMIT_SECONDS or function in NOBODY_WAITS_FOR
    assert found["Layers"] == [{"Ref": "SharedLayer"}]
    assert found["Tracing"] == "Active"
    assert found.get("SnapStart") == ({"ApplyOn": "PublishedVersions"} if function in SNAPSHOTS else None)
    assert found["AutoPublishAlias"], "SnapStart works on published versions only"
    assert found["Description"]


IMMUTABLE = ("AWS::Lambda::Version", "AWS::ApiGateway::Deployment")
"""Types of resources that AWS never updates. For a change, SAM makes a new resource with a new name."""


def deployed(monkeypatch: pytest.MonkeyPatch, at: int, **parameters: str) -> dict[str, set[str]]:
    """The names of the immutable resources, by type, that SAM makes from the template at the time ``at``."""
    monkeypatch.setattr("time.time", lambda: at)
    found = transformed(monkeypatch, **parameters)
    return {kind: {name for name, each in found.items() if each["Type"] == kind} for kind in IMMUTABLE}


def transformed(monkeypatch: pytest.MonkeyPatch, **parameters: str) -> dict[str, Any]:
    """The resources that SAM makes from the template."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    packaged = copy.deepcopy(template())
    for resource in packaged["Resources"].values():
        for uri in {"CodeUri", "ContentUri"} & resource["Properties"].keys():
            resource["Properties"][uri] = "s3://bucket/package"
    found: dict[str, Any] = transform(packaged, parameters, SimpleNamespace(load=dict))["Resources"]
    return found


def test_only_a_changed_build_id_publishes_new_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = (
        deployed(monkeypatch, at, BuildId=build) for at, build in enumerate(("a" * 16, "a" * 16, "b" * 16))
    )
    versions, deployment = IMMUTABLE

    assert first[versions] == again[versions]
    assert len(first[versions]) == len(other[versions]) == len(function_names())
    assert not first[versions] & other[versions]
    assert len(first[deployment]) == len(other[deployment]) == 1
    assert first[deployment] != other[deployment]


def test_different_sources_or_settings_get_different_build_ids() -> None:
    build_ids = {
        deployment_id(*arguments)
        for arguments in (("s1", []), ("s2", []), ("s1", ["LogLevel=DEBUG"]), ("s1", ["LogLevel=INFO", "StageName=v1"]))
    }

    assert len(build_ids) == 4
    assert deployment_id("s1", ["StageName=v1", "LogLevel=INFO"]) in build_ids
    assert all(re.fullmatch(template()["Parameters"]["BuildId"]["AllowedPattern"], each) for each in build_ids)


@pytest.mark.parametrize("function", function_names())
def test_each_function_has_its_own_logs_with_a_retention(function: str) -> None:
    group = functions()[function]["LoggingConfig"]["LogGroup"]["Ref"]
    logs = resources("AWS::Logs::LogGroup")[group]

    assert logs["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert logs["Properties"]["LogGroupName"] == {
        "Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{function.replace('_', '-')}"
    }


def test_lambda_itself_logs_only_warnings_and_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [each for each in transformed(monkeypatch).values() if each["Type"] == "AWS::Lambda::Function"]
    assert len(made) == len(function_names())

    for found in (each["Properties"]["LoggingConfig"] for each in made):
        assert (found["LogFormat"], found["SystemLogLevel"]) == ("JSON", "WARN")
        assert found["ApplicationLogLevel"] == {"Fn::If": ["LogsDebug", "DEBUG", "INFO"]}, (
            "Lambda treats metrics as INFO, so a higher level would drop them"
        )
        assert found["LogGroup"]["Ref"].endswith("Logs")


def test_no_log_group_is_shared() -> None:
    groups = [functions()[function]["LoggingConfig"]["LogGroup"]["Ref"] for function in function_names()]

    assert len(set(groups)) == len(groups)


SETTINGS = {
    "table_name": "TABLE_NAME",
    "session_timeout": "SESSION_TIMEOUT_MINUTES",
    "session_max_life": "SESSION_MAX_HOURS",
    "hold_buffer_percent": "HOLD_BUFFER_PERCENT",
    "sweep_charges_estimate": "SWEEP_CHARGES",
    "refuse_unknown_models": "UNKNOWN_MODELS",
    "reduce_short_holds": "HOLD_BUFFER_WHEN_SHORT",
    "refund_grace": "REFUND_GRACE_HOURS",
    "session_retention": "SESSION_RETENTION_DAYS",
    "usage_retention": "USAGE_RETENTION_DAYS",
    "usage_record_deducts": "USAGE_RECORD_DEDUCTS",
    "full_audit": "FULL_AUDIT_DAYS",
    "require_service_key": "REQUIRE_SERVICE_KEY",
}


def test_every_setting_is_listed_above() -> None:
    assert set(SETTINGS) == set(Settings._fields)


@pytest.mark.parametrize("function", function_names())
def test_a_function_has_the_settings_that_it_uses(function: str) -> None:
    used = {
        node.attr
        for node in nodes(reach(function))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings()"
    }
    variables = functions()[function]["Environment"]["Variables"]

    assert {SETTINGS[name] for name in used} <= set(variables)


def test_the_defaults_of_code_and_template_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = template()["Parameters"]
    monkeypatch.setenv("TABLE_NAME", "t")
    for name in SETTINGS.values():
        if name != "TABLE_NAME":
            monkeypatch.delenv(name, raising=False)
    by_default = settings.__wrapped__()
    for name in SETTINGS.values():
        if name != "TABLE_NAME":
            camel = "".join(part.capitalize() for part in name.split("_"))
            monkeypatch.setenv(name, str(parameters[camel]["Default"]))

    assert settings.__wrapped__() == by_default


def test_every_parameter_has_a_description_and_a_default() -> None:
    for name, parameter in template()["Parameters"].items():
        assert parameter["Description"], name
        assert "Default" in parameter, name


def test_the_table_has_backups_encryption_and_a_stream_and_outlives_the_stack() -> None:
    (table,) = resources("AWS::DynamoDB::Table").values()
    found = table["Properties"]

    assert found["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert found["DeletionProtectionEnabled"] == {"Ref": "TableDeletionProtection"}
    assert found["SSESpecification"]["SSEEnabled"] is True
    assert found["SSESpecification"]["KMSMasterKeyId"] == {
        "Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]
    }
    assert found["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert found["BillingMode"] == "PAY_PER_REQUEST"
    assert found["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_indexes_match_those_of_the_store() -> None:
    found = {
        index["IndexName"]: tuple(key["AttributeName"] for key in index["KeySchema"])
        for index in properties("AWS::DynamoDB::Table")["GlobalSecondaryIndexes"]
    }

    assert found == keys.INDEX_KEYS


def test_the_authorizer_is_the_default_and_its_answers_are_cached_for_five_minutes() -> None:
    auth = properties("AWS::Serverless::Api")["Auth"]
    authorizer = auth["Authorizers"][auth["DefaultAuthorizer"]]

    assert authorizer["Identity"] == {"Header": "Authorization", "ReauthorizeEvery": 300}
    assert authorizer["FunctionArn"] == {"Ref": "AuthorizerFunction.Alias"}


def gateway_answers() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = properties("AWS::Serverless::Api")["GatewayResponses"]
    return found


@pytest.mark.parametrize("kind", gateway_answers())
def test_the_gateways_own_answers_have_the_common_error_shape(kind: str) -> None:
    (content_type,) = gateway_answers()[kind]["ResponseTemplates"]
    text = gateway_answers()[kind]["ResponseTemplates"][content_type]
    # $context.error.messageString brings its own quotes.
    body = json.loads(re.sub(r":\$context\.error\.messageString", ':"text"', text))

    assert content_type == "application/json"
    assert list(body) == ["message", "code", "details", "requestId"]
    assert body["details"] == {}
    assert body["requestId"] == "$context.requestId"
    assert '"$context.error.messageString"' not in text, "quoted twice"


@pytest.mark.parametrize("kind", gateway_answers())
def test_an_error_code_has_the_same_status_from_the_gateway_and_from_the_functions(kind: str) -> None:
    text = next(iter(gateway_answers()[kind]["ResponseTemplates"].values()))
    (code,) = re.findall(r'"code":"([^"]+)"', text)

    status = gateway_answers()[kind].get("StatusCode")
    assert status == STATUSES.get(code, status) or (kind, status) == ("UNSUPPORTED_MEDIA_TYPE", 415)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("UNAUTHORIZED", 401, "TOKEN_REQUIRED"),
        ("ACCESS_DENIED", 401, "$context.authorizer.code"),
        ("AUTHORIZER_FAILURE", 503, "UNAVAILABLE"),
        ("AUTHORIZER_CONFIGURATION_ERROR", 503, "UNAVAILABLE"),
        ("MISSING_AUTHENTICATION_TOKEN", 404, "ROUTE_NOT_FOUND"),
        ("REQUEST_TOO_LARGE", 413, "PAYLOAD_TOO_LARGE"),
        ("THROTTLED", 429, "RATE_LIMITED"),
        ("DEFAULT_5XX", 500, "INTERNAL_ERROR"),
    ],
)
def test_the_gateways_refusals_follow_the_contract(kind: str, status: int, code: str) -> None:
    text = gateway_answers()[kind]["ResponseTemplates"]["application/json"]

    assert gateway_answers()[kind]["StatusCode"] == status
    assert f'"code":"{code}"' in text


def test_the_gateway_has_default_responses_for_client_and_server_errors() -> None:
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= set(gateway_answers())


def test_a_temporary_refusal_has_retry_after_and_a_401_has_www_authenticate() -> None:
    for kind, answer in gateway_answers().items():
        if answer.get("StatusCode") in (429, 503):
            assert answer["ResponseParameters"]["Headers"]["Retry-After"] == "'1'", kind
        if answer.get("StatusCode") == 401:
            assert answer["ResponseParameters"]["Headers"]["WWW-Authenticate"] == "'Bearer'", kind


@pytest.mark.parametrize("kind", gateway_answers())
def test_the_gateways_own_answers_have_the_headers_of_every_answer(kind: str) -> None:
    sent = gateway_answers()[kind]["ResponseParameters"]["Headers"]

    assert {name: f"'{value}'" for name, value in headers.SECURITY_HEADERS.items()}.items() <= sent.items()
    assert sent["Access-Control-Allow-Origin"] == only_with_an_origin({"Fn::Sub": "'${CorsAllowOrigin}'"})
    assert sent["Access-Control-Expose-Headers"] == only_with_an_origin(f"'{headers.EXPOSED}'")


def test_the_preflight_of_every_path_has_only_the_headers_that_sam_can_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Security headers are not among them; docs/security.md explains why."""
    paths = transformed(monkeypatch)["Api"]["Properties"]["Body"]["paths"]
    preflights = [path["options"]["x-amazon-apigateway-integration"]["responses"]["default"] for path in paths.values()]
    sent = {frozenset(each["responseParameters"]) for each in preflights}

    named = ("Allow-Headers", "Allow-Methods", "Allow-Origin", "Max-Age")
    assert sent == {frozenset(f"method.response.header.Access-Control-{name}" for name in named)}
    assert len(preflights) > 30
    page = " ".join((Path(__file__).parents[2] / "docs/security.md").read_text().split())
    assert f"`{'`, `'.join(headers.SECURITY_HEADERS)}`" in page
    assert "Every answer, except to `OPTIONS`, has these headers" in page


def test_the_gateway_compresses_only_answers_longer_than_those_of_initialize(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    least = transformed(monkeypatch)["Api"]["Properties"]["MinimumCompressionSize"]
    examples = json.loads((ROOT / "local/examples.json").read_text())["answers"]
    of_initialize = [answer for route, answer in examples.items() if "/streaming-sessions/initialize" in route]

    assert of_initialize
    assert max(len(json.dumps(answer)) for answer in of_initialize) < least < len(DOCUMENT.read_bytes())


ANSWERED_BY_DEFAULT_5XX = {"API_CONFIGURATION_ERROR"}
KINDS = {
    *("ACCESS_DENIED", "AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE", "BAD_REQUEST_BODY"),
    *("API_CONFIGURATION_ERROR", "BAD_REQUEST_PARAMETERS", "DEFAULT_4XX", "DEFAULT_5XX", "EXPIRED_TOKEN"),
    *("INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "INVALID_API_KEY", "INVALID_SIGNATURE"),
    *("MISSING_AUTHENTICATION_TOKEN", "QUOTA_EXCEEDED", "REQUEST_TOO_LARGE", "RESOURCE_NOT_FOUND", "THROTTLED"),
    *("UNAUTHORIZED", "UNSUPPORTED_MEDIA_TYPE", "WAF_FILTERED"),
}
"""Every kind of response that API Gateway makes itself."""


def test_every_gateway_response_is_defined() -> None:
    assert set(gateway_answers()) == KINDS - ANSWERED_BY_DEFAULT_5XX


def test_preflights_name_an_origin_only_if_an_origin_is_allowed() -> None:
    cors = properties("AWS::Serverless::Api")["Cors"]

    assert cors["AllowOrigin"] == only_with_an_origin({"Fn::Sub": "'${CorsAllowOrigin}'"})
    assert properties("AWS::Serverless::Api")["Auth"]["AddDefaultAuthorizerToCorsPreflight"] is False


def test_web_pages_may_send_every_header_that_a_route_reads_from_its_callers() -> None:
    allowed = properties("AWS::Serverless::Api")["Cors"]["AllowHeaders"].strip("'").split(",")

    assert allowed == ["Authorization", "Content-Type", IDEMPOTENCY_KEY, ON_BEHALF_OF]


def only_with_an_origin(value: Any) -> dict[str, Any]:
    return {"Fn::If": ["AllowsOrigin", value, {"Ref": "AWS::NoValue"}]}


@pytest.mark.parametrize(("limit", "accepted"), [("0", True), ("10", True), ("2000", True), ("1", False), ("9", False)])
def test_a_limit_per_ip_address_is_0_or_accepted_by_waf(limit: str, accepted: bool) -> None:
    pattern = template()["Parameters"]["RateLimitPerAddress"]["AllowedPattern"]

    assert bool(re.search(pattern, limit)) is accepted


def test_the_web_acl_refuses_with_the_same_answer_as_throttling() -> None:
    acl = properties("AWS::WAFv2::WebACL")
    (rule,) = acl["Rules"]
    response = rule["Action"]["Block"]["CustomResponse"]
    sent = {each["Name"]: each["Value"] for each in response["ResponseHeaders"] if "Name" in each}

    assert rule["Statement"] == {
        "RateBasedStatement": {"AggregateKeyType": "IP", "Limit": {"Ref": "RateLimitPerAddress"}}
    }
    assert response["ResponseCode"] == 429
    assert headers.SECURITY_HEADERS.items() <= sent.items()
    assert "Retry-After" in sent
    origin = {"Name": "Access-Control-Allow-Origin", "Value": {"Ref": "CorsAllowOrigin"}}
    exposed = {"Name": "Access-Control-Expose-Headers", "Value": headers.EXPOSED}
    for_pages = [each for each in response["ResponseHeaders"] if "Fn::If" in each]
    assert for_pages == [only_with_an_origin(origin), only_with_an_origin(exposed)]
    body = json.loads(acl["CustomResponseBodies"][response["CustomResponseBodyKey"]]["Content"])
    assert (list(body), body["code"]) == (["message", "code", "details", "requestId"], "RATE_LIMITED")
    for kind in ("AWS::WAFv2::WebACL", "AWS::WAFv2::WebACLAssociation"):
        ((_, resource),) = resources(kind).items()
        assert resource["Condition"] == "LimitsAddresses"


@pytest.mark.parametrize("function", ["sweeper", "auditor"])
def test_a_scheduled_run_that_fails_puts_a_message_into_a_queue_and_is_not_repeated(function: str) -> None:
    found = functions()[function]
    schedule = found["Events"]["Schedule"]["Properties"]
    failed_runs = {"Fn::GetAtt": ["FailedRuns", "Arn"]}

    assert found["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]["Destination"] == failed_runs
    assert found["EventInvokeConfig"]["MaximumRetryAttempts"] == 0
    assert schedule["DeadLetterConfig"] == {"Arn": failed_runs}
    assert schedule["RetryPolicy"] == {"MaximumRetryAttempts": 0}


def test_uncounted_records_are_reported_to_a_queue() -> None:
    stream = functions()["rollups"]["Events"]["NewUsage"]["Properties"]

    assert stream["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["UncountedRecords", "Arn"]}
    assert stream["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    for queue in resources("AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] == {"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 60 * 60


ALARMS = resources("AWS::CloudWatch::Alarm")
OPERATIONS = (Path(__file__).parents[2] / "docs/operations.md").read_text()


def counted() -> set[str]:
    """Every metric that the service's code counts."""
    sources = [*Path("layers/shared/accounting").rglob("*.py"), *Path("functions").rglob("app.py")]
    call = re.compile(r"count(?:_even_zero)?\(\s*\"(\w+)\"")
    return {name for source in sources for name in call.findall(source.read_text())}


OF_AWS = {
    "AWS/ApiGateway": {"Count", "4XXError", "5XXError", "Latency", "IntegrationLatency"},
    "AWS/DynamoDB": {"ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "WriteThrottleEvents"},
    "AWS/Lambda": {"ConcurrentExecutions", "Invocations", "IteratorAge", "Throttles"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
}
"""The metrics of AWS that the template names, spelled as AWS documents them. A misspelled name would have no values."""


def is_reported(namespace: str, metric: str) -> bool:
    """Whether AWS or the service's code reports this metric."""
    return metric in (counted() if namespace == "AccountingService" else OF_AWS.get(namespace, ()))


def metrics_of_dashboard(body: str) -> set[tuple[str, str]]:
    """The namespace and the name of every metric in a dashboard, where ``.`` and ``...`` repeat earlier values."""
    found = set()
    for widget in json.loads(body)["widgets"]:
        before: list[Any] = []
        for series in widget["properties"].get("metrics", ()):
            whole = [*before[:-1], *series[1:]] if series[0] == "..." else series
            before = [old if new == "." else new for new, old in zip_longest(whole, before[: len(whole)])]
            found.add((before[0], before[1]))
    return found


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_documented_and_its_metric_is_reported(name: str) -> None:
    alarm = ALARMS[name]["Properties"]

    assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "Alarms"}]
    assert alarm["AlarmDescription"]
    assert is_reported(alarm["Namespace"], alarm["MetricName"])
    slug = alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
    assert f"| `{slug}` |" in OPERATIONS, "docs/operations.md must explain the alarm"


def test_the_dashboard_shows_every_alarm_and_only_metrics_that_are_reported() -> None:
    body = properties("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"]
    metrics = metrics_of_dashboard(body)

    assert set(re.findall(r"\$\{(\w+Alarm)\.Arn\}", body)) == set(ALARMS)
    assert {("AccountingService", "CreditsHeld"), ("AWS/Lambda", "IteratorAge")} <= metrics
    assert {metric for metric in metrics if not is_reported(*metric)} == set()


def test_every_listed_metric_of_aws_is_used() -> None:
    body = properties("AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Sub"]
    alarms = [alarm["Properties"] for alarm in ALARMS.values()]
    used = metrics_of_dashboard(body) | {(alarm["Namespace"], alarm["MetricName"]) for alarm in alarms}

    assert {(namespace, name) for namespace, names in OF_AWS.items() for name in names} <= used


def test_a_failing_new_version_is_rolled_back() -> None:
    preference = template()["Globals"]["Function"]["DeploymentPreference"]

    assert preference["Enabled"] == {"Ref": "GradualDeployment"}
    assert preference["Alarms"] == [{"Ref": "ServerErrorsAlarm"}]
    assert template()["Parameters"]["GradualDeployment"]["Default"] == "true"


@pytest.mark.parametrize(
    ("kind", "attribute"),
    [
        ("AWS::Logs::LogGroup", "KmsKeyId"),
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::SecretsManager::Secret", "KmsKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
    ],
)
def test_everything_at_rest_can_be_encrypted_with_the_operators_key(kind: str, attribute: str) -> None:
    for resource in resources(kind).values():
        assert resource["Properties"][attribute] == {
            "Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]
        }


def test_only_four_functions_can_reserve_concurrency() -> None:
    reserving = {name for name in function_names() if "ReservedConcurrentExecutions" in functions()[name]}

    assert reserving == {"authorizer", "credits", "streaming_sessions", "usage"}
