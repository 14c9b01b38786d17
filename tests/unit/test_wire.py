"""The wire, our client of DynamoDB, signs and repeats requests as botocore does, and uses the same address and keys."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import botocore.loaders
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.retries.standard import RetryContext, StandardRetryConditions, ThrottledRetryableChecker

from accounting.store.table import connection, wire
from accounting.store.table.exchange import Reply
from accounting.store.table.surroundings import Credentials, Place, place_of_environment
from accounting.store.table.wire import Wire
from local.paths import ROOT

OPERATIONS = ["GetItem", "BatchGetItem", "Query", "UpdateItem", "BatchWriteItem", "TransactWriteItems"]
HOSTS = [
    "dynamodb.eu-west-1.amazonaws.com",
    "localhost",
    "127.0.0.1:4566",
    "DB.Example.com:443",
    "db.example.com:80",
    "[::1]:8000",
    "[fe80::1]",
]
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "eu-west-1"}
URL = "https://dynamodb.example.com"


class Scripted(Wire):
    """A wire whose attempts have the outcomes in ``script``. The last outcome is repeated."""

    def __init__(self, *script: Reply | Exception) -> None:
        super().__init__(Place(URL, "eu-west-1", None, lambda: Credentials("key", "secret", None)))
        self.script = script
        self.attempts = 0

    def attempt(self, operation: str, body: bytes) -> Reply:
        outcome = self.script[min(self.attempts, len(self.script) - 1)]
        self.attempts += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For each pause that the wire asks for, its longest time in seconds. The pause itself is left out."""
    limits: list[float] = []

    def no_pause(longest: float) -> float:
        limits.append(longest)
        return 0

    monkeypatch.setattr(wire, "jitter", no_pause)
    return limits


def refusal(code: str | None, status: int) -> Reply:
    return Reply(status, None, json.dumps({"__type": code} if code else {}).encode())


def test_signatures_equal_those_of_botocore() -> None:
    chance = random.Random(1)

    def text(longest: int) -> str:
        return "".join(chance.choices(string.ascii_letters + string.digits + "/+=-_.", k=chance.randint(1, longest)))

    for _ in range(3_000):
        region, url = chance.choice(["us-east-1", "ap-south-2"]), f"{chance.choice(['http', 'https'])}://"
        url += chance.choice(HOSTS)
        day = f"20{chance.randrange(100):02}0{chance.randint(1, 9)}{chance.randint(10, 28)}"
        now = f"{day}T{chance.randint(0, 235959):06}Z"
        credentials = Credentials(text(30), text(60), chance.choice([None, text(400)]))
        operation, body = chance.choice(OPERATIONS), chance.randbytes(chance.randrange(500))
        place = Place(url, region, None, lambda credentials=credentials: credentials)  # type: ignore[misc]  # bound now

        ours = Wire(place).signed(operation, body, now)

        sent = {"Content-Type": ours["content-type"], "X-Amz-Target": ours["x-amz-target"]}
        request = AWSRequest("POST", url, data=body, headers=sent)
        request.context["timestamp"] = now
        signer: Any = SigV4Auth(BotocoreCredentials(*credentials), "dynamodb", region)
        signer._modify_request_before_signing(request)
        to_sign = signer.string_to_sign(request, signer.canonical_request(request))
        signer._inject_signature_to_request(request, signer.signature(to_sign, request))
        theirs = {name.lower(): value for name, value in request.headers.items()}
        assert len(theirs) >= 4
        assert {name: ours[name] for name in theirs} == theirs


@cache
def model() -> Any:
    """Botocore's model of DynamoDB."""
    return botocore.session.get_session().get_service_model("dynamodb")


def codes_to_try() -> list[str | None]:
    """All codes that botocore retries, all errors of DynamoDB, and some unknown codes."""
    throttled: list[str] = vars(ThrottledRetryableChecker)["_THROTTLED_ERROR_CODES"]
    transient = ["RequestTimeout", "RequestTimeoutException", "PriorRequestNotComplete"]
    others = ["ValidationException", "ExpiredTokenException", "ServiceUnavailable", "Unheard"]
    return [None, *sorted({*throttled, *transient, *others, *(shape.name for shape in model().error_shapes)})]


