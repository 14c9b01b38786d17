"""The operations to measure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from accounting.times import clock
from local.paths import ROOT
from local.uuid7 import uuid7

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "bench-model"
"""A model without a price rule: 1,000 tokens cost the default of 1 credit."""
NEVER_EXPIRES = "4070908800"


@dataclass(frozen=True)
class Request:
    """A request to a function: a sample event with its caller, body and parameters replaced."""

    sample: str
    user: str
    body: dict[str, Any] | None = None
    query: dict[str, str] | None = None
    headers: dict[str, str] | None = None
    role: str = "user"
    key_id: str = ""

    def event(self) -> dict[str, Any]:
        """Return what API Gateway would hand to the function."""
        event: dict[str, Any] = json.loads((ROOT / f"events/{self.sample}.json").read_text())
        authorizer = {"userId": self.user, "email": f"{self.user}@example.com", "role": self.role, "exp": NEVER_EXPIRES}
        if self.key_id:
            authorizer = {"userId": self.user, "role": "user", "apiKeyId": self.key_id}
        event["requestContext"]["authorizer"] = authorizer
        if self.body is not None:
            event["body"] = json.dumps(self.body)
        if self.query is not None:
            event["queryStringParameters"] = self.query
            event["multiValueQueryStringParameters"] = {name: [value] for name, value in self.query.items()}
        event["headers"] = {"Accept": "application/json", "Content-Type": "application/json", **(self.headers or {})}
        return event


@dataclass(frozen=True)
class Turn:
    """One repeat of an operation. ``user`` is the caller. ``target`` is the user whose credits a supervisor changes.

    ``seeded`` has the values that the requests take from the seeded data, such as a key's id.
    """

    name: str
    number: int
    user: str
    target: str
    seeded: dict[str, str]

    @cached_property
    def session_id(self) -> str:
        """Return the id of the turn's session: a UUIDv7, as in the Python client."""
        return uuid7(clock())


@dataclass(frozen=True)
class Operation:
    """A request, the requests that must precede it, the cache to empty before it, and the expected status."""

    name: str
    request: Callable[[Turn], Request]
    before: tuple[Callable[[Turn], Request], ...] = ()
    forgets: str = ""
    status: int = 200

    @property
    def slug(self) -> str:
        """Return the name in a form that a user's id can have."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.name)


def _session(call: str, **more: Any) -> Callable[[Turn], Request]:
    return lambda turn: Request(f"streaming_sessions/{call}", turn.user, {"sessionId": turn.session_id, **more})


def _supervise(call: str, more: Callable[[Turn], dict[str, Any]]) -> Callable[[Turn], Request]:
    return lambda turn: Request(
        f"credits/{call}", "supervisor", {"userId": turn.target, "notes": "bench", **more(turn)}, role="supervisor"
    )


def _record(*, deduct: bool, key: bool = False) -> Callable[[Turn], Request]:
    body = {"service": "images", "operation": "render", "credits": 5, "metadata": {"size": "1024x1024"}}
    return lambda turn: Request(
        "usage/record",
        turn.user,
        {**body, "deduct": deduct},
        headers={"Idempotency-Key": f"{turn.user}-{turn.name}"} if key else None,
    )


def _statistics(turn: Turn) -> Request:
    query = {"startDate": turn.seeded["startDate"], "endDate": turn.seeded["endDate"]}
    return Request("usage/stats", turn.user, query=query)


INITIALIZE = _session("initialize", modelId=MODEL, estimatedTokens=5_000)

CREDITS = [
    Operation("balance", lambda turn: Request("credits/balance", turn.user)),
    Operation(
        "balance with an API key", lambda turn: Request("credits/balance", turn.user, key_id=turn.seeded["keyId"])
    ),
    Operation(
        "… key not read in the last 30 s",
        lambda turn: Request("credits/balance", turn.user, key_id=turn.seeded["keyId"]),
        forgets="api_keys",
    ),
    Operation("check", lambda turn: Request("credits/check", turn.user, {"requiredCredits": 100})),
    Operation("calculate", lambda turn: Request("credits/calculate", turn.user, {"modelId": MODEL, "tokens": 5_000})),
    Operation(
        "… price not read in the last 60 s",
        lambda turn: Request("credits/calculate", turn.user, {"modelId": MODEL, "tokens": 5_000}),
        forgets="prices",
    ),
    Operation("allocate", _supervise("allocate", lambda _: {"credits": 1_000}), status=201),
    Operation("set", _supervise("set", lambda turn: {"credits": 900 + 200 * (turn.number % 2)})),
    Operation("remove", _supervise("remove", lambda _: {"credits": 1})),
    Operation("adjust", _supervise("adjust", lambda turn: {"adjustment": -1 if turn.number % 2 else 1})),
]
LEDGER = [
    Operation("allocations", lambda turn: Request("ledger/allocations", turn.user)),
    Operation("ledger", lambda turn: Request("ledger/ledger", turn.user)),
]
SESSIONS = [
    Operation("initialize", INITIALIZE, status=201),
    Operation("heartbeat", _session("heartbeat", tokensGenerated=2_000), (INITIALIZE,)),
    Operation("heartbeat that raises the hold", _session("heartbeat", tokensGenerated=9_000), (INITIALIZE,)),
    Operation("finalize", _session("finalize", actualTokens=4_000), (INITIALIZE,)),
    Operation("abort", _session("abort", tokensGenerated=2_000), (INITIALIZE,)),
]
USAGE = [
    Operation("usage/record", _record(deduct=False), status=201),
    Operation("usage/record with deduction", _record(deduct=True), status=201),
    Operation("usage/record with Idempotency-Key", _record(deduct=False, key=True), status=201),
    Operation("usage/stats of 30 days", _statistics),
]
USERS = [Operation("users/me", lambda turn: Request("users/me", turn.user))]
KEYS = [
    Operation("api-keys/validate", lambda turn: Request("api_keys/validate", "", {"key": turn.seeded["keyText"]})),
    Operation(
        "… validate, key not read in the last 30 s",
        lambda turn: Request("api_keys/validate", "", {"key": turn.seeded["keyText"]}),
        forgets="api_keys",
    ),
]

BY_FUNCTION: dict[str, list[Operation]] = {
    "credits": CREDITS,
    "ledger": LEDGER,
    "streaming_sessions": SESSIONS,
    "usage": USAGE,
    "users": USERS,
    "api_keys": KEYS,
}


def operation_named(function: str, name: str) -> Operation:
    return next(operation for operation in BY_FUNCTION[function] if operation.name == name)
