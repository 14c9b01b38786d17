"""Mixins that account for the calls of an SDK's client, and iterators that account for the streams.

To account for a call means to hold credits before the call and to settle what it used.

The SDKs of OpenAI and Anthropic send every request with the method ``request`` of their client, and read a stream with
the iterator of their ``Stream``. This module accounts for calls in these two places. It imports nothing of an SDK.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, cast

from accounting_client.estimates import Estimate
from accounting_client.hold import OnUnreachable, WhenShort
from accounting_client.sdk_call import AccountedCall, Accounting, Provider, Request

if TYPE_CHECKING:
    from types import AsyncGeneratorType, GeneratorType

    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.async_session import AsyncStreamingSession
    from accounting_client.client import AccountingClient
    from accounting_client.session import StreamingSession

_classes: dict[tuple[type, type], type] = {}


class Parts:
    """Passes the parts of a stream to its reader. Settles the session when the stream ends, fails or is closed."""

    def __init__(self, stream: Any, call: AccountedCall[StreamingSession]) -> None:
        self._call = call
        self._close = stream.response.close
        self._parts = cast("GeneratorType[Any, None, None]", self._read(stream._iterator))
        stream._iterator = self._parts
        stream.response.close = self.close

    def _read(self, parts: Iterator[Any]) -> Generator[Any, None, None]:
        call = self._call
        try:
            for part in parts:
                try:
                    is_hidden = call.read(part)
                except BaseException:  # the hold can't be increased, or somebody has ended the session
                    self._close()
                    self._settle()
                    raise
                if not is_hidden:
                    yield part
            call.is_complete = True
            self._settle()
        except GeneratorExit:  # the reader has left; this may be garbage collection, in which nothing may be sent
            raise
        except BaseException as error:
            call.failed(error)
            if session := call.end():
                session.abort()
            raise

    def close(self) -> None:
        """Close the response, and settle if the reader has left the stream.

        A call from ``__stream__``, the SDK's iterator, does not settle. It may come during garbage collection, when
        nothing may be sent. If the session is still open then, the heartbeat thread aborts it.
        """
        self._close()
        if not self._parts.gi_running and sys._getframe(1).f_code.co_name != "__stream__":
            self._settle()

    def _settle(self) -> None:
        if session := self._call.end():
            session.finalize() if self._call.is_complete else session.abort()


class AsyncParts:
    """As `Parts`, for asyncio."""

    def __init__(self, stream: Any, call: AccountedCall[AsyncStreamingSession]) -> None:
        self._call = call
        self._close = stream.response.aclose
        self._parts = cast("AsyncGeneratorType[Any, None]", self._read(stream._iterator))
        stream._iterator = self._parts
        stream.response.aclose = self.close

    async def _read(self, parts: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        call = self._call
        try:
            async for part in parts:
                try:
                    is_hidden = call.read(part)
                except BaseException:  # the hold can't be increased, or somebody has ended the session
                    try:
                        await self._close()
                    finally:
                        await self._settle()
                    raise
                if not is_hidden:
                    yield part
            call.is_complete = True
            await self._settle()
        except GeneratorExit:  # the reader has left the stream
            raise
        except BaseException as error:
            call.failed(error)
            if session := call.end():
                await session.abort()
            raise

    async def close(self) -> None:
        """Close the response, and settle if the reader has left the stream."""
        try:
            await self._close()
        finally:
            if not self._parts.ag_running:
                await self._settle()

    async def _settle(self) -> None:
        if session := self._call.end():
            await (session.finalize() if self._call.is_complete else session.abort())


class Options(TypedDict, total=False):
    """The options of ``accounted`` and ``with_accounting``."""

    user: str | None
    estimate: Estimate
    max_output_tokens: int
    when_short: WhenShort
    on_unreachable: OnUnreachable
    variant: str | None
    metadata: Mapping[str, Any] | None
    session_id: str | None
    account_id: str | None
    run_id: str | None
    heartbeat_seconds: float | None
    settle_seconds: float


class _Wrapped:
    """The methods that `Accounted` and `AsyncAccounted` share."""

    _accounting: Accounting[Any]
    _api: Provider

    def with_accounting(self, **options: Unpack[Options]) -> Self:
        """A copy of the client with these options of ``accounted`` replaced. The copy uses the client's connections."""
        twin: Self = _twin(self, type(self))
        twin._accounting = replace(self._accounting, **options)
        return twin

    def copy(self, **options: Any) -> Self:
        """Copy the client as the SDK does, and account for the copy's calls."""
        twin: Self = super().copy(**options)  # type: ignore[misc]
        twin._accounting = self._accounting
        return twin

    with_options = copy