@pytest.mark.parametrize("code", codes_to_try())
def test_the_wire_repeats_what_botocore_repeats(code: str | None) -> None:
    for status in (400, 403, 413, 429, 500, 501, 502, 503, 504):
        parsed: Any = {"Error": {"Code": code or str(status)}}
        answer = SimpleNamespace(status_code=status, headers={}, content=b"")
        context = RetryContext(1, model().operation_model("UpdateItem"), parsed_response=parsed, http_response=answer)
        repeated = bool(StandardRetryConditions(max_attempts=3).is_retryable(context))
        scripted = Scripted(refusal(code, status))

        with pytest.raises(ClientError) as raised:
            scripted.get_item()

        assert scripted.attempts == (3 if repeated else 1), status
        assert raised.value.response["Error"]["Code"] == (code or str(status))
        assert raised.value.response["ResponseMetadata"]["RetryAttempts"] == scripted.attempts - 1


@pytest.mark.parametrize(
    "kind", [ReadTimeoutError, ConnectTimeoutError, ConnectionClosedError, EndpointConnectionError, SSLError]
)
def test_a_lost_request_is_repeated_and_then_its_error_is_raised(kind: Any, pauses: list[float]) -> None:
    error = kind(endpoint_url=URL, error="lost")
    scripted = Scripted(error)

    with pytest.raises(kind):
        scripted.query()

    assert scripted.attempts == 3
    assert pauses == [1, 2]


def test_an_error_that_a_repeat_cannot_fix_is_raised_at_once() -> None:
    for error in (NoCredentialsError(), TypeError("a defect")):
        scripted = Scripted(error)
        with pytest.raises(type(error)):
            scripted.query()
        assert scripted.attempts == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, None, b""),
        Reply(200, None, b'{"Item": {"pk"'),
        Reply(200, None, b"<html>welcome</html>"),
        Reply(200, None, b"[]"),
        Reply(200, None, b"null"),
        Reply(200, "1", b"{}"),
        Reply(400, "1", b'{"__type": "ValidationException"}'),
    ],
    ids=["empty", "cut short", "a page", "a list", "null", "checksum", "checksum of an error"],
)
def test_an_unreadable_answer_counts_as_lost_and_is_requested_again(reply: Reply) -> None:
    scripted = Scripted(reply, Reply(200, "2745614147", b"{}"))
    assert scripted.get_item() == {}
    assert scripted.attempts == 2

    with pytest.raises(ConnectionClosedError):
        Scripted(reply).get_item()


def test_failures_use_up_the_retry_quota_and_successes_refill_it() -> None:
    down = Scripted(refusal("InternalServerError", 500))
    for _ in range(100):
        with pytest.raises(ClientError):
            down.get_item()
    assert down.attempts == 100 + 500 // 5  # 100 first attempts; a repeat takes 5 of the quota of 500
    silent = Scripted(ReadTimeoutError(endpoint_url=URL))
    for _ in range(100):
        with pytest.raises(ReadTimeoutError):
            silent.get_item()
    assert silent.attempts == 100 + 500 // 10  # after a timeout, a repeat takes 10

    down.script = (Reply(200, None, b"{}"),)
    for _ in range(10):
        down.get_item()
    down.attempts, down.script = 0, (refusal("InternalServerError", 500),)
    with pytest.raises(ClientError):
        down.get_item()
    assert down.attempts == 3, "after ten successes, two repeats are allowed again"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with a region and credentials, as Lambda sets them, without configuration files and proxies."""
    monkeypatch.setenv("HOME", str(tmp_path))
    files = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "REQUESTS_CA_BUNDLE")
    for name in {*files, *(name for name in os.environ if name.lower().endswith("_proxy"))}:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


LOADER = botocore.loaders.create_loader()
"""Reads botocore's descriptions of services and regions once instead of once for each session."""


