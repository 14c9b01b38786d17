"""The client has methods for exactly the routes of the service's contract, with docstrings and result types."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, assert_type

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, UnexpectedAnswer
from accounting_client.call import identifier, path
from accounting_client.routes.credits import Balance
from accounting_client.routes.users import User
from client.tests.conftest import BASE_URL, Ask
from client.tests.played import Played, ok
from local.declarations import declared
from tests.api import CONTRACT, DOCS, INTERNAL, PUBLIC, Route, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWN = {"close", "aclose", "with_token", "for_user", "streaming_session", "send", "exchange", "carry", "keep"}
OWN |= {"acting_for", "identity", "outbox_key", "output_limit", "settle_at_exit"}
"""Methods of a client that are not routes."""
ALTERNATIVES = (("expiry_days", "expires_at"), ("user_id", "account_id"), ("user_id", "key_id"))
"""Pairs of arguments that exclude each other."""
ALIASES = {("GET", "/health"): ("GET", "/api/health"), ("GET", "/api/usage/system"): ("GET", "/api/usage/system-stats")}
"""Routes that need no method, each with the route that gives the same answer."""
WITHOUT_A_METHOD: set[Route] = set()
"""Routes that no caller of the client needs."""
ROUTES = sorted(CONTRACT, key=lambda route: route[1].count("{}"))
AT = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
SAMPLES: dict[str, Any] = {
    "effective_from": AT,
    "effective_to": AT,
    "price_per_thousand_tokens": Decimal("0.25"),
    "expires_at": AT,
    "usage": {"inputTokens": 5, "outputTokens": 7},
}


def methods(client: object) -> dict[str, Callable[..., Any]]:
    found = inspect.getmembers(client, callable)
    return {name: method for name, method in found if not name.startswith("_") and name not in OWN}


def arguments(method: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments for each call of a method. The first call has only the required arguments.

    The other calls have all arguments except one of each pair in `ALTERNATIVES`: one call for each way to choose.
    """
    parameters = inspect.signature(method).parameters.values()
    required = {each.name for each in parameters if each.default is each.empty}
    every = {each.name for each in parameters}
    pairs = [pair for pair in ALTERNATIVES if {*pair} <= every and pair[1] not in required]
    for names in (required, *(every - {*others} for others in product(*pairs))):
        yield {name: SAMPLES.get(name, f"a-{name}") for name in names} | dict.fromkeys(required - names)


def requests() -> list[httpx.Request]:
    """Call every method with each of its `arguments`, and return the requests. Every answer is an empty object."""
    service = Played(ok({}))
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, "jwt", service_key="key", http=http)
        for method in methods(client).values():
            for values in arguments(method):
                with suppress(UnexpectedAnswer):
                    next(method(**values))
    return service.requests


def route_of(request: httpx.Request) -> Route:
    asked = request.url.raw_path.decode().partition("?")[0].removeprefix("/v1")
    matching = (
        (method, template)
        for method, template in ROUTES
        if method == request.method and re.fullmatch(template.replace("{}", "[^/]+"), asked)
    )
    return next(matching)


def test_every_route_has_a_method() -> None:
    assert {route_of(request) for request in requests()} == CONTRACT.keys() - ALIASES.keys() - DOCS - WITHOUT_A_METHOD
    assert ALIASES.keys() <= CONTRACT.keys()


def test_both_clients_have_the_same_methods() -> None:
    one, other = AccountingClient(BASE_URL), AsyncAccountingClient(BASE_URL)

    assert {name: inspect.signature(method).parameters for name, method in methods(one).items()} == {
        name: inspect.signature(method).parameters for name, method in methods(other).items()
    }


def test_every_method_has_a_docstring_and_a_result_type() -> None:
    for client, name in product((AccountingClient, AsyncAccountingClient), methods(AccountingClient)):
        method = getattr(client, name)
        assert inspect.getdoc(method), name
        assert method.__name__ == name
        assert "Call" not in inspect.signature(method).return_annotation, name


def test_an_idempotency_key_is_sent_to_exactly_the_routes_that_take_one() -> None:
    keyed = {route_of(request) for request in requests() if "idempotency-key" in request.headers}

    assert keyed == {(method.upper(), plain(path)) for (method, path), about in declared().items() if about.takes_key}
    assert keyed


def test_every_route_gets_the_credentials_that_it_requires() -> None:
    reports = {("POST", f"/api/streaming-sessions/{step}") for step in ("initialize", "heartbeat", "finalize", "abort")}
    for request in requests():
        route = route_of(request)
        assert ("authorization" in request.headers) == (route not in PUBLIC | INTERNAL), route
        with_key = route in INTERNAL | reports | {("POST", "/api/usage/record")}
        assert ("x-internal-api-key" in request.headers) == with_key, route


def typed(client: AccountingClient) -> None:
    """Code that mypy must accept; nobody calls it."""
    assert_type(client.balance("u"), Balance)
    assert_type(client.users(role="admin"), "Iterator[User]")
    client.balance(7)  # type: ignore[arg-type]
    client.allocate("u", 5, expire=3)  # type: ignore[call-arg]


async def typed_too(client: AsyncAccountingClient) -> None:
    """Like `typed`, for asyncio."""
    assert_type(await client.balance("u"), Balance)
    async for user in client.users():
        assert_type(user, User)


def test_ids_in_a_path_are_escaped_and_ids_that_would_change_the_route_are_refused() -> None:
    assert path("/a/{}/b", "a%41 b@c") == "/a/a%2541%20b%40c/b"
    assert path("/a/{}", identifier("a/b:1")) == "/a/a%252Fb%253A1"
    assert path("/a/{}", "a/b%41") == "/a/a%252Fb%252541", "a user's id may have a slash"
    assert path("/a/{}", AT) == "/a/2026-11-21T08%3A30%3A00.000Z"
    for other_route in ("", ".", ".."):
        with pytest.raises(ValueError, match="must not be empty"):
            path("/a/{}", other_route)


def test_an_instant_without_a_time_zone_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        ask(Played(ok({})), lambda client: client.add_price("m", 3, effective_from=AT.replace(tzinfo=None)))


def test_a_price_is_sent_and_read_to_its_last_digit(ask: Ask) -> None:
    rule = {"modelId": "m", "pricePerThousandTokens": 0.0001, "effectiveFrom": None, "effectiveTo": None, "new": 1}
    service = Played(ok(rule))

    found = ask(service, lambda client: client.add_price("m", Decimal("0.0001")))

    assert service.bodies == [{"modelId": "m", "pricePerThousandTokens": "0.0001"}]
    assert found.price_per_thousand_tokens == Decimal("0.0001")
