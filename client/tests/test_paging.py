"""Lists are iterators that fetch only the pages that are needed."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, UnexpectedAnswer
from accounting_client.routes.pricing import Rates
from client.tests.conftest import BASE_URL
from client.tests.played import Played, ok, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.tests.conftest import Ask

AT = "2026-11-21T08:30:00.000Z"


def user(number: int) -> dict[str, Any]:
    return {
        "userId": f"u{number}",
        "email": f"u{number}@example.com",
        "username": f"u{number}",
        "role": "user",
        "createdAt": AT,
        "updatedAt": AT,
    }


def session(number: int) -> dict[str, Any]:
    return {
        "sessionId": f"s{number}",
        "userId": "u",
        "modelId": "m",
        "estimatedCredits": 1,
        "allocatedCredits": 2,
        "usedCredits": 0,
        "tokensGenerated": 0,
        "status": "active",
        "outcome": None,
        "startedAt": AT,
        "lastSeenAt": AT,
        "completedAt": None,
    }


def users(request: httpx.Request) -> httpx.Response:
    """Five users in pages of two; the cursor is the number of the page's first user."""
    first = int(request.url.params.get("cursor", 0))
    more = {"nextCursor": str(first + 2)} if first + 2 < 5 else {}
    found = [user(number) for number in range(first, min(first + 2, 5))]
    return ok({"total": 5, "page": 1, "totalPages": 3, "users": found, **more})


def sessions(request: httpx.Request) -> httpx.Response:
    """Three sessions in pages of one, with the cursor in a header."""
    first = int(request.url.params.get("cursor", 0))
    headers = {"X-Next-Cursor": str(first + 1)} if first < 2 else {}
    return httpx.Response(200, json=[session(first)], headers=headers)


def test_a_list_is_read_to_its_end(ask: Ask) -> None:
    service = Played(users)

    found = ask(service, lambda client: client.users(role="user", page_size=2))

    assert [each.user_id for each in found] == ["u0", "u1", "u2", "u3", "u4"]
    assert [request.url.params.get("cursor") for request in service.requests] == [None, "2", "4"]
    assert {request.url.params["role"] for request in service.requests} == {"user"}


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.recent_sessions(),
        lambda client: client.recent_sessions("u"),
        lambda client: client.all_active_sessions(),
        lambda client: client.active_sessions(),
        lambda client: client.active_sessions("u", page_size=1),
    ],
)
def test_a_list_with_its_cursor_in_a_header_is_read_to_its_end(ask: Ask, act: Callable[[Any], Any]) -> None:
    assert [each.session_id for each in ask(Played(sessions), act)] == ["s0", "s1", "s2"]


def keys(request: httpx.Request) -> httpx.Response:
    """Three API keys of the requested user, in pages of two."""
    owner, last = request.url.params["userId"], "cursor" in request.url.params
    known: dict[str, Any] = {
        "name": "ci",
        "permissions": [],
        "createdAt": AT,
        "expiresAt": None,
        "lastUsed": None,
        "isActive": True,
    }
    found = [known | {"id": f"{owner}-{number}"} for number in ([3] if last else [1, 2])]
    return httpx.Response(200, json=found, headers={} if last else {"X-Next-Cursor": "more"})


def test_another_users_api_keys_are_read_to_their_end(ask: Ask) -> None:
    service = Played(keys)

    assert [each.id for each in ask(service, lambda client: client.api_keys("u", page_size=2))] == ["u-1", "u-2", "u-3"]
    assert {request.url.params["limit"] for request in service.requests} == {"2"}


def rule(number: int) -> dict[str, Any]:
    return {"modelId": f"m{number}", "pricePerThousandTokens": number, "effectiveFrom": AT, "effectiveTo": None}


def prices(request: httpx.Request) -> httpx.Response:
    """Four rules in pages of two. The answer fits both the list of prices and a model's price history."""
    first = int(request.url.params.get("cursor", 0))
    more = {"nextCursor": str(first + 2)} if first == 0 else {}
    found = [rule(first), rule(first + 1)]
    return ok({"defaultPrice": 1, "models": found, **rule(0), "history": found, **more})


@pytest.mark.parametrize("act", [lambda client: client.prices(), lambda client: client.price_history("m")])
def test_prices_are_read_to_their_end(ask: Ask, act: Callable[[Any], Any]) -> None:
    assert [each.model_id for each in ask(Played(prices), act)] == ["m0", "m1", "m2", "m3"]


