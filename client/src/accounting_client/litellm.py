"""A callback of the LiteLLM proxy, set with ``litellm_settings: callbacks: accounting_client.litellm.accounting``.

Before a model is called, the callback holds credits, or refuses the request with 402 if there are too few. Then it
settles the usage that the provider reports, or what LiteLLM counted if the caller leaves the stream. It needs
``accounting-client[litellm]``.

If you use LiteLLM without its proxy, put a streaming session around each call of LiteLLM's functions instead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from string import Formatter
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from accounting_client.async_client import AsyncAccountingClient
from accounting_client.credentials import ServiceCredential
from accounting_client.errors import AccountingError, RightMissing
from accounting_client.estimates import DEFAULT_OUTPUT_TOKENS, Estimate, estimated_usage
from accounting_client.litellm_requests import FREE_CALLS, INPUTS, ModelRequest, output_tokens_in, usage_of
from accounting_client.settling import NO_USAGE

if TYPE_CHECKING:
    from litellm.proxy._types import UserAPIKeyAuth

    from accounting_client.async_session import AsyncStreamingSession
    from accounting_client.hold import OnUnreachable, WhenShort

logger = logging.getLogger("accounting_client")

SESSION = "accounting_session_id"
"""The name of the session's id in the proxy's metadata of a request."""
FURTHER_CALLS_SECONDS = 600.0
"""How long after a request its further model calls, such as a guardrail's, are still charged."""
CALLERS_FAULT = {400, 402, 403, 404, 409}
"""The statuses of refusals that are passed to the proxy's caller. Any other status is not the caller's fault."""
IDS = ("user_id", "user_email", "team_id", "team_alias", "org_id", "key_alias", "end_user_id")
"""The attributes of the proxy's `UserAPIKeyAuth` that a template, such as ``org:{team_id}``, may name."""

Named = str | Callable[["UserAPIKeyAuth"], str | None]
"""How to get the id of a user or an account: a template, or a function that takes the proxy's `UserAPIKeyAuth`."""


@dataclass(eq=False)
class _Call:
    """A request of the proxy, and the session that accounts for it.

    ``answer_id`` is the id of the model's first answer, or None if that answer is not settled yet. ``caller_left`` is
    whether the caller left before the end of the stream.
    """

    session: AsyncStreamingSession
    client: AsyncAccountingClient
    model: str
    account_id: str | None
    answer_id: str | None = None
    caller_left: bool = False


class StreamRefused(Exception):
    """Ends a stream. The proxy puts this exception's fields into the stream's last event.

    The proxy can't do this with an HTTPException.
    """

    def __init__(self, refused: AccountingError) -> None:
        super().__init__(refused.message)
        self.message = refused.message
        self.type = refused.code
        self.param = None
        self.status_code = refused.status or 500


