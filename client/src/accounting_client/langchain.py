"""Holds and settles credits for calls of LangChain's models.

Pass a callback to each call: ``model.invoke(…, config={"callbacks": [AccountingCallback(client)]})``.

Before the model is called, the callback holds credits. If the user has too few, the call raises InsufficientCredits.
Afterward, the callback settles the usage that the provider reports. Needs ``accounting-client[langchain]``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from accounting_client.async_session import AsyncStreamingSession
from accounting_client.estimates import DEFAULT_OUTPUT_TOKENS, LETTERS_A_TOKEN, Estimate, estimated_usage, tokens_of
from accounting_client.session import StreamingSession
from accounting_client.settling import NO_USAGE

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.client import AccountingClient

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict")
"""The integrations' names for the limit on generated tokens."""
MODELS = ("model", "model_name", "model_id", "deployment_name")
ASYNC = "AccountingCallback works only with invoke, stream and batch; for other methods, use AsyncAccountingCallback"
SYNC = "AsyncAccountingCallback works only with ainvoke, astream and abatch; for other methods, use AccountingCallback"
CACHED = "total_cost"
"""The field that LangChain sets to 0 in the usage of an answer from its own cache."""

Token = str | list[str | dict[str, Any]]
C = TypeVar("C", "AccountingClient", "AsyncAccountingClient")
S = TypeVar("S", StreamingSession, AsyncStreamingSession)


class _ModelRequest(NamedTuple):
    """A request to a model. ``limit`` is the most output tokens that the request allows, if it has a limit."""

    model_id: str
    request: Mapping[str, Any]
    limit: int | None


@dataclass(eq=False)
class _Call(Generic[S]):
    """A model call in progress. ``has_begun`` is true once LangChain has reported a token."""

    session: S
    has_begun: bool = False


