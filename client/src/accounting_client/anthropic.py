"""Account for calls of Anthropic's SDK: ``client = accounted(Anthropic(), accounting)``.

Needs ``accounting-client[anthropic]``. This ``client`` accounts for messages, streamed or not: the methods ``create``,
``parse`` and ``stream``, also under ``beta``. Requests that count tokens or handle files are sent without accounting.
All other calls that may cost money raise `NotAccounted`, for example raw responses and batches.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Unpack, overload

import anthropic

from accounting_client.sdk_call import Accounting, Provider, Route, Used, get, tokens_in
from accounting_client.sdk_client import Accounted, AsyncAccounted, Options, wrapped

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.client import AccountingClient


def _of_message(answer: object) -> Used:
    return Used(get(answer, "usage"), sum(tokens_in(get(block, "text")) for block in get(answer, "content") or ()))


def _of_event(event: object) -> Used:
    kind = get(event, "type")
    if kind == "message_start":
        return Used(get(event, "message", "usage"))
    if kind == "message_delta":
        return Used(get(event, "usage"), is_last=get(event, "delta", "stop_reason") is not None)
    delta = get(event, "delta")
    return Used(tokens=tokens_in(get(delta, "text"), get(delta, "partial_json"), get(delta, "thinking")))


def _text_of_event(event: Any) -> str | None:
    return event.delta.text if event.type == "content_block_delta" else None


PROVIDER = Provider(
    routes={
        "/v1/messages": Route(
            inputs=("messages", "system", "tools"),
            limits=("max_tokens",),
            usage_format="anthropic",
            of_answer=_of_message,
            of_part=_of_event,
            text_of_part=_text_of_event,
        )
    },
    free=re.compile(r"/v1/messages/count_tokens|/v1/files(/.*)?|/v1/messages/batches/[^/]+/cancel"),
    released=(anthropic.APIError,),
    uncertain=(anthropic.APITimeoutError, anthropic.APIResponseValidationError),
)


class _Accounted(Accounted):
    _api = PROVIDER


class _AsyncAccounted(AsyncAccounted):
    _api = PROVIDER


if TYPE_CHECKING:

    class AccountedAnthropic(Accounted, anthropic.Anthropic):
        """A client of Anthropic's SDK whose calls are accounted for."""

    class AsyncAccountedAnthropic(AsyncAccounted, anthropic.AsyncAnthropic):
        """An asyncio client of Anthropic's SDK whose calls are accounted for."""


@overload
def accounted(
    client: anthropic.Anthropic, accounting: AccountingClient, **options: Unpack[Options]
) -> AccountedAnthropic: ...
@overload
def accounted(
    client: anthropic.AsyncAnthropic, accounting: AsyncAccountingClient, **options: Unpack[Options]
) -> AsyncAccountedAnthropic: ...
def accounted(client: Any, accounting: Any, **options: Unpack[Options]) -> Any:
    """A copy of ``client`` whose calls hold credits first, and afterward settle the usage that the provider reports.

    Options and errors are those of `accounting_client.openai.accounted`. ``client`` may also be an ``AnthropicBedrock``
    or an ``AnthropicVertex``.
    """
    is_async = isinstance(client, anthropic._base_client.AsyncAPIClient)
    return wrapped(client, _AsyncAccounted if is_async else _Accounted, Accounting(accounting, **options))