class Accounted(_Wrapped):
    """A mixin for an SDK's sync client."""

    def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """Hold credits, then call the SDK's method. If the credits can't be held, the model is not called."""
        send: Callable[..., Any] = super().request  # type: ignore[misc]
        if (route := self._api.route(options)) is None:
            return send(cast_to, options, stream=stream, stream_cls=stream_cls)
        accounting: Accounting[AccountingClient] = self._accounting
        request, acting = Request(route, options, accounting), accounting.acting
        limit = accounting.max_output_tokens
        if request.needs_limit:
            limit = acting.output_limit(request.model, limit)
        session: StreamingSession = accounting.session(acting, request.model, request.estimate(limit))
        session.__enter__()
        call = AccountedCall(self._api, route, session)
        try:
            sent = request.within(session.max_output_tokens, stream=stream)
            answer = send(cast_to, sent, stream=stream, stream_cls=stream_cls)
            if stream:
                call.hides_usage = request.hides_usage
                Parts(answer, call)
                return answer
        except BaseException as error:
            call.failed(error)
            if ended := call.end():
                ended.abort()
            raise
        call.note_answer(answer)
        if ended := call.end():
            ended.finalize()
        return answer


class AsyncAccounted(_Wrapped):
    """A mixin for an SDK's client for asyncio."""

    async def request(self, cast_to: Any, options: Any, *, stream: bool = False, stream_cls: Any = None) -> Any:
        """As `Accounted.request`."""
        send: Callable[..., Any] = super().request  # type: ignore[misc]
        if (route := self._api.route(options)) is None:
            return await send(cast_to, options, stream=stream, stream_cls=stream_cls)
        accounting: Accounting[AsyncAccountingClient] = self._accounting
        request, acting = Request(route, options, accounting), accounting.acting
        limit = accounting.max_output_tokens
        if request.needs_limit:
            limit = await acting.output_limit(request.model, limit)
        session: AsyncStreamingSession = accounting.session(acting, request.model, request.estimate(limit))
        await session.__aenter__()
        call = AccountedCall(self._api, route, session)
        try:
            sent = request.within(session.max_output_tokens, stream=stream)
            answer = await send(cast_to, sent, stream=stream, stream_cls=stream_cls)
            if stream:
                call.hides_usage = request.hides_usage
                AsyncParts(answer, call)
                return answer
        except BaseException as error:
            call.failed(error)
            if ended := call.end():
                await ended.abort()
            raise
        call.note_answer(answer)
        if ended := call.end():
            await ended.finalize()
        return answer


def wrapped(client: Any, kind: type, accounting: Accounting[Any]) -> Any:
    """A copy of an SDK's client whose calls are accounted for. ``kind`` is `Accounted` or `AsyncAccounted`.

    Raises TypeError if the SDK's client is for asyncio and the accounting client is not, or the other way around.
    """
    is_async = issubclass(kind, AsyncAccounted)
    if is_async != hasattr(accounting.client, "aclose"):
        wanted = "AsyncAccountingClient" if is_async else "AccountingClient"
        raise TypeError(f"{type(client).__name__} takes an {wanted}, not {type(accounting.client).__name__}")
    twin = _twin(client, type(client) if isinstance(client, kind) else _class_of(type(client), kind))
    twin._accounting = accounting
    return twin


def _twin(client: Any, kind: type) -> Any:
    """A copy of the client, with the class ``kind``.

    Cached parts of the client, such as ``chat``, are left out: they would call the original client.
    """
    twin: Any = object.__new__(kind)
    own = {name: each for name, each in vars(client).items() if getattr(each, "_client", None) is not client}
    vars(twin).update(own)
    return twin


def _class_of(client: type, kind: type) -> type:
    if (known := _classes.get((client, kind))) is None:
        known = _classes[client, kind] = type(f"Accounted{client.__name__}", (kind, client), {})
    return known
