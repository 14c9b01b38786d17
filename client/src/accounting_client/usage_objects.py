"""Converts usage objects of providers to JSON, merges those of a stream, and adds tokens that came after the last one.

The service interprets the counts. This module only knows which fields of each format count input and output.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

UsageFormat = Literal["canonical", "openai", "openai-responses", "anthropic", "bedrock", "gemini", "otel"]

MAX_TOKENS = 10**9


class _Names(NamedTuple):
    """The names of a format's fields.

    The fields in ``inputs`` add up to the input tokens, and the fields in ``outputs`` to the output tokens. If the
    format has a field for the sum of input and output, ``total`` names it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    total: str | None = None


_FORMATS: dict[UsageFormat, _Names] = {
    "canonical": _Names(("inputTokens",), ("outputTokens",)),
    "openai": _Names(("prompt_tokens",), ("completion_tokens",), "total_tokens"),
    "openai-responses": _Names(("input_tokens",), ("output_tokens",), "total_tokens"),
    "anthropic": _Names(("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), ("output_tokens",)),
    "bedrock": _Names(
        ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"), ("outputTokens",), "totalTokens"
    ),
    "gemini": _Names(
        ("promptTokenCount", "toolUsePromptTokenCount"),
        ("candidatesTokenCount", "responseTokenCount", "thoughtsTokenCount"),
        "totalTokenCount",
    ),
    "otel": _Names(("gen_ai.usage.input_tokens",), ("gen_ai.usage.output_tokens",)),
}


def require_format(usage_format: str) -> None:
    """Raise ValueError for a format that the service does not read."""
    if usage_format not in _FORMATS:
        raise ValueError(f"usage_format must be one of {', '.join(get_args(UsageFormat))}, not {usage_format!r}")


class InJson(dict[str, Any]):
    """Fields that `in_json` has already converted. A second call returns them unchanged."""


def in_json(value: object, name: str) -> InJson:
    """Convert a mapping, or an object of a provider's SDK, to JSON's types.

    Raises TypeError if ``value`` has no fields, and ValueError for values that JSON does not have, such as NaN.
    """
    if isinstance(value, InJson):
        return value
    try:
        text = _encode(_fields_of(value))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} can't be sent as JSON: {error}") from error
    return InJson(json.loads(text))


def put_together(known: Mapping[str, Any] | None, newer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``known``, a stream's usage so far, updated by the stream's next usage object.

    Each count is a total since the stream began, so a newer count replaces the known count.
    """
    if known is None:
        return newer
    return {**known, **{name: value for name, value in newer.items() if value is not None}}


def input_of(usage: Mapping[str, Any], usage_format: UsageFormat) -> int:
    """Return the input tokens of a usage. A missing or invalid count is taken as 0."""
    return _sum(usage, _FORMATS[usage_format].inputs)


def output_of(usage: Mapping[str, Any], usage_format: UsageFormat) -> int:
    """Return the output tokens of a usage. A missing or invalid count is taken as 0."""
    return _sum(usage, _FORMATS[usage_format].outputs)


def with_more_output(usage: Mapping[str, Any], usage_format: UsageFormat, tokens: int) -> Mapping[str, Any]:
    """Return the usage with these tokens added to its output and, if it has a total, to its total."""
    if not tokens:
        return usage
    names = _FORMATS[usage_format]
    raised = {**usage, names.outputs[0]: _count(usage, names.outputs[0]) + tokens}
    if names.total is not None and names.total in usage:
        raised[names.total] = _count(usage, names.total) + tokens
    return raised


def _sum(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    total = 0
    for name in names:
        total += _count(usage, name)
    return min(MAX_TOKENS, total)


def _count(usage: Mapping[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if type(count) is int and 0 <= count <= MAX_TOKENS else 0


def _fields_of(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("model_dump", {"mode": "json", "by_alias": True}),  # pydantic, which most SDKs are made with
        ("to_dict", {}),
        ("dict", {}),
    )
    for method, options in ways:
        if callable(dump := getattr(value, method, None)):
            fields: dict[str, Any] = dump(**options)
            return fields
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        raise TypeError(f"{type(value).__name__} has no fields")
    return {name: each for name, each in vars(value).items() if not name.startswith("_")}


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_fields_of).encode
