"""Makes the store's requests to DynamoDB fail on demand, even in ways that no emulator produces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ReadTimeoutError

from accounting.store.table.exchange import Reply
from accounting.store.table.wire import Wire

type Send = Callable[[str, bytes], Reply]
type Fault = Callable[[str, bytes, Send], Reply]

ADDRESS = "https://dynamodb.example.com"


class Faults:
    """Records the requests that a ``Wire`` sends to DynamoDB, and lets queued faults handle them."""

    def __init__(self, send: Send) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._send = send
        self._faults: list[tuple[str, Fault]] = []

    @classmethod
    @contextmanager
    def of(cls, wire: Wire) -> Iterator[Faults]:
        """Intercept the attempts of ``wire`` during the block."""
        faults = cls(wire.attempt)
        with patch.object(wire, "attempt", faults):
            yield faults

    def __call__(self, operation: str, body: bytes) -> Reply:
        self.requests.append((operation, json.loads(body)))
        for index, (meant, fault) in enumerate(self._faults):
            if meant == operation:
                del self._faults[index]
                return fault(operation, body, self._send)
        return self._send(operation, body)

    def fail(self, operation: str, *faults: Fault) -> None:
        """Queue these faults. Each handles one of the next attempts at ``operation``."""
        self._faults += [(operation, fault) for fault in faults]

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """The bodies of all attempts at an operation."""
        return [body for name, body in self.requests if name == operation]

    @property
    def exhausted(self) -> bool:
        """Whether every queued fault has happened."""
        return not self._faults


def answer_lost(operation: str, body: bytes, send: Send) -> Reply:
    """The request is carried out, and its answer is lost."""
    send(operation, body)
    raise ReadTimeoutError(endpoint_url=ADDRESS)


def never_arrives(error: Callable[..., Exception] = ReadTimeoutError) -> Fault:
    """The request is lost on its way; the wire raises ``error``."""

    def fault(_operation: str, _body: bytes, _send: Send) -> Reply:
        raise error(endpoint_url=ADDRESS, error="lost")

    return fault


def late() -> tuple[Fault, Fault]:
    """Two faults: the first request times out, and reaches the database only just before the second request."""
    held: list[tuple[str, bytes]] = []

    def withheld(operation: str, body: bytes, _send: Send) -> Reply:
        held.append((operation, body))
        raise ReadTimeoutError(endpoint_url=ADDRESS)

    def overtaken(operation: str, body: bytes, send: Send) -> Reply:
        send(*held.pop())
        return send(operation, body)

    return withheld, overtaken


def refused(code: str, status: int = 400, **fields: Any) -> Fault:
    """The database answers with an error."""
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": code, **fields}).encode()
    return answers(body, status)


def answers(content: bytes, status: int = 200, checksum: str | None = None) -> Fault:
    """The database answers with ``content``, and does not carry out the request."""

    def fault(_operation: str, _body: bytes, _send: Send) -> Reply:
        return Reply(status, checksum, content)

    return fault


def leaves_everything(operation: str, body: bytes, _send: Send) -> Reply:
    """The table is throttled, so the database carries out nothing of a batch."""
    left = "UnprocessedKeys" if operation == "BatchGetItem" else "UnprocessedItems"
    return Reply(200, None, json.dumps({"Responses": {}, left: json.loads(body)["RequestItems"]}).encode())


def cancelled(*codes: str) -> Fault:
    """A transaction is cancelled. ``codes`` has the reason for each of its items, in order."""
    return refused("TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes])
