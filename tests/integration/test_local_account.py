"""A machine's own AWS settings, even broken ones, do not affect programs that use the local AWS."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import botocore.session
import pytest

from local import account, emulator
from local.build import sam_environment
from local.paths import BIN, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from local.emulator import Emulator

SERVICES = ("dynamodb", "cloudformation", "secretsmanager", "lambda", "logs", "apigateway")
"""The AWS services that the local programs use."""


@pytest.fixture
def broken_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put nonsense into the variables and files from which botocore and SAM read their settings."""
    files = tmp_path / ".aws"
    files.mkdir()
    for name in ("config", "credentials"):
        (files / name).write_text("[default\nno section ends like that")
    monkeypatch.setenv("HOME", str(tmp_path))
    known = botocore.session.Session().session_var_map.values()
    variables = {name for _, names, *_ in known for name in ([names] if isinstance(names, str) else names or [])}
    assert {"AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_RETRY_MODE", "AWS_DEFAULT_REGION"} <= variables
    variables -= {"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}
    services = {f"AWS_ENDPOINT_URL_{service.upper()}" for service in SERVICES}
    for name in variables | services | {"AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE"}:
        monkeypatch.setenv(name, "nope")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(files / "config"))
    for name in (*account.PROXIES, *(name.upper() for name in account.PROXIES)):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SAM_STACK_NAME", "nope")


@pytest.mark.usefixtures("broken_account")
def test_a_client_of_the_local_aws_ignores_the_machines_settings(aws: Emulator, table_name: str) -> None:
    emulator._session.cache_clear()
    try:
        for service in SERVICES:
            assert aws.client(service).meta.endpoint_url == aws.endpoint_url
        assert table_name in aws.client("dynamodb").list_tables()["TableNames"]
    finally:
        emulator._session.cache_clear()


@pytest.mark.usefixtures("broken_account")
def test_the_environment_for_sam_has_none_of_the_machines_settings() -> None:
    environ = account.without_proxies(sam_environment())
    program = "import boto3; print(boto3.client('cloudformation', aws_access_key_id='a', aws_secret_access_key='b'))"

    result = subprocess.run(
        [BIN / "python", "-c", program], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr
    nonsense = {name for name in environ if name.startswith(("AWS_", "SAM_")) and environ[name] == "nope"}
    assert nonsense == set()
    assert not {name for name in environ if name.lower().endswith("_proxy")}


@pytest.mark.usefixtures("broken_account")
def test_a_program_that_calls_forget_account_ignores_the_machines_settings(aws: Emulator, table_name: str) -> None:
    """The benchmark, the simulation and these tests call it.

    They run the service's code, whose boto3 clients read their settings from the environment.
    """
    program = (
        "from local.account import forget_account; forget_account()\n"
        "import boto3, sys\n"
        "options = {'region_name': 'us-east-1', 'aws_access_key_id': 'test', 'aws_secret_access_key': 'test'}\n"
        "print(boto3.client('dynamodb', endpoint_url=sys.argv[1], **options).list_tables()['TableNames'])"
    )

    command = [sys.executable, "-c", program, aws.endpoint_url]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert table_name in result.stdout, result.stderr


def test_these_tests_run_without_the_machines_settings() -> None:
    assert os.environ["AWS_CONFIG_FILE"] == os.devnull
    assert "AWS_PROFILE" not in os.environ
