"""The connection to DynamoDB: the process's client, and a call that ends in time. Imports errors.

Imports surroundings, exchange and wire when they are needed: they take a tenth of a cold start.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from accounting.domain.errors import Unavailable

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

    from accounting.store.table.wire import Wire

REQUEST_SECONDS = 10.0
"""After this, no call is begun for a request: the last one may take 12 s with its repeats, and a function has 25 s."""

_deadline: ContextVar[float] = ContextVar("_deadline", default=float("inf"))
"""When the request at hand has no time left, by the monotonic clock."""


@cache
def client() -> "Wire | DynamoDBClient":
    """The process's one client: a wire, or boto3's client where only that knows the way, such as through a proxy.

    Either repeats what was throttled or lost, with jitter, up to twice.
    """
    from accounting.store.table import surroundings
    from accounting.store.table.wire import Wire

    place = surroundings.place_of_environment(os.environ)
    if place is None:
        from botocore.session import get_session

        session = get_session()
        sdk = sdk_client(session)
        place = surroundings.place_of_client(sdk, session)
        if place is None:
            return sdk
    return Wire(place)


def sdk_client(session: "Session") -> "DynamoDBClient":
    """boto3's client, set up to wait and to repeat as the wire does."""
    from botocore.config import Config

    from accounting.store.table import exchange, wire

    return session.create_client(  # type: ignore[return-value]  # untyped in botocore
        "dynamodb",
        config=Config(
            connect_timeout=exchange.CONNECT_SECONDS,
            read_timeout=exchange.READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": wire.ATTEMPTS},
            max_pool_connections=exchange.KEPT_CONNECTIONS,
            # A tenth of a call's processor time each: DynamoDB itself validates, and this name need not be put together
            # from the whole environment twice a request.
            parameter_validation=False,
            user_agent="accounting-service",
        ),
    )


def make_for_snapshot() -> None:
    """Make the client now, where it is kept for all processes to come: SnapStart restores what the import left.

    Elsewhere it is made when it is needed.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        client()


@contextmanager
def for_a_request() -> Iterator[None]:
    """Bound the time of all calls in the block, which a caller waits for. Outside of such a block there is no bound.

    The bound holds in the thread that enters the block, and in no other.
    """
    before = _deadline.set(time.monotonic() + REQUEST_SECONDS)
    try:
        yield
    finally:
        _deadline.reset(before)


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """One call to the database; what the client could not mend in its attempts, or in time, is Unavailable."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004 - botocore's own

    from accounting.store.table.wire import REPEATED_CODES, REPEATED_STATUSES

    if time.monotonic() > _deadline.get():
        raise Unavailable("The database is too slow just now")
    try:
        return operation(**request)
    except (ConnectionError, HTTPClientError) as error:
        raise Unavailable("The database did not answer in time") from error
    except ClientError as error:
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in REPEATED_CODES or status in REPEATED_STATUSES:
            raise Unavailable("The database is busy") from error
        raise