class AccountingCallback(CustomLogger):  # type: ignore[misc]  # LiteLLM is not installed where types are checked
    """Holds and settles credits for calls of a LiteLLM proxy.

    Don't derive from this class, because the proxy ignores hooks that are inherited.

    Without a ``client``, the callback reads the environment: ``ACCOUNTING_URL`` is the service's address,
    ``ACCOUNTING_SERVICE`` is a service credential, and ``ACCOUNTING_OUTBOX``, if it is set, is the path of an outbox.
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        client: AsyncAccountingClient | None = None,
        *,
        user: Named = "{user_id}",
        account: Named | None = None,
        models: Mapping[str, str] | None = None,
        estimate: Estimate = None,
        default_max_tokens: int = DEFAULT_OUTPUT_TOKENS,
        when_short: WhenShort = "raise",
        on_unreachable: OnUnreachable = "raise",
        free_calls: Collection[str] = FREE_CALLS,
    ) -> None:
        """Raises KeyError for a missing environment variable, and ValueError for a template with an id outside `IDS`.

        ``user`` is the user for whom credits are held. ``account`` is the account that pays, such as ``org:{team_id}``.
        If the proxy's key has no team, the user's own account pays. ``models`` maps the proxy's names of models to the
        names in price rules; other names stay the same. ``estimate`` says how a request's input is estimated.
        ``default_max_tokens`` is held for a request that does not limit its output, unless the maximum in the price
        rule is lower.
        ``when_short="shorten"`` limits the output to what the user can pay for, instead of refusing the request.
        ``on_unreachable="allow"`` lets requests pass while the service does not answer; they are settled later.
        ``free_calls`` are types of LiteLLM's calls that cost no credits.
        """
        super().__init__()
        self._client = _client_of_environment() if client is None else client
        self._user, self._account = _naming(user), _naming(account)
        self._models = models or {}
        self._estimate = estimate
        self._default_max_tokens = default_max_tokens
        self._options: dict[str, Any] = {"when_short": when_short, "on_unreachable": on_unreachable}
        self._free_calls = frozenset(free_calls)
        self._calls: dict[str, _Call] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        # Send what is left in the outbox, if there is one. If no event loop runs yet, the first request sends it.
        with suppress(RuntimeError):
            self._begin(asyncio.get_running_loop(), self._client.__aenter__())

    async def async_pre_call_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        cache: object,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any]:
        """Hold what the request may cost. Raises HTTPException if the request is refused."""
        for bucket in ("metadata", "litellm_metadata"):
            if isinstance(metadata := data.get(bucket), dict):
                metadata.pop(SESSION, None)  # the caller cannot choose a session
        if call_type in self._free_calls:
            return data
        asked = ModelRequest(call_type, data)
        if not asked.is_accountable:
            how = "in the background" if data.get("background") else "of this type"
            raise _refusal(403, "CALL_NOT_ACCOUNTED", f"This proxy cannot account for calls {how}: {call_type}")
        call = await self._open(user_api_key_dict, asked)
        bucket = "litellm_metadata" if isinstance(data.get("litellm_metadata"), dict) else "metadata"
        data.setdefault(bucket, {})[SESSION] = call.session.session_id
        self._calls[call.session.session_id] = call
        self._forget_with(data.get("litellm_logging_obj"), call)
        return data

    async def async_post_call_streaming_iterator_hook(
        self,
        user_api_key_dict: UserAPIKeyAuth,
        response: AsyncIterator[Any],
        request_data: dict[str, Any],
    ) -> AsyncIterator[Any]:
        """Count what is streamed. Raises StreamRefused, which ends the stream, if the service refused a heartbeat."""
        call = self._call_of(request_data)
        try:
            async for chunk in response:
                if call is not None and not call.session.is_settled and (tokens := output_tokens_in(chunk)):
                    try:
                        call.session.add_tokens(tokens)
                    except AccountingError as refused:
                        raise StreamRefused(refused) from refused
                yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            if call is not None:
                call.caller_left = True
            raise

    async def async_log_success_event(
        self,
        kwargs: dict[str, Any],
        response_obj: Any,
        start_time: object,
        end_time: object,
    ) -> None:
        """Settle the usage that the provider reports or, if the caller has left, that LiteLLM counted."""
        call = self._call_of(kwargs.get("litellm_params") or {})
        if call is None:
            return
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        served = metadata.get("model_group") or call.model
        model = None if served == call.model else self._models.get(served, served)
        answer_id = str(getattr(response_obj, "id", None) or kwargs.get("litellm_call_id"))
        usage = NO_USAGE if kwargs.get("cache_hit") else usage_of(kwargs, response_obj)
        if call.answer_id is not None:
            await self._record_more(call, answer_id, usage, model)
            return
        call.answer_id = answer_id
        session = call.session
        # Either LiteLLM or the stream's hook may be the first to notice that the caller has left.
        has_left = call.caller_left or bool(metadata.get("client_disconnected"))
        if usage is None or has_left:
            session.add_metadata({"estimated": True})
        if usage is not None:
            session.set_usage(usage, "canonical")
        await (session.abort(model_id=model) if has_left else session.finalize(model_id=model))

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: UserAPIKeyAuth,
        traceback_str: str | None = None,
    ) -> None:
        """Release the hold of a request that failed for good, and charge what was streamed until then."""
        if (call := self._call_of(request_data)) is not None:
            await _give_up(call)

    async def _open(self, key: UserAPIKeyAuth, asked: ModelRequest) -> _Call:
        user_id = self._user(key)
        account_id = self._account(key)
        if not user_id:
            raise _refusal(403, "USER_UNKNOWN", "No user is known for this request, so no credits can be held")
        client, model_id = self._client.for_user(user_id), self._models.get(asked.model, asked.model)
        if not asked.limits_its_output:
            asked = replace(asked, default_max_tokens=await client.output_limit(model_id, self._default_max_tokens))
        session = client.streaming_session(
            model_id,
            estimated_usage=estimated_usage(asked.data, INPUTS, self._estimate, asked.max_output_tokens),
            account_id=account_id,
            metadata={name: value for name in ("team_id", "key_alias") if (value := getattr(key, name, None))} or None,
            **self._options,
        )
        try:
            await session.__aenter__()
        except AccountingError as refused:
            raise _as_http(refused) from refused
        asked.shorten(session.max_output_tokens or 0)
        return _Call(session, client, asked.model, account_id)

    def _call_of(self, holder: Mapping[str, Any]) -> _Call | None:
        for bucket in ("metadata", "litellm_metadata"):
            session_id = (holder.get(bucket) or {}).get(SESSION)
            if isinstance(session_id, str) and session_id in self._calls:
                return self._calls[session_id]
        return None

    def _forget_with(self, logging_obj: object, call: _Call) -> None:
        """Once LiteLLM drops ``logging_obj``, forget the request, and abort its session if it is not settled yet.

        A settled request is forgotten only after ``FURTHER_CALLS_SECONDS``, so that its further calls can be charged.
        """
        loop = asyncio.get_running_loop()

        def forget() -> None:
            kept_for = 0.0 if call.answer_id is None else FURTHER_CALLS_SECONDS
            loop.call_later(kept_for, self._calls.pop, call.session.session_id, None)
            self._begin(loop, _give_up(call))

        def forget_from_any_thread() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(forget)

        weakref.finalize(logging_obj, forget_from_any_thread).atexit = False

    def _begin(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, object]) -> None:
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _record_more(
        self, call: _Call, answer_id: str, usage: Mapping[str, Any] | None, model: str | None
    ) -> None:
        """Charge a further call of a model for the same request, such as the call after the proxy has run a tool."""
        if answer_id == call.answer_id or usage is None:
            return
        session = call.session
        try:
            await call.client.record_usage(
                "chat-streaming",
                "litellm",
                model_id=model or session.model_id,
                usage=usage,
                account_id=call.account_id,
                metadata={"sessionId": session.session_id},
                deduct=True,
                idempotency_key=f"{session.session_id}-{answer_id}"[:200],
            )
        except AccountingError:
            logger.exception("a further usage of session %s could not be charged: %s", session.session_id, usage)


async def _give_up(call: _Call) -> None:
    session = call.session
    if session.is_settled:
        return
    if session.tokens:
        session.add_metadata({"estimated": True})
    else:
        session.set_usage(NO_USAGE, "canonical")
    await session.abort()


def _as_http(error: AccountingError) -> HTTPException:
    """The answer to the proxy's caller: the service's refusal, or a 503 if only the proxy's owner can help."""
    if error.status in CALLERS_FAULT and not (isinstance(error, RightMissing) and error.right != "users:sync"):
        return _refusal(error.status, error.code, error.message, error.details)
    logger.error("credits can't be held, and only the proxy's owner can help", exc_info=error)
    return _refusal(503, "ACCOUNTING_UNAVAILABLE", "Accounting is not available just now")


