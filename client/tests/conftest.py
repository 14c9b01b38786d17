"""The fixture ``ask``, which runs a test with the sync client and again with the async client.

The test answers the client's requests in place of the service.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from accounting_client import AccountingClient, AsyncAccountingClient, Retries

if TYPE_CHECKING:
    from collections.abc import Callable

BASE_URL = "https://accounting.example.com/v1"
QUICK = Retries(first_seconds=0.001, longest_seconds=0.001)

type Service = Callable[[httpx.Request], httpx.Response]


class Ask(Protocol):
    """Calls ``act`` with a client, and returns the result. ``service`` answers the client's requests.

    If the result is an iterator, a list of its items is returned.
    """

    def __call__(self, service: Service, act: Callable[[Any], Any], token: Any = "jwt", **options: Any) -> Any: ...


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Return a function that calls the sync client, or the async client."""

    def sync(service: Service, act: Callable[[Any], Any], token: Any = "jwt", **options: Any) -> Any:
        options = {"retries": QUICK, **options}
        with httpx.Client(transport=httpx.MockTransport(service)) as http:
            result = act(AccountingClient(BASE_URL, token, http=http, **options))
            return list(result) if hasattr(result, "__next__") else result

    async def awaited(service: Service, act: Callable[[Any], Any], token: Any = "jwt", **options: Any) -> Any:
        options = {"retries": QUICK, **options}
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(service)) as http,
            AsyncAccountingClient(BASE_URL, token, http=http, **options) as client,
        ):
            result = act(client)
            return [item async for item in result] if hasattr(result, "__anext__") else await result

    def asynchronous(service: Service, act: Callable[[Any], Any], token: Any = "jwt", **options: Any) -> Any:
        return asyncio.run(awaited(service, act, token, **options))

    return sync if request.param == "sync" else asynchronous
