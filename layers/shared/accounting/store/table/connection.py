"""The connection to DynamoDB: the process's client, and calls with a time limit. Imports errors and chance.

It imports surroundings, exchange and wire only when it needs them, because they take a tenth of a cold start.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

from accounting.domain.errors import Unavailable
from accounting.store.table.chance import jitter

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

    from accounting.store.table.wire import Wire

REQUEST_SECONDS = 10.0
"""After this, a request starts no more calls. The last call can take 12 s with its retries; a function has 25 s."""

BATCH_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""The upper limits of the random pauses before the part of a batch that DynamoDB left is sent again."""

_deadline: ContextVar[float] = ContextVar("_deadline", default=float("inf"))
"""When the current request has no time left, by the monotonic clock."""


@cache
def client() -> "Wire | DynamoDBClient":
    """The process's one client: a wire, or boto3's client if only that can reach DynamoDB, for example through a proxy.

    Both retry up to twice, with jitter, if a call was throttled or lost.
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
    """boto3's client, with the same timeouts and retries as the wire."""
    from botocore.config import Config

    from accounting.store.table import exchange, wire

    return session.create_client(  # type: ignore[return-value]  # untyped in botocore
        "dynamodb",
        config=Config(
            connect_timeout=exchange.CONNECT_SECONDS,
            read_timeout=exchange.READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": wire.ATTEMPTS},
            max_pool_connections=exchange.KEPT_CONNECTIONS,
            # Each of the next two saves a tenth of a call's processor time. DynamoDB validates parameters itself, and
            # boto3 would build its own user agent from the whole environment twice for each request.
            parameter_validation=False,
            user_agent="accounting-service",
        ),
    )


def make_for_snapshot() -> None:
    """With SnapStart, create the client now: every later process is restored from the state after the import.

    Without SnapStart, the first call creates it.
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        client()


@contextmanager
def for_a_request() -> Iterator[None]:
    """Limit the total time of all calls in the block, because a caller waits.

    The limit applies only to the thread that enters the block. Outside such a block, the total time has no limit.
    """
    before = _deadline.set(time.monotonic() + REQUEST_SECONDS)
    try:
        yield
    finally:
        _deadline.reset(before)


def call(operation: Callable[..., Any], **request: Any) -> Any:
    """Call the database. Raises Unavailable if all attempts of the client failed, or if time is up."""
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


def attempts(pauses: Sequence[float]) -> Iterator[None]:
    """One attempt, and another after each random pause; ``pauses`` has the longest time of each."""
    yield
    for longest in pauses:
        time.sleep(jitter(longest))
        yield


def attempts_at_a_batch() -> Iterator[None]:
    """Attempts until the caller leaves the loop, because DynamoDB has left nothing of the batch.

    DynamoDB leaves items if the table is throttled. Raises Unavailable if it still does at the last attempt.
    """
    yield from attempts(BATCH_PAUSES_SECONDS)
    raise Unavailable("The database is busy")