def _refusal(status: int, code: str, message: str, details: Mapping[str, Any] | None = None) -> HTTPException:
    return HTTPException(status, {"error": {"message": message, "code": code, "details": dict(details or {})}})


def _naming(named: Named | None) -> Callable[[UserAPIKeyAuth], str | None]:
    """A function that gets an id from the proxy's key, or None if the key lacks an id that the template names."""
    if named is None:
        return lambda _key: None
    if callable(named):
        return named
    template = named
    names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    if unknown := sorted(set(names) - set(IDS)):
        raise ValueError(f"{template}: the proxy has no {', '.join(unknown)}, only {', '.join(IDS)}")

    def filled(key: UserAPIKeyAuth) -> str | None:
        ids = {name: getattr(key, name, None) for name in names}
        return template.format(**ids) if all(ids.values()) else None

    return filled


def _client_of_environment() -> AsyncAccountingClient:
    url, credential = os.environ["ACCOUNTING_URL"], ServiceCredential(os.environ["ACCOUNTING_SERVICE"])
    return AsyncAccountingClient(url, credential, outbox=os.environ.get("ACCOUNTING_OUTBOX"))


def __getattr__(name: str) -> AccountingCallback:
    """``accounting``: the callback with all defaults, made when the proxy first asks for it."""
    if name != "accounting":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    callback = globals()["accounting"] = AccountingCallback()
    return callback
