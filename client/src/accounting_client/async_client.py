"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from accounting_client import routes
from accounting_client.async_session import AsyncStreamingSession, TaskHold, task_of
from accounting_client.call import Call, Listing, advancing
from accounting_client.credentials import AsyncAuthorization, AsyncToken
from accounting_client.exchange import CONNECTIONS, FAULTS, Done, Exchange, Fault, Settings
from accounting_client.hold import Terms
from accounting_client.method import described
from accounting_client.process import PerProcess, brought_over
from accounting_client.retries import Retries

P = ParamSpec("P")
T = TypeVar("T")

CANCELLING_SECONDS = 1.0
"""How long closing waits for what it has cancelled."""


def _method(route: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncAccountingClient, P], Coroutine[Any, Any, T]]:
    """The method that calls a route."""

    async def method(client: AsyncAccountingClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client.send(route(*args, **kwargs))

    return described(method, route, "{}")


def _iterator(route: Callable[P, Listing[T]]) -> Callable[Concatenate[AsyncAccountingClient, P], AsyncIterator[T]]:
    """The method that goes through a list, page by page, as far as it is asked to."""

    async def method(client: AsyncAccountingClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        page_at, cursor, seen = route(*args, **kwargs), None, set[str | None]()
        while True:
            page = await client.send(advancing(page_at, cursor, seen))
            for item in page.items:
                yield item
            if (cursor := page.next_cursor) is None:
                return

    return described(method, route, "AsyncIterator[{}]")


class AsyncAccountingClient:
    """The Accounting Service, for one caller. Fit for many tasks of one loop; a context manager, or `aclose` it."""

    def __init__(
        self,
        base_url: str,
        token: AsyncToken = None,
        *,
        service_key: str | None = None,
        timeout_seconds: float = 10.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Make a client of the service at ``base_url``, the stack's output ``ApiUrl``.

        ``token`` is a JWT, an `ApiKey`, a `ServiceCredential`, or a function (a coroutine function, too) that returns
        one: it is called when a token is first needed, and again when the service refuses it. ``service_key`` is the
        platform's own: it is shown where usage is reported, and needed under ``RequireServiceKey`` and by the internal
        routes. ``http`` brings connections of your own, which are then yours to close.
        """
        self._settings = Settings(base_url.rstrip("/"), service_key, timeout_seconds, retries)
        self._authorization = AsyncAuthorization(token)
        self._kept = PerProcess(set[asyncio.Task[Any]])
        self._owns_http = http is None
        self._is_twin = False
        self._open_sessions = PerProcess(set[TaskHold])
        self._http = PerProcess(
            lambda: httpx.AsyncClient(limits=CONNECTIONS) if http is None else brought_over(http), http
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Abort the sessions that are still open, wait for those that are being settled, and close the connections.

        All are settled together, within the ``total_seconds`` of the client's retries. Those that are not settled by
        then stand in the log, and the sweeper ends them. Connections that are another's stay open.
        """
        if self._is_twin:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self.retries.total_seconds):
                await self._settle_all()
        for hold in self.open_sessions:
            hold.left_behind()
        if left := self._kept.get():
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CANCELLING_SECONDS)
        if self._owns_http:
            await self._http.get().aclose()

    async def _settle_all(self) -> None:
        while True:
            for hold in tuple(self.open_sessions):
                await hold.close()
            if not (kept := self._kept.get()):
                return
            await asyncio.wait(kept, return_when=asyncio.FIRST_COMPLETED)

    @property
    def open_sessions(self) -> set[TaskHold]:
        """The sessions that this process has opened and not settled."""
        return self._open_sessions.get()

    @property
    def retries(self) -> Retries:
        """How calls are repeated."""
        return self._settings.retries

    @property
    def renewable(self) -> bool:
        """Whether there may be another token than one that was refused."""
        return self._authorization.renewable

    def with_token(self, token: AsyncToken) -> Self:
        """The same client for another caller, over the same connections: cheap, one for every user of a proxy.

        Closing it does nothing: the first client keeps the connections and the sessions of all.
        """
        twin = copy(self)
        twin._authorization = AsyncAuthorization(token)
        twin._is_twin = True
        return twin

    def for_user(self, user_id: str) -> Self:
        """The same client of a `ServiceCredential`, for a user: the service acts for them, by their id.

        As cheap as `with_token`, and closed as little.
        """
        if not user_id:
            raise ValueError("a service acts for a user: their id is empty")
        twin = copy(self)
        twin._settings = replace(self._settings, acts_for=user_id)
        twin._is_twin = True
        return twin

    def streaming_session(  # noqa: PLR0913 - what a session is opened with, by keyword
        self,
        model_id: str,
        estimated_tokens: int | None = None,
        *,
        estimated_usage: Mapping[str, Any] | None = None,
        variant: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        heartbeat_seconds: float | None = None,
        settle_seconds: float = 30.0,
    ) -> AsyncStreamingSession:
        """Account a stream: ``async with client.streaming_session(…) as session:``.

        Entering holds the credits of the estimate: ``estimated_tokens``, a number of all tokens, or
        ``estimated_usage``, the most that the request can use by class, such as
        ``{"inputTokens": 4000, "outputTokens": 1000}``. It raises InsufficientCredits with ``affordable_tokens`` or
        ``affordable_output_tokens``. ``variant`` is that of the model's price; ``metadata`` is kept with the usage.

        Hand over the provider's usage by ``session.set_usage``, and count what is generated meanwhile by
        ``session.add_tokens``. Heartbeats go out by themselves when the tokens no longer fit the hold, and before the
        service's time-out. With ``heartbeat_seconds`` they also go out that often. Leaving finalizes; an exception or a
        cancellation aborts: both charge the usage or, without one, the tokens counted, are repeated for up to
        ``settle_seconds``, and raise nothing. ``session.result`` has what it came to.
        """
        terms = Terms(
            model_id,
            estimated_tokens,
            session_id,
            heartbeat_seconds,
            settle_seconds,
            estimated_usage=estimated_usage,
            variant=variant,
            metadata=metadata,
        )
        return AsyncStreamingSession(self, terms)

    health = _method(routes.health.health)

    balance = _method(routes.credits.balance)
    check = _method(routes.credits.check)
    calculate = _method(routes.credits.calculate)
    allocate = _method(routes.credits.allocate)
    set_credits = _method(routes.credits.set_credits)
    remove = _method(routes.credits.remove)
    adjust = _method(routes.credits.adjust)
    allocations = _iterator(routes.credits.allocations)
    allocations_page = _method(routes.credits.allocations_page)
    ledger = _iterator(routes.ledger.ledger)
    ledger_page = _method(routes.ledger.ledger_page)
    audit = _method(routes.ledger.audit)

    initialize = _method(routes.sessions.initialize)
    heartbeat = _method(routes.sessions.heartbeat)
    finalize = _method(routes.sessions.finalize)
    abort = _method(routes.sessions.abort)
    end_session = _method(routes.sessions.end_session)
    active_sessions = _iterator(routes.sessions.active_sessions)
    active_sessions_page = _method(routes.sessions.active_sessions_page)
    all_active_sessions = _iterator(routes.sessions.all_active_sessions)
    all_active_sessions_page = _method(routes.sessions.all_active_sessions_page)
    recent_sessions = _iterator(routes.sessions.recent_sessions)
    recent_sessions_page = _method(routes.sessions.recent_sessions_page)

    record_usage = _method(routes.usage.record_usage)
    usage_stats = _method(routes.usage.usage_stats)
    system_usage = _method(routes.usage.system_usage)

    me = _method(routes.users.me)
    user = _method(routes.users.user)
    users = _iterator(routes.users.users)
    users_page = _method(routes.users.users_page)
    sync_user = _method(routes.users.sync_user)
    disable_user = _method(routes.users.disable_user)
    enable_user = _method(routes.users.enable_user)
    erase_user = _method(routes.users.erase_user)

    create_api_key = _method(routes.api_keys.create_api_key)
    api_keys = _iterator(routes.api_keys.api_keys)
    api_keys_page = _method(routes.api_keys.api_keys_page)
    change_api_key = _method(routes.api_keys.change_api_key)
    revoke_api_key = _method(routes.api_keys.revoke_api_key)
    delete_api_key = _method(routes.api_keys.delete_api_key)
    validate_api_key = _method(routes.api_keys.validate_api_key)

    create_service_credential = _method(routes.service_credentials.create_service_credential)
    service_credentials = _iterator(routes.service_credentials.service_credentials)
    service_credentials_page = _method(routes.service_credentials.service_credentials_page)
    change_service_credential = _method(routes.service_credentials.change_service_credential)
    rotate_service_credential = _method(routes.service_credentials.rotate_service_credential)
    delete_service_credential = _method(routes.service_credentials.delete_service_credential)

    prices = _iterator(routes.pricing.prices)
    prices_page = _method(routes.pricing.prices_page)
    price = _method(routes.pricing.price)
    price_history = _iterator(routes.pricing.price_history)
    add_price = _method(routes.pricing.add_price)
    import_prices = _method(routes.pricing.import_prices)
    end_price = _method(routes.pricing.end_price)
    withdraw_price = _method(routes.pricing.withdraw_price)

    async def send(self, call: Call[T], retries: Retries | None = None) -> T:
        """Send what a route made, and again while that may help and can't harm. Raises AccountingError."""
        return await self.carry(self.exchange(call, retries))

    def exchange(self, call: Call[T], retries: Retries | None = None) -> Exchange[T]:
        """A call to `carry`, for who has to know afterwards whether the service may have carried it out."""
        settings = self._settings if retries is None else replace(self._settings, retries=retries)
        return Exchange(call, settings, renewable=self._authorization.renewable)

    async def carry(self, exchange: Exchange[T]) -> T:
        """Do what `send` does."""
        http = self._http.get()
        while True:
            authorization = await self._authorization.get(exchange.refused) if exchange.shows_token else None
            request = exchange.request(http, authorization)
            outcome: httpx.Response | Fault
            try:
                outcome = await http.send(request)
            except FAULTS as error:
                outcome = error
            judged = exchange.heard(outcome)
            if isinstance(judged, Done):
                return judged.value
            await asyncio.sleep(judged.pause_seconds)

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` to its end even if those who wait for it are cancelled; `aclose` waits for it."""
        task, kept = task_of(work), self._kept.get()
        kept.add(task)
        task.add_done_callback(kept.discard)
        return task
