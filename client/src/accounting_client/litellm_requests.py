"""What a request to a LiteLLM proxy may use at most, and what it has used according to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accounting_client.estimates import LETTERS_A_TOKEN
from accounting_client.usage_objects import in_json

INPUTS = ("messages", "system", "prompt", "input", "instructions", "tools", "functions")
"""Fields whose content the model reads, in requests of all types."""
MAX_TOKENS = {
    "acompletion": ("max_completion_tokens", "max_tokens"),
    "atext_completion": ("max_tokens",),
    "aresponses": ("max_output_tokens",),
    "anthropic_messages": ("max_tokens",),
    "aembedding": (),
}
"""The fields that limit the output, for each type of call that is accounted for."""
FREE_CALLS = frozenset(
    {
        *("moderation", "amoderation", "list_mcp_tools", "call_mcp_tool"),
        *("aget_responses", "adelete_responses", "acancel_responses", "alist_input_items"),
    }
)
"""Types of calls for which no provider charges tokens."""


@dataclass(frozen=True)
class ModelRequest:
    """A request to the proxy. ``data`` is LiteLLM's own object, so changing it changes the request to the model."""

    call_type: str
    data: dict[str, Any]
    default_max_tokens: int = 0
    """The limit on the output of each answer if the request sets none."""

    @property
    def is_accountable(self) -> bool:
        """Whether the answer will report its usage. The answer to a background request does not."""
        return self.call_type in MAX_TOKENS and not self.data.get("background")

    @property
    def model(self) -> str:
        """The proxy's name for the model."""
        return str(self.data.get("model"))

    @property
    def limits_its_output(self) -> bool:
        """Whether a field of the request limits its output. True for an embedding, because it has no output."""
        return not MAX_TOKENS[self.call_type] or bool(self._limits)

    @property
    def max_output_tokens(self) -> int:
        """The most output tokens of all answers together. ``n`` or ``best_of`` asks for more than one answer."""
        default = self.default_max_tokens if MAX_TOKENS[self.call_type] else 0
        return self._answers * min(self._limits, default=default)

    def shorten(self, output_tokens: int) -> None:
        """Lower the limit to ``output_tokens`` for all answers together. The limit of one answer stays at least 1."""
        if output_tokens < self.max_output_tokens:
            names = MAX_TOKENS[self.call_type]
            for name in [name for name in names if name in self.data] or names[:1]:
                self.data[name] = max(1, output_tokens // self._answers)

    @property
    def _limits(self) -> list[int]:
        return [number for name in MAX_TOKENS[self.call_type] if (number := _number(self.data, name))]

    @property
    def _answers(self) -> int:
        return max(1, _number(self.data, "n"), _number(self.data, "best_of"))


def output_tokens_in(chunk: object) -> int:
    """About how many output tokens a chunk has, in a stream of chat completions, responses or Anthropic's messages."""
    if isinstance(chunk, bytes):
        return chunk.count(b'"content_block_delta"') or chunk.count(b"event: content_block_delta")
    texts = [getattr(chunk, "delta", None)]
    for choice in getattr(chunk, "choices", None) or ():
        delta = getattr(choice, "delta", None)
        texts += [getattr(delta, name, None) for name in ("content", "reasoning_content")]
        for tool_call in getattr(delta, "tool_calls", None) or ():
            texts.append(getattr(getattr(tool_call, "function", None), "arguments", None))
    return sum(max(1, len(text) // LETTERS_A_TOKEN) for text in texts if isinstance(text, str) and text)


def canonical_usage(usage: Mapping[str, Any]) -> dict[str, int] | None:
    """Convert LiteLLM's usage object, of any provider, to the service's canonical form; None if it has no counts."""
    if not isinstance(usage.get("prompt_tokens"), int):
        return None
    inputs, outputs = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    whole_input, whole_output = _number(usage, "prompt_tokens"), _number(usage, "completion_tokens")
    written = _number(inputs, "cache_write_tokens", "cache_creation_tokens") or _number(
        usage, "cache_creation_input_tokens"
    )
    cached = _number(inputs, "cached_tokens") or _number(usage, "cache_read_input_tokens")
    written_1h = min(written, _number(_details(inputs, "cache_creation_token_details"), "ephemeral_1h_input_tokens"))
    searches = _number(_details(usage, "server_tool_use"), "web_search_requests")
    parts = {
        "cachedInputTokens": cached,
        "cacheWriteTokens": written - written_1h,
        "cacheWrite1hTokens": written_1h,
        "inputAudioTokens": min(_number(inputs, "audio_tokens"), max(0, whole_input - cached - written)),
        "reasoningTokens": _number(outputs, "reasoning_tokens"),
        "outputAudioTokens": _number(outputs, "audio_tokens"),
        "webSearches": searches or _number(inputs, "web_search_requests"),
    }
    whole = {"inputTokens": whole_input, "outputTokens": whole_output}
    return whole | {name: count for name, count in parts.items() if count}


def usage_of(event: Mapping[str, Any], response: object) -> dict[str, int] | None:
    """The usage of a call, from LiteLLM's event or else from the response; None if neither has the usage."""
    logged = _details(_details(event, "standard_logging_object"), "metadata").get("usage_object")
    usage = logged or getattr(response, "usage", None)
    return None if usage is None else canonical_usage(in_json(usage, "LiteLLM's usage"))


def _details(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    details = holder.get(name)
    return details if isinstance(details, Mapping) else {}


def _number(holder: Mapping[str, Any], *names: str) -> int:
    """The first of these values that is a positive count, or 0."""
    counts = [count for name in names if type(count := holder.get(name)) is int and count > 0]
    return counts[0] if counts else 0
