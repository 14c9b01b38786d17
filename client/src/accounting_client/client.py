"""The client for synchronous code."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from os import PathLike
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from accounting_client import routes
from accounting_client.background import ThreadSender, unclosed
from accounting_client.backlog import Backlog, Key
from accounting_client.call import Call, Listing, advancing
from accounting_client.credentials import Authorization, Token, identity_of
from accounting_client.errors import AccountingError, ModelUnknown, PriceNotFound
from accounting_client.estimates import DEFAULT_OUTPUT_TOKENS, OutputLimits, least
from accounting_client.exchange import CONNECTIONS, FAULTS, Exchange, Fault, Succeeded, checked_settings
from accounting_client.hold import SETTLE_SECONDS, OnUnreachable, Terms, WhenShort
from accounting_client.method import described
from accounting_client.process import PerProcess, refuse_inherited
from accounting_client.retries import ONCE_BRIEFLY, Retries
from accounting_client.session import StreamingSession, ThreadHold, close_all

P = ParamSpec("P")
T = TypeVar("T")


def _method(route: Callable[P, Call[T]]) -> Callable[Concatenate[AccountingClient, P], T]:
    """Return the method that calls a route."""

    def method(client: AccountingClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client.send(route(*args, **kwargs))

    return described(method, route, "{}")


def _iterator(route: Callable[P, Listing[T]]) -> Callable[Concatenate[AccountingClient, P], Iterator[T]]:
    """Return the method that yields a list's items, and fetches a page when it is needed."""

    def method(client: AccountingClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        page_at, cursor, seen = route(*args, **kwargs), None, set[str | None]()
        while True:
            page = client.send(advancing(page_at, cursor, seen))
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    return described(method, route, "Iterator[{}]")


class AccountingClient:
    """A client of the Accounting Service for one caller. Many threads may share the client.

    Use the client as a context manager, or call `close`.
    """

    def __init__(
        self,
        base_url: str,
        token: Token = None,
        *,
        service_key: str | None = None,
        timeout_seconds: float = 10.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        http: httpx.Client | None = None,
        outbox: str | PathLike[str] | None = None,
    ) -> None:
        """Make a client of the service at ``base_url``, the stack's output ``ApiUrl``.

        ``token`` is a JWT, an `ApiKey`, a `ServiceCredential`, or a function that returns one. The function is called
        when a token is first needed, and again when the service answers ``TOKEN_EXPIRED``, ``TOKEN_INVALID`` or
        ``SERVICE_CREDENTIAL_INVALID``.

        ``service_key`` is the platform's internal key. The client sends it with calls of internal routes, and with
        reports of usage, which need it if the stack sets ``RequireServiceKey``. ``http`` is an httpx client of your
        own; you must close it yourself. ``outbox`` is a file in which the client keeps settlements that the service has
        not answered. If the process is killed, the next process with this file sends them. Processes may share the
        file.
        """
        self._settings = checked_settings(base_url, service_key, timeout_seconds, retries)
        self._authorization = Authorization(token)
        self._output_limits = OutputLimits()
        self._owns_http = http is None
        self._is_twin = False
        self._open_sessions = PerProcess(set[ThreadHold])
        self._restart_loses_token = False
        self._background = PerProcess(lambda: ThreadSender(Backlog(retries, self._settings.base_url, outbox)))
        self._http = PerProcess(
            lambda: httpx.Client(limits=CONNECTIONS) if http is None else refuse_inherited(http), http
        )
        unclosed.add(self)
        if outbox is not None:
            self.background.start(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Abort the sessions that are still open, and close the connections unless they were passed as ``http``.

        All sessions are settled together, within the ``total_seconds`` of the client's retries. The log names the
        sessions that are not settled by then. The sweeper or, with an outbox, the next process ends them.
        """
        if self._is_twin:
            return
        unclosed.discard(self)
        self.settle_at_exit(self.retries.total_seconds)
        if self._owns_http:
            self._http.get().close()

    def settle_at_exit(self, seconds: float) -> None:
        """Abort the open sessions and send the waiting settlements, for at most ``seconds``.

        Then log the sessions that are not settled yet.
        """
        until = time.monotonic() + seconds
        close_all(self.open_sessions, seconds)
        self.background.drain(until - time.monotonic())
        self.background.close()

    @property
    def open_sessions(self) -> set[ThreadHold]:
        """The sessions of this process that are opening, open or being settled, except those left to `background`."""
        return self._open_sessions.get()

    @property
    def background(self) -> ThreadSender:
        """The sender of the settlements that have not succeeded yet."""
        return self._background.get()

    def outbox_key(self, session_id: str) -> Key | None:
        """The session's key in the outbox; None without an outbox.

        Raises ValueError for a client that `with_token` made: a restart would lose its token.
        """
        if self.background.backlog.outbox is None:
            return None
        if self._restart_loses_token:
            raise ValueError("use for_user instead of with_token: with an outbox, a restart would lose the token")
        self.background.start(self)
        return Key(self.identity(), self._settings.acts_for or "", session_id)

    def identity(self) -> str:
        """The identity behind the client's credential. Raises what the token function raises."""
        return identity_of(self._authorization.get(None))

    @property
    def retries(self) -> Retries:
        """How calls are repeated."""
        return self._settings.retries

    @property
    def renewable(self) -> bool:
        """Whether the client has a token function, which may return a new token after the service refused one."""
        return self._authorization.renewable

    def with_token(self, token: Token) -> Self:
        """Return a copy of this client for another caller, over the same connections.

        A copy is cheap: make one for every user. Closing a copy does nothing, because the original client owns the
        connections and all sessions.
        """
        twin = copy(self)
        twin._authorization = Authorization(token)
        twin._restart_loses_token = True
        twin._is_twin = True
        return twin

    def for_user(self, user_id: str) -> Self:
        """Return a copy of this client that acts for the user with this id.

        The client's token must be a `ServiceCredential`. The copy is cheap, and closing it does nothing.
        """
        if not user_id:
            raise ValueError("the user id is empty")
        return self.acting_for(user_id)

    def acting_for(self, user_id: str) -> Self:
        """Return a copy as `for_user` does. With an empty id, the copy acts for the user of the client's own token."""
        twin = copy(self)
        twin._settings = replace(self._settings, acts_for=user_id or None)
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
        settle_seconds: float = SETTLE_SECONDS,
        when_short: WhenShort = "raise",
        on_unreachable: OnUnreachable = "raise",
        account_id: str | None = None,
        run_id: str | None = None,
    ) -> StreamingSession:
        """Account for a stream: ``with client.streaming_session(…) as session:``.

        Entering holds the credits of the estimate. Pass either ``estimated_tokens``, one number for all tokens, or
        ``estimated_usage``, the most tokens of each class, such as ``{"inputTokens": 4000, "outputTokens": 1000}``.
        If the user has too few credits, entering raises InsufficientCredits with ``affordable_tokens`` or
        ``affordable_output_tokens``. ``variant`` names a variant of the model's price. ``metadata`` is stored in the
        usage record.

        Count the tokens with ``session.add_tokens`` as they are generated. When the provider reports its usage, pass
        the usage to ``session.set_usage``. The client sends a heartbeat if the tokens no longer fit the hold, and
        before the service's time-out; with ``heartbeat_seconds``, it also sends one at that interval.

        Leaving the block finalizes the session. An exception aborts it. The charge is for the usage that was set or, if
        none was set, for the tokens counted. Leaving the block raises no error if settling fails. If settling does not
        succeed within ``settle_seconds``, it continues in the background. ``session.result`` has the outcome.

        With ``when_short="shorten"``, the estimate's output is reduced to what the user can pay for, and
        ``session.max_output_tokens`` has the reduced number. If the service can't be reached and ``on_unreachable`` is
        ``"allow"``, the stream begins without a hold, and is charged later.

        ``account_id`` is the account that pays, by default the caller's own. ``run_id`` is a run of this account.
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
            when_short=when_short,
            on_unreachable=on_unreachable,
            account_id=account_id,
            run_id=run_id,
        )
        return StreamingSession(self, terms)

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
    outstanding_credits = _method(routes.ledger.outstanding_credits)

    initialize = _method(routes.sessions.initialize)
    preview_session = _method(routes.sessions.preview_session)
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

    create_organization = _method(routes.organizations.create_organization)
    organizations = _iterator(routes.organizations.organizations)
    organizations_page = _method(routes.organizations.organizations_page)
    organization = _method(routes.organizations.organization)
    rename_organization = _method(routes.organizations.rename_organization)
    close_organization = _method(routes.organizations.close_organization)
    members = _iterator(routes.organizations.members)
    members_page = _method(routes.organizations.members_page)
    set_member = _method(routes.organizations.set_member)
    remove_member = _method(routes.organizations.remove_member)

    set_budget = _method(routes.budgets.set_budget)
    budgets = _iterator(routes.budgets.budgets)
    budgets_page = _method(routes.budgets.budgets_page)
    delete_budget = _method(routes.budgets.delete_budget)
    begin_run = _method(routes.budgets.begin_run)
    run = _method(routes.budgets.run)
    stop_run = _method(routes.budgets.stop_run)

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

    def output_limit(self, model_id: str, default: int = DEFAULT_OUTPUT_TOKENS) -> int:
        """How many output tokens a request without a limit reserves: the model's maximum, at most ``default``.

        The maximum is in the model's price (``maxOutputTokens``), and is cached for five minutes. If the price can't be
        read within about two seconds, for example because the service is down, the method uses the maximum that
        was read last, or ``default``. After such a failure, the next call of this method tries to read the price again.
        """
        is_current, limit = self._output_limits.get(model_id)
        if not is_current:
            try:
                limit = (self.send(routes.pricing.price(model_id), ONCE_BRIEFLY)).max_output_tokens
                self._output_limits.put(model_id, limit)
            except (ModelUnknown, PriceNotFound):
                limit = None
                self._output_limits.put(model_id, limit)
            except AccountingError:  # for example an outage, which says nothing about the price
                pass
        return least(limit, default)

    def send(self, call: Call[T], retries: Retries | None = None) -> T:
        """Send a route's call, and repeat it if that may help and cannot do harm. Raises AccountingError."""
        return self.carry(self.exchange(call, retries))

    def exchange(self, call: Call[T], retries: Retries | None = None) -> Exchange[T]:
        """Return an exchange for `carry`. Its ``may_be_done`` says whether the call may have been carried out."""
        return Exchange(call, self._settings, retries, renewable=self._authorization.renewable)

    def carry(self, exchange: Exchange[T]) -> T:
        """Carry out an exchange, as `send` does."""
        http = self._http.get()
        while True:
            authorization = self._authorization.get(exchange.refused) if exchange.sends_token else None
            request = exchange.request(http, authorization)
            outcome: httpx.Response | Fault
            try:
                outcome = http.send(request)
            except FAULTS as error:
                outcome = error
            verdict = exchange.judge(outcome)
            if isinstance(verdict, Succeeded):
                return verdict.value
            time.sleep(verdict.pause_seconds)
