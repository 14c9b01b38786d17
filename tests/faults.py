"""A database that misbehaves on demand: what no emulator produces is put on the wire of the store's own client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import ReadTimeoutError

type Send = Callable[[AWSPreparedRequest], AWSResponse]
type Fault = Callable[[AWSPreparedRequest, Send], AWSResponse]


class Wire:
    """What goes over the wire to DynamoDB; queued faults happen to the next requests of their operation."""

    def __init__(self, send: Send) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._send = send
        self._faults: list[tuple[str, Fault]] = []

    @classmethod
    @contextmanager
    def of(cls, client: Any) -> Iterator[Wire]:
        """Stand between ``client`` and the network for the time of the block."""
        session = client._endpoint.http_session
        wire = cls(session.send)
        session.send = wire
        try:
            yield wire
        finally:
            del session.send

    def __call__(self, request: AWSPreparedRequest) -> AWSResponse:
        operation = cast("bytes", request.headers["X-Amz-Target"]).decode().rpartition(".")[2]
        self.requests.append((operation, json.loads(cast("bytes", request.body))))
        for index, (meant, fault) in enumerate(self._faults):
            if meant == operation:
                del self._faults[index]
                return fault(request, self._send)
        return self._send(request)

    def fail(self, operation: str, *faults: Fault) -> None:
        """Let these happen to the next requests of ``operation``, one each."""
        self._faults += [(operation, fault) for fault in faults]

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """The requests of an operation, every attempt."""
        return [body for name, body in self.requests if name == operation]

    @property
    def exhausted(self) -> bool:
        """Whether everything that was queued has happened."""
        return not self._faults


def answer_lost(request: AWSPreparedRequest, send: Send) -> AWSResponse:
    """The request is carried out, and nobody hears of it."""
    send(request)
    raise ReadTimeoutError(endpoint_url=request.url)


def never_arrives(error: Callable[..., Exception] = ReadTimeoutError) -> Fault:
    """The request is lost on its way; botocore raises ``error``."""

    def fault(request: AWSPreparedRequest, _send: Send) -> AWSResponse:
        raise error(endpoint_url=request.url, error="lost")

    return fault


def late() -> tuple[Fault, Fault]:
    """The first request reaches the database only just before the second, after it was given up."""
    held: list[AWSPreparedRequest] = []

    def withheld(request: AWSPreparedRequest, _send: Send) -> AWSResponse:
        held.append(request)
        raise ReadTimeoutError(endpoint_url=request.url)

    def overtaken(request: AWSPreparedRequest, send: Send) -> AWSResponse:
        send(held.pop())
        return send(request)

    return withheld, overtaken


def refused(code: str, status: int = 400, **fields: Any) -> Fault:
    """The database answers with an error."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **fields}).encode()

    def fault(request: AWSPreparedRequest, _send: Send) -> AWSResponse:
        return _Answer(request.url, status, body)

    return fault


def cancelled(*codes: str) -> Fault:
    """A transaction is cancelled, for these reasons by item."""
    return refused("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])


class _Answer(AWSResponse):
    def __init__(self, url: str, status: int, body: bytes) -> None:
        super().__init__(url, status, cast("Any", HeadersDict()), BytesIO(body))
        self._body = body

    @property
    def content(self) -> bytes:
        return self._body