def found_by_botocore() -> tuple[Any, ...]:
    """Address, region and credentials as botocore finds them."""
    session = botocore.session.get_session()
    session.register_component("data_loader", LOADER)
    client = connection.sdk_client(session)
    credentials: Any = session.get_credentials()
    access_key, secret_key, token, *_ = credentials.get_frozen_credentials()
    return client.meta.endpoint_url, client.meta.region_name, (access_key, secret_key, token)


def found_here(place: Place | None) -> tuple[Any, ...]:
    assert place
    return place.url, place.region, tuple(place.credentials())


def regions() -> Iterator[str]:
    session = botocore.session.get_session()
    for partition in session.get_available_partitions():
        yield from session.get_available_regions("dynamodb", partition)


def test_in_every_commercial_region_the_wire_finds_the_same_address_as_botocore(
    environment: pytest.MonkeyPatch,
) -> None:
    commercial = botocore.session.get_session().get_available_regions("dynamodb", "aws")
    every = [region for region in regions() if "fips" not in region and region != "local"]
    assert len(every) > len(commercial) > 20
    for region in every:
        place = place_of_environment(ENVIRONMENT | {"AWS_DEFAULT_REGION": region})
        assert (place is not None) == (region in commercial), region
        environment.setenv("AWS_DEFAULT_REGION", region)
        assert place is None or found_here(place) == found_by_botocore()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"AWS_SESSION_TOKEN": "token"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
        {"AWS_ENDPOINT_URL": "http://[::1]:4566"},
        {"AWS_ENDPOINT_URL": "https://db.example.com"},
        {"AWS_REGION": "us-east-1", "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13", "AWS_LAMBDA_FUNCTION_NAME": "f"},
        {"AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "no_proxy": "127.0.0.1"},
    ],
)
def test_the_variables_that_the_wire_knows_are_read_without_botocore(
    environment: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    for name, value in more.items():
        environment.setenv(name, value)

    with no_botocore():
        found = found_here(place_of_environment(ENVIRONMENT | more))

    assert found == found_by_botocore()


@contextmanager
def no_botocore() -> Iterator[None]:
    """Make every import of botocore and boto3 fail during the block."""
    names = {"boto3", *(name for name in sys.modules if name.partition(".")[0] == "botocore")}
    with patch.dict(sys.modules, dict.fromkeys(names)):
        with pytest.raises(ImportError):
            import_module("botocore.session")
        yield


def test_a_wire_made_from_the_environment_imports_neither_boto3_nor_botocores_client() -> None:
    code = """
import sys
from accounting.store import table
print(type(table.client()).__name__, *({"boto3", "botocore.session", "botocore.client"} & set(sys.modules)))
"""
    layer = ROOT / "layers/shared"
    run = subprocess.run(  # in a process of its own, because this one has imported everything already
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"PATH": "", "HOME": "/nonexistent", "PYTHONPATH": str(layer)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.stdout.split() == ["Wire"], run.stderr


def test_a_setting_that_the_wire_does_not_read_is_left_to_botocore() -> None:
    session = botocore.session.get_session()
    listed = [name for _, name, *_ in session.session_var_map.values() if name]
    names = {each for name in listed for each in (name if isinstance(name, list) else [name])}
    names |= {"AWS_CREDENTIAL_EXPIRATION", "AWS_SECURITY_TOKEN", "AWS_ACCOUNT_ID", "AWS_ENDPOINT_URL_DYNAMODB"}
    names |= {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE"}
    files = {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}  # tested below: they matter only if they exist
    read = {"AWS_DEFAULT_REGION", "BOTOCORE_TCP_KEEPALIVE"}
    assert len(names) > 40
    for name in names - files - read:
        assert place_of_environment(ENVIRONMENT | {name: "1"}) is None, name


@pytest.mark.parametrize("without", ENVIRONMENT)
def test_an_incomplete_environment_is_left_to_botocore(without: str) -> None:
    assert place_of_environment({name: value for name, value in ENVIRONMENT.items() if name != without}) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1/db", "http://a:b@127.0.0.1", "ftp://127.0.0.1", "127.0.0.1:4566"])
def test_an_endpoint_with_a_path_a_password_or_another_scheme_than_http_is_left_to_botocore(url: str) -> None:
    assert place_of_environment(ENVIRONMENT | {"AWS_ENDPOINT_URL": url}) is None


@pytest.mark.parametrize("name", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", None])
def test_configuration_files_are_left_to_botocore(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str | None
) -> None:
    file = tmp_path / ".aws/config"
    file.parent.mkdir()
    more = {name: str(file)} if name else {}
    assert place_of_environment(ENVIRONMENT | more)

    file.write_text("[default]\nendpoint_url = http://127.0.0.1:1234\n")

    assert place_of_environment(ENVIRONMENT | more) is None
    environment.setenv("AWS_CONFIG_FILE", str(file))
    connected: Any = connection.client.__wrapped__()
    assert found_here(connected.place) == ("http://127.0.0.1:1234", "eu-west-1", ("key", "secret", None))


def test_without_a_home_directory_there_are_no_configuration_files(environment: pytest.MonkeyPatch) -> None:
    def nobody(_uid: int) -> None:
        raise KeyError

    environment.delenv("HOME")
    environment.setattr("pwd.getpwuid", nobody)

    assert found_here(place_of_environment(ENVIRONMENT)) == found_by_botocore()


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "https://dynamodb.cn-north-1.amazonaws.com.cn"),
        ({"AWS_DEFAULT_REGION": "us-gov-west-1"}, "https://dynamodb.us-gov-west-1.amazonaws.com"),
        (
            {"AWS_DEFAULT_REGION": "us-east-1", "AWS_USE_FIPS_ENDPOINT": "true"},
            "https://dynamodb-fips.us-east-1.amazonaws.com",
        ),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://dynamodb.eu-west-1.api.aws"),
        ({"AWS_ENDPOINT_URL_DYNAMODB": "http://[::1]:8000"}, "http://[::1]:8000"),
        ({"AWS_ENDPOINT_URL": "http://a.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, None),
        ({"AWS_ACCOUNT_ID": "123456789012"}, None),
    ],
)
def test_the_wire_uses_what_botocore_finds(
    environment: pytest.MonkeyPatch, more: dict[str, str], url: str | None
) -> None:
    for name, value in more.items():
        environment.setenv(name, value)

    connected: Any = connection.client.__wrapped__()

    assert isinstance(connected, Wire)
    assert connected.place.tls or connected.place.url.startswith("http:")
    assert found_here(connected.place) == found_by_botocore()
    assert connected.place.url == (url or "https://dynamodb.eu-west-1.amazonaws.com")


@pytest.mark.parametrize(
    "more",
    [
        {"HTTPS_PROXY": "http://127.0.0.1:3128"},
        {"https_proxy": "127.0.0.1:3128"},
        {"AWS_ENDPOINT_URL": "http://db.example", "http_proxy": "http://127.0.0.1:3128"},
        {"AWS_ENDPOINT_URL": "http://db.example/path"},
        {"AWS_ACCOUNT_ID": "123456789012", "AWS_ACCOUNT_ID_ENDPOINT_MODE": "required"},
    ],
)
def test_boto3s_client_is_used_if_the_wire_cannot_be_used(
    environment: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    for name, value in more.items():
        environment.setenv(name, value)

    connected: Any = connection.client.__wrapped__()

    assert not isinstance(connected, Wire)
    assert connected.meta.service_model.service_name == "dynamodb"


def test_the_wire_is_used_if_the_proxy_does_not_apply_to_dynamodb(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    environment.setenv("NO_PROXY", "amazonaws.com")

    assert isinstance(connection.client.__wrapped__(), Wire)


def test_credentials_are_requested_before_every_attempt() -> None:
    numbers = count(1)
    changing = Wire(Place(URL, "eu-west-1", None, lambda: Credentials(f"key{next(numbers)}", "secret", None)))

    signed = [changing.signed("GetItem", b"", "20270115T080000Z")["authorization"] for _ in range(2)]

    assert [line.split("/")[0] for line in signed] == [f"AWS4-HMAC-SHA256 Credential=key{number}" for number in (1, 2)]
