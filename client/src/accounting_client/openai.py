"""Account for calls of OpenAI's SDK: ``client = accounted(OpenAI(), accounting)``. Needs ``accounting-client[openai]``.

This ``client`` accounts for ``create``, ``parse`` and ``stream`` of chat completions, responses and embeddings,
streamed or not. Moderations, and routes that use no model, are passed on without a hold. All other calls that may cost
money raise `NotAccounted`: raw responses, responses in the background, websockets, images, audio, batches and the like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Unpack, overload

import openai

from accounting_client.errors import NotAccounted
from accounting_client.sdk_call import Accounting, Provider, Route, Used, get, tokens_in
from accounting_client.sdk_client import Accounted, AsyncAccounted, Options, wrapped

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.client import AccountingClient

ENDS = {"response.completed", "response.incomplete", "response.failed"}


def _of_completion(answer: object) -> Used:
    choices = get(answer, "choices") or ()
    return Used(get(answer, "usage"), sum(tokens_in(get(choice, "message", "content")) for choice in choices))


def _of_chunk(chunk: object) -> Used:
    choices, usage, tokens = get(chunk, "choices") or (), get(chunk, "usage"), 0
    for choice in choices:
        delta = get(choice, "delta")
        tokens += tokens_in(get(delta, "content"), get(delta, "reasoning_content"), get(delta, "refusal"))
        for call in get(delta, "tool_calls") or ():
            tokens += tokens_in(get(call, "function", "arguments"))
    is_last = usage is not None and all(get(choice, "finish_reason") for choice in choices)
    return Used(usage, tokens, is_last, is_usage_only=usage is not None and not choices)


def _text_of_chunk(chunk: Any) -> str | None:
    (choice,) = chunk.choices
    delta = choice.delta
    return None if chunk.usage or delta.tool_calls or delta.refusal or not delta.content else delta.content


def _of_response(answer: object) -> Used:
    return Used(get(answer, "usage"), tokens_in(get(answer, "output_text")))


def _of_event(event: object) -> Used:
    if get(event, "type") in ENDS:
        return Used(get(event, "response", "usage"), is_last=True)
    return Used(tokens=tokens_in(get(event, "delta")))


def _text_of_event(event: Any) -> str | None:
    return event.delta if event.type == "response.output_text.delta" else None


def _of_embeddings(answer: object) -> Used:
    tokens = get(answer, "usage", "prompt_tokens")
    return Used(None if tokens is None else {"inputTokens": tokens, "outputTokens": 0})


def _asks_for_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    known = options if isinstance(options, Mapping) else {}
    body["stream_options"] = {**known, "include_usage": True}
    return not known.get("include_usage")


def _refuses(body: Mapping[str, Any]) -> str | None:
    return "a response in the background can't be accounted for" if body.get("background") else None


PROVIDER = Provider(
    routes={
        "/chat/completions": Route(
            inputs=("messages", "tools", "functions", "response_format"),
            limits=("max_completion_tokens", "max_tokens"),
            usage_format="openai",
            of_answer=_of_completion,
            of_part=_of_chunk,
            text_of_part=_text_of_chunk,
            asks_for_usage=_asks_for_usage,
        ),
        "/responses": Route(
            inputs=("input", "instructions", "tools", "text"),
            limits=("max_output_tokens",),
            usage_format="openai-responses",
            of_answer=_of_response,
            of_part=_of_event,
            text_of_part=_text_of_event,
            refuses=_refuses,
        ),
        "/embeddings": Route(
            inputs=("input",),
            limits=(),
            usage_format="canonical",
            of_answer=_of_embeddings,
            of_part=_of_embeddings,
            text_of_part=lambda _: None,
        ),
    },
    free=re.compile(
        r"/(files|uploads|moderations|conversations|vector_stores|containers)(/.*)?"
        r"|/chat/completions/[^/]+|/responses/input_tokens|/responses/[^/]+/cancel"
    ),
    released=(openai.APIError,),
    uncertain=(openai.APITimeoutError, openai.APIResponseValidationError),
)


class _WithoutSockets:
    """Refuses websockets, because they can't be accounted for."""

    @property
    def realtime(self) -> NoReturn:
        """Raise NotAccounted."""
        raise NotAccounted("realtime sessions can't be accounted for: use the client that is not wrapped")

    live = realtime

    @property
    def responses(self) -> Any:
        """The ``responses`` of the SDK's client, except that ``connect`` raises NotAccounted."""
        found = super().responses  # type: ignore[misc]
        found.connect = _refuse_to_connect
        return found


def _refuse_to_connect(*_: object, **__: object) -> NoReturn:
    raise NotAccounted("websockets can't be accounted for: use the client that is not wrapped")


class _Accounted(_WithoutSockets, Accounted):
    _api = PROVIDER


class _AsyncAccounted(_WithoutSockets, AsyncAccounted):
    _api = PROVIDER


if TYPE_CHECKING:

    class AccountedOpenAI(Accounted, openai.OpenAI):
        """A client of OpenAI's SDK whose calls are accounted for."""

    class AsyncAccountedOpenAI(AsyncAccounted, openai.AsyncOpenAI):
        """As `AccountedOpenAI`, for asyncio."""


@overload
def accounted(client: openai.OpenAI, accounting: AccountingClient, **options: Unpack[Options]) -> AccountedOpenAI: ...
@overload
def accounted(
    client: openai.AsyncOpenAI, accounting: AsyncAccountingClient, **options: Unpack[Options]
) -> AsyncAccountedOpenAI: ...
def accounted(client: Any, accounting: Any, **options: Unpack[Options]) -> Any:
    """A copy of ``client`` whose calls hold credits first, and afterward settle the usage that the provider reports.

    If the user has too few credits, a call raises InsufficientCredits, and the model is not called. A call that can't
    be accounted for raises NotAccounted. Everything else works as in ``client``. A subclass of the SDK's client, such
    as ``AzureOpenAI``, works too. The copy's ``with_accounting(user=…)`` returns another copy, with other options.

    - ``account_id`` is the account that pays, such as ``org:acme``, by default the user's own. ``run_id`` is a run of
      that account.
    - ``user`` is the user that ``accounting`` acts for, if ``accounting`` has a `ServiceCredential`.
    - ``estimate`` says how many tokens the input has: a number, a tokenizer, or a function of the request.
    - ``max_output_tokens`` is the number of output tokens that are held for a request that does not limit its output.
      If the model's price states a lower maximum (``maxOutputTokens``), that maximum is held.
    - ``when_short="shorten"`` limits the output to what the user can pay for.
    - ``on_unreachable="allow"`` calls the model even if the service can't be reached, and charges the call later.
    - ``variant``, ``metadata``, ``session_id``, ``heartbeat_seconds`` and ``settle_seconds`` are as for
      ``streaming_session``.
    """
    kind = _AsyncAccounted if isinstance(client, openai.AsyncOpenAI) else _Accounted
    return wrapped(client, kind, Accounting(accounting, **options))
