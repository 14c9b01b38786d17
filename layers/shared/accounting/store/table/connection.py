"""The connection to DynamoDB: the process's client, and calls with a time limit.

The functions below import ``surroundings``, ``exchange`` and ``wire`` only when they need them, because importing these
modules takes a tenth of a cold start.
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
"""A request starts no database call after this time.

Its last call can take 12 s with retries, so the request ends within 25 s, the timeout of its function.
"""

BATCH_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""The upper limit of each random pause. After a pause, the items that DynamoDB did not process are sent again."""

_deadline: ContextVar[float] = ContextVar("_deadline", default=float("inf"))
"""When the current request's time ends, by the monotonic clock."""


@cache
def client() -> "Wire | DynamoDBClient":
    """The process's one client: a ``Wire``, which is our own and takes less processor time than boto3's client.

    If a ``Wire`` cannot be used, for example with a proxy, the client is boto3's. Both clients retry a throttled or
    lost call up to twice, with jitter.
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
    """boto3's client, with the same timeouts and retries as ``Wire``."""
    from botocore.config import Config

    from accounting.store.table import exchange, wire

    return session.create_client(  # type: ignore[return-value]  # untyped in botocore
        "dynamodb",
        config=Config(
            connect_timeout=exchange.CONNECT_SECONDS,
            read_timeout=exchange.READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": wire.ATTEMPTS},
            max_pool_connections=exchange.KEPT_CONNECTIONS,
            # Each of these two settings saves a tenth of a call's processor time.
            parameter_validation=False,  # DynamoDB validates the parameters
            user_agent="accounting-service",  # without it, boto3 examines the whole environment twice for each request
        ),
    )


def create_client_for_snapshot() -> None:
    """With SnapStart, create the client during the import, so that the snapshot has it.

    Without SnapStart, the first call of ``client`` creates it.
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
    """One attempt, and another after each random pause. ``pauses`` has the upper limit of each pause in seconds."""
    yield
    for longest in pauses:
        time.sleep(jitter(longest))
        yield


def attempts_at_a_batch() -> Iterator[None]:
    """Attempts at one batch. The caller leaves the loop when DynamoDB has processed every item.

    A throttled table leaves items unprocessed. Raises Unavailable if some are still unprocessed after the last attempt.
    """
    yield from attempts(BATCH_PAUSES_SECONDS)
    raise Unavailable("The database is busy")