def test_a_page_of_prices_has_the_default_price_and_the_next_cursor(ask: Ask) -> None:
    page = ask(Played(prices), lambda client: client.prices_page(limit=2))
    history = ask(Played(prices), lambda client: client.price("m", limit=2))

    assert (page.default_price, len(page.models), page.next_cursor) == (1, 2, "2")
    assert (len(history.history), history.next_cursor) == (2, "2")


def test_a_service_that_refuses_unknown_models_has_no_default_price(ask: Ask) -> None:
    page = ask(Played(ok({"models": [rule(0)]})), lambda client: client.prices_page())

    assert (page.default_price, [each.model_id for each in page.models]) == (None, ["m0"])


def test_a_model_without_a_rule_in_force_has_either_a_built_in_price_or_no_price(ask: Ask) -> None:
    future = {"modelId": "m", "effectiveFrom": None, "effectiveTo": None, "history": [rule(3)]}
    built_in = {**future, "pricePerThousandTokens": 0.8, "builtIn": True, "history": []}

    found = ask(Played(ok(future)), lambda client: client.price("m"))
    other = ask(Played(ok(built_in)), lambda client: client.price("m"))

    assert (found.price_per_thousand_tokens, found.rates, found.built_in) == (None, Rates(), False)
    assert [each.price_per_thousand_tokens for each in found.history] == [3]
    assert (other.price_per_thousand_tokens, other.built_in) == (Decimal("0.8"), True)


def test_a_price_rule_without_a_price_raises_an_error(ask: Ask) -> None:
    without = {name: value for name, value in rule(0).items() if name != "pricePerThousandTokens"}

    with pytest.raises(UnexpectedAnswer, match="pricePerThousandTokens is missing"):
        ask(Played(ok({"models": [without]})), lambda client: client.prices_page())


@pytest.mark.parametrize("cursor", ["same", "", "x" * 100_000])
@pytest.mark.parametrize("act", [lambda client: client.users(), lambda client: client.recent_sessions()])
def test_a_list_whose_cursor_leads_nowhere_raises_an_error(ask: Ask, act: Callable[[Any], Any], cursor: str) -> None:
    answer = {"total": 1, "totalPages": 1, "users": [], "nextCursor": cursor}

    def service(request: httpx.Request) -> httpx.Response:
        in_body = request.url.path.endswith("users")
        return ok(answer) if in_body else httpx.Response(200, json=[], headers={"X-Next-Cursor": cursor})

    with pytest.raises(UnexpectedAnswer, match="leads nowhere"):
        ask(Played(service), act)


@pytest.mark.parametrize("act", [lambda client: client.users(), lambda client: client.recent_sessions()])
@pytest.mark.parametrize("lap", [["a", "b"], ["a", "b", "c", "d", "b"]])
def test_a_list_whose_cursors_repeat_raises_an_error(ask: Ask, act: Callable[[Any], Any], lap: list[str]) -> None:
    cursors = cycle(lap)

    def service(request: httpx.Request) -> httpx.Response:
        cursor = next(cursors)
        if request.url.path.endswith("users"):
            return ok({"total": 1, "totalPages": 1, "users": [], "nextCursor": cursor})
        return httpx.Response(200, json=[], headers={"X-Next-Cursor": cursor})

    played = Played(service)
    with pytest.raises(UnexpectedAnswer, match="leads nowhere"):
        ask(played, act)
    assert len(played.requests) <= len(lap) + 1


def test_a_page_has_the_total_and_the_next_cursor(ask: Ask) -> None:
    page = ask(Played(users), lambda client: client.users_page(limit=2))

    assert (len(page.items), page.total, page.total_pages, page.next_cursor) == (2, 5, 3, "2")


def test_an_error_on_the_second_page_is_raised_after_the_items_of_the_first() -> None:
    service = Played(users, refusal(403, "FORBIDDEN"))
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        found = AccountingClient(BASE_URL, "jwt", http=http).users()
        assert [each.user_id for each in islice(found, 2)] == ["u0", "u1"]
        with pytest.raises(Exception, match="FORBIDDEN"):
            next(found)


def test_pages_after_the_last_item_that_is_read_are_not_fetched() -> None:
    service = Played(users)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            async for found in AsyncAccountingClient(BASE_URL, "jwt", http=http).users(page_size=2):
                if found.user_id == "u2":
                    break

    asyncio.run(run())
    assert len(service.requests) == 2