class _Calls(Generic[C, S]):
    """The model calls in progress, by LangChain's ``run_id``, and the code that the sync and async callback share."""

    raise_error = True
    """Makes LangChain raise what a callback raises, instead of logging it and continuing."""

    def __init__(
        self,
        client: C,
        *,
        account_id: str | None = None,
        run_id: str | None = None,
        model_id: str | None = None,
        estimate: Estimate = None,
        default_max_tokens: int = DEFAULT_OUTPUT_TOKENS,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a callback for the calls of the user that ``client`` acts for.

        A callback is cheap, so you can make one for each user.

        ``account_id`` is the account that pays, by default the user's own. ``run_id`` is a run of this service.
        ``model_id`` is the model whose price applies, by default the model that is called. ``estimate`` says how a
        request's input is estimated. ``default_max_tokens`` is the number of output tokens that are held for a call
        that does not limit its output. If the model's price has a lower maximum, that number is held. ``metadata`` is
        stored with the usage.
        """
        super().__init__()
        self._client: C = client
        self._model_id = model_id
        self._estimate = estimate
        self._default_max_tokens = default_max_tokens
        self._terms_of_all = {"account_id": account_id, "run_id": run_id, "metadata": metadata}
        self._calls: dict[UUID, _Call[S]] = {}
        self._this_thread = threading.local()

    def _asked(self, prompt: object, event: Mapping[str, Any]) -> _ModelRequest:
        """The request in LangChain's event. Raises ValueError if the call has several prompts."""
        if event.get("batch_size", 1) != 1:
            raise ValueError("LangChain does not say how each of several prompts ends: use batch instead of generate")
        params: Mapping[str, Any] = event.get("invocation_params") or {}
        known: Mapping[str, Any] = event.get("metadata") or {}
        limits = [known.get("ls_max_tokens"), *(params.get(name) for name in LIMITS)]
        limit = next((limit for limit in limits if type(limit) is int and limit > 0), None)
        models = [self._model_id, known.get("ls_model_name"), *(params.get(name) for name in MODELS)]
        model_id = next((str(model) for model in models if model), "unknown")
        request = {"messages": prompt, "tools": params.get("tools"), "functions": params.get("functions")}
        return _ModelRequest(model_id, request, limit)

    def _terms(self, asked: _ModelRequest, limit: int) -> dict[str, Any]:
        """The arguments of the streaming session for a call."""
        estimate = estimated_usage(asked.request, tuple(asked.request), self._estimate, limit)
        return {"model_id": asked.model_id, "estimated_usage": estimate, **self._terms_of_all}

    def _count(self, token: object, run_id: UUID) -> None:
        """Count a token. Raises the refusal of a heartbeat, which ends the stream."""
        if (call := self._calls.get(run_id)) is not None:
            call.has_begun = True
            if text := _text(token):
                call.session.add_tokens(max(1, len(text) // LETTERS_A_TOKEN))

    def _ended(self, run_id: UUID, response: LLMResult) -> S | None:
        """The session of a call that has ended, with the usage of its response."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return None
        session, usage = call.session, _usage_in(response)
        if usage is not None:
            session.set_usage(usage, "canonical")
        else:
            session.add_metadata({"estimated": True})
            if not session.tokens:
                session.set_tokens(tokens_of(_answer(response)))
        return session

    def _failed(self, run_id: UUID, response: LLMResult | None) -> S | None:
        """The session of a call that has failed, with what it used until then."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return None
        session, usage = call.session, None if response is None else _usage_in(response)
        if usage is not None and usage["outputTokens"] >= session.tokens:
            session.set_usage(usage, "canonical")
        elif session.tokens:
            session.add_metadata({"estimated": True})
        else:
            session.set_usage(NO_USAGE, "canonical")
        return session


class AccountingCallback(_Calls["AccountingClient", StreamingSession], BaseCallbackHandler):
    """For ``invoke``, ``stream`` and ``batch``. Raises RuntimeError in ``ainvoke`` and the like."""

    @property
    def ignore_chat_model(self) -> bool:
        """Always False. LangChain reads this before each call, in the thread of the call. Reading it marks the thread.

        In a thread without the mark, `_open` raises RuntimeError. LangChain's async methods call `_open` in such a
        thread.
        """
        self._this_thread.is_calling = True
        return False

    @property
    def ignore_llm(self) -> bool:
        """As `ignore_chat_model`."""
        return self.ignore_chat_model

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        """Hold what the call may cost. Raises AccountingError, such as InsufficientCredits."""
        self._open(run_id, _content(messages), event)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **event: Any) -> None:
        """As `on_chat_model_start`, for models that complete a text."""
        self._open(run_id, prompts, event)

    def on_llm_new_token(self, token: Token, *, run_id: UUID, **event: Any) -> None:
        """Count what is streamed. Raises the refusal of a heartbeat, such as InsufficientCredits."""
        self._count(token, run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **event: Any) -> None:
        """Settle the usage that the provider reports."""
        if (session := self._ended(run_id, response)) is not None:
            session.finalize()

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:
        """Release the hold, and charge what was streamed until then."""
        if (session := self._failed(run_id, event.get("response"))) is not None:
            session.abort()

    def _open(self, run_id: UUID, prompt: object, event: Mapping[str, Any]) -> None:
        # LangChain's async methods call this in another thread. They are refused, because LangChain may not report the
        # end of an async call that is cancelled. The call's session would not be settled.
        if not self._this_thread.__dict__.pop("is_calling", False):
            raise RuntimeError(ASYNC)
        asked = self._asked(prompt, event)
        limit = asked.limit or self._client.output_limit(asked.model_id, self._default_max_tokens)
        session = self._client.streaming_session(**self._terms(asked, limit))
        session.__enter__()
        self._calls[run_id] = _Call(session)


class AsyncAccountingCallback(_Calls["AsyncAccountingClient", AsyncStreamingSession], AsyncCallbackHandler):
    """For ``ainvoke``, ``astream`` and ``abatch``; raises RuntimeError in the sync methods."""

    run_inline = True
    """Makes LangChain run the callback in the task that calls the model. `_left` is called when that task ends."""
    _is_misused = False

    def __init__(self, client: AsyncAccountingClient, **options: Any) -> None:
        """Take the same options as `AccountingCallback`."""
        super().__init__(client, **options)
        self._aborting: set[asyncio.Task[None]] = set()

    @property
    def ignore_chat_model(self) -> bool:
        """False. Raises RuntimeError in LangChain's sync methods.

        LangChain reads this before each call. Its sync methods raise what this property raises. They only log what
        `_open` raises, despite `raise_error`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(SYNC) from None
        if self._is_misused:
            raise RuntimeError(SYNC)
        self._this_thread.is_calling = True
        return False

    @property
    def ignore_llm(self) -> bool:
        """As `ignore_chat_model`."""
        return self.ignore_chat_model

    async def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        """Hold what the call may cost. Raises AccountingError, such as InsufficientCredits."""
        await self._open(run_id, _content(messages), event)
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(partial(self._left, run_id))

    async def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **event: Any) -> None:
        """As `on_chat_model_start`, for models that complete a text."""
        await self._open(run_id, prompts, event)

    async def on_llm_new_token(self, token: Token, *, run_id: UUID, **event: Any) -> None:
        """Count what is streamed. Raises the refusal of a heartbeat, such as InsufficientCredits."""
        self._count(token, run_id)

    async def on_llm_end(self, response: LLMResult, *, run_id: UUID, **event: Any) -> None:
        """Settle the usage that the provider reports."""
        if (session := self._ended(run_id, response)) is not None:
            await session.finalize()

    async def on_llm_error(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:
        """Release the hold, and charge what was streamed until then."""
        if (session := self._failed(run_id, event.get("response"))) is not None:
            await session.abort()

    async def _open(self, run_id: UUID, prompt: object, event: Mapping[str, Any]) -> None:
        # LangChain's sync methods call this in a thread of their own.
        if not self._this_thread.__dict__.pop("is_calling", False):
            self._is_misused = True
            raise RuntimeError(SYNC)
        asked = self._asked(prompt, event)
        limit = asked.limit or await self._client.output_limit(asked.model_id, self._default_max_tokens)
        session = self._client.streaming_session(**self._terms(asked, limit))
        await session.__aenter__()
        self._calls[run_id] = _Call(session)

    def _left(self, run_id: UUID, task: asyncio.Task[Any]) -> None:
        """Abort a call whose task has ended, if LangChain will not report the call's end.

        LangChain does not report a task that was cancelled while it waited for LangChain's rate limiter or, in
        ``ainvoke``, for the model. A stream that has begun may continue in another task.
        """
        call = self._calls.get(run_id)
        continues = call is None or (call.has_begun and not task.cancelled() and task.exception() is None)
        if not continues and (session := self._failed(run_id, None)) is not None:
            aborting = asyncio.get_running_loop().create_task(session.abort())
            self._aborting.add(aborting)
            aborting.add_done_callback(self._aborting.discard)


def _content(messages: Sequence[Sequence[BaseMessage]]) -> list[Any]:
    """The parts of messages that a model reads."""
    return [
        {"content": message.content, "tool_calls": getattr(message, "tool_calls", None)}
        for one_prompt in messages
        for message in one_prompt
    ]


def _text(content: object) -> str:
    """The text in a message's content, which is a text or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return "".join(_text(content[name]) for name in ("text", "reasoning", "thinking", "args") if name in content)
    return "".join(_text(block) for block in content) if isinstance(content, list) else ""


def _answer(response: LLMResult) -> str:
    """The text of all that was generated."""
    generations = [each for answers in response.generations for each in answers]
    return "".join(_text(getattr(getattr(each, "message", None), "content", each.text)) for each in generations)


def _usage_in(response: LLMResult) -> dict[str, int] | None:
    """What a call used, in canonical form; None if the provider has not reported it."""
    for answers in response.generations:
        for generation in answers:
            if usage := getattr(getattr(generation, "message", None), "usage_metadata", None):
                return dict(NO_USAGE) if usage.get(CACHED) == 0 else canonical_usage(usage)
    usage = (response.llm_output or {}).get("token_usage") or {}
    if type(usage.get("prompt_tokens")) is not int:
        return None
    return {"inputTokens": usage["prompt_tokens"], "outputTokens": usage.get("completion_tokens") or 0}


def canonical_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """Convert LangChain's ``usage_metadata``, of any provider, to the service's canonical form."""
    inputs, outputs = usage.get("input_token_details") or {}, usage.get("output_token_details") or {}
    written_1h = _part(inputs, "ephemeral_1h_input_tokens")
    by_lifetime = written_1h + _part(inputs, "ephemeral_5m_input_tokens")
    parts = {
        "cachedInputTokens": _part(inputs, "cache_read"),
        "cacheWriteTokens": max(_part(inputs, "cache_creation"), by_lifetime) - written_1h,
        "cacheWrite1hTokens": written_1h,
        "inputAudioTokens": _part(inputs, "audio"),
        "reasoningTokens": _part(outputs, "reasoning"),
        "outputAudioTokens": _part(outputs, "audio"),
    }
    whole = {"inputTokens": usage["input_tokens"], "outputTokens": usage["output_tokens"]}
    return whole | {name: count for name, count in parts.items() if count}


def _part(details: Mapping[str, Any], name: str) -> int:
    """The tokens of a part, such as ``cache_read``. In the service tier ``flex``, it is named ``flex_cache_read``."""
    counts = [details.get(f"{tier}{name}") for tier in ("", "flex_", "priority_")]
    return sum(count for count in counts if type(count) is int)
