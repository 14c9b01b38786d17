"""A separate table for every test, in the local AWS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from accounting import settings as settings_module
from accounting import telemetry
from accounting.domain.accounts import personal
from accounting.store import prices, system, table, users
from local import emulator
from local.emulator import Emulator
from tests.calls import Calls, the_wire
from tests.metrics import Uncounted
from tests.template import create_table

NOW = 1_800_000_000_000
"""The tests' starting time, in epoch milliseconds: 2027-01-15T08:00:00Z."""

ACCOUNT = personal("u1")
"""The account of the user in most tests."""


@pytest.fixture(scope="session")
def aws() -> Iterator[Emulator]:
    """A local AWS without the service."""
    with emulator.start() as running:
        yield running


@pytest.fixture(scope="session")
def dynamodb(aws: Emulator) -> Any:
    """A client of the local AWS's DynamoDB, with which the tests read and change the table."""
    return aws.client("dynamodb", max_pool_connections=64)


@pytest.fixture(autouse=True)
def table_name(aws: Emulator, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty table, which the store uses."""
    with new_table(aws, dynamodb, monkeypatch) as name:
        yield name


@contextmanager
def new_table(aws: Emulator, dynamodb: Any, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make an empty table, and delete it after the block. Environment variables point the store to it."""
    name = f"test-{uuid4()}"
    create_table(dynamodb, name)
    patch.setenv("TABLE_NAME", name)
    patch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    # Lambda never sets REQUESTS_CA_BUNDLE. If it is set, botocore takes a tenth of a second to make each test's client.
    patch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    settings_module.settings.cache_clear()
    table.client.cache_clear()
    prices.forget()
    system.forget()
    users.forget()
    yield name
    dynamodb.delete_table(TableName=name)
    settings_module.settings.cache_clear()
    table.client.cache_clear()


@pytest.fixture(autouse=True)
def no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop all metrics, because nothing flushes them outside Lambda."""
    monkeypatch.setattr(telemetry, "metrics", Uncounted())


@pytest.fixture
def calls() -> Iterator[Calls]:
    """Counts the database calls of the store's client, and their write units."""
    with Calls.of(the_wire()) as counted:
        yield counted


@pytest.fixture
def user() -> Callable[..., str]:
    """A function that creates a user, grants them ``credits_granted``, and returns their id."""
    from accounting.domain.users import Description
    from accounting.operations import credits
    from accounting.store import users

    def make(user_id: str = "u1", credits_granted: int = 0, days: int = 30, now: int = NOW) -> str:
        users.sync(Description(user_id, f"{user_id}@example.com", user_id, "user"), now)
        if credits_granted:
            credits.allocate(credits.Request("admin", user_id, "", days, now), credits_granted)
        return user_id

    return make
