"""Providers' usage objects: how they become JSON, and how output that the client counted is added to them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from accounting.domain import usage_formats
from accounting.domain.model_usage import Usage
from accounting_client.usage_objects import (
    UsageFormat,
    in_json,
    input_of,
    output_of,
    put_together,
    require_format,
    with_more_output,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES: dict[UsageFormat, dict[str, Any]] = {
    "canonical": {"inputTokens": 900, "cachedInputTokens": 100, "outputTokens": 50, "reasoningTokens": 20},
    "openai": {
        "prompt_tokens": 900,
        "completion_tokens": 50,
        "total_tokens": 950,
        "prompt_tokens_details": {"cached_tokens": 100},
        "completion_tokens_details": {"reasoning_tokens": 20},
    },
    "openai-responses": {"input_tokens": 900, "output_tokens": 50, "total_tokens": 950},
    "anthropic": {
        "input_tokens": 500,
        "cache_read_input_tokens": 300,
        "cache_creation_input_tokens": 100,
        "output_tokens": 50,
    },
    "bedrock": {"inputTokens": 600, "cacheReadInputTokens": 300, "outputTokens": 50, "totalTokens": 950},
    "gemini": {
        "promptTokenCount": 800,
        "toolUsePromptTokenCount": 100,
        "candidatesTokenCount": 30,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 950,
    },
    "otel": {"gen_ai.usage.input_tokens": 900, "gen_ai.usage.output_tokens": 50},
}
XAI = {
    "prompt_tokens": 900,
    "completion_tokens": 50,
    "total_tokens": 970,
    "completion_tokens_details": {"reasoning_tokens": 20},
}
"""OpenAI's format, but ``completion_tokens`` excludes the reasoning tokens: the total is 900 + 50 + 20."""


def samples() -> Iterator[tuple[UsageFormat, dict[str, Any]]]:
    yield from SAMPLES.items()
    yield "openai", XAI
    yield "gemini", {"promptTokenCount": 900, "totalTokenCount": 900}
    yield "openai", {"prompt_tokens": 900, "completion_tokens": 50}


def test_the_client_knows_the_formats_of_the_service() -> None:
    assert get_args(UsageFormat) == usage_formats.FORMATS
    assert SAMPLES.keys() == set(usage_formats.FORMATS)


@pytest.mark.parametrize("usage_format", list(SAMPLES))
def test_input_and_output_are_read_as_the_service_reads_them(usage_format: UsageFormat) -> None:
    by_service = usage_formats.read(usage_format, SAMPLES[usage_format])

    assert (input_of(SAMPLES[usage_format], usage_format), output_of(SAMPLES[usage_format], usage_format)) == (900, 50)
    assert (by_service.input, by_service.output) == (900, 50)


@pytest.mark.parametrize(("usage_format", "usage"), list(samples()), ids=str)
def test_adding_output_to_a_usage_object_changes_no_other_count(
    usage_format: UsageFormat, usage: dict[str, Any]
) -> None:
    before, kept = usage_formats.read(usage_format, usage), dict(usage)

    after = usage_formats.read(usage_format, with_more_output(usage, usage_format, 70))

    assert after == before._replace(output=before.output + 70)
    assert with_more_output(usage, usage_format, 0) == usage == kept


def test_a_later_usage_replaces_counts_instead_of_adding_them() -> None:
    started = {"input_tokens": 10, "cache_read_input_tokens": 4_000, "output_tokens": 1, "service_tier": "standard"}
    delta = {"input_tokens": None, "cache_read_input_tokens": None, "output_tokens": 300}

    together = put_together(put_together(None, started), delta)

    assert together == started | {"output_tokens": 300}
    assert usage_formats.read("anthropic", together) == Usage(4_010, 300, cached_input=4_000)


class Modality(StrEnum):
    TEXT = "TEXT"


class Detail(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    modality: Modality
    token_count: int


class GeminiUsage(BaseModel):
    """Like google-genai's class: Python-style names, with JSON's names as aliases."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    prompt_token_count: int
    prompt_tokens_details: list[Detail]


class WithToDict:
    def to_dict(self) -> dict[str, Any]:
        return {"prompt_tokens": 7, "details": SimpleNamespace(cached=3, _raw="x")}


class WithDict:
    def dict(self) -> dict[str, Any]:
        return {"prompt_tokens": 7}


@dataclass
class Plain:
    prompt_tokens: int
    details: Any


@pytest.mark.parametrize(
    ("usage", "fields"),
    [
        (MappingProxyType({"prompt_tokens": 7}), {"prompt_tokens": 7}),
        (
            GeminiUsage(prompt_token_count=7, prompt_tokens_details=[Detail(modality=Modality.TEXT, token_count=7)]),
            {"promptTokenCount": 7, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}]},
        ),
        (WithToDict(), {"prompt_tokens": 7, "details": {"cached": 3}}),
        (WithDict(), {"prompt_tokens": 7}),
        (Plain(7, [WithDict()]), {"prompt_tokens": 7, "details": [{"prompt_tokens": 7}]}),
    ],
    ids=["mapping", "pydantic", "to_dict", "dict", "fields"],
)
def test_usage_objects_of_sdks_are_accepted(usage: object, fields: dict[str, Any]) -> None:
    assert in_json(usage, "the usage") == fields


@pytest.mark.parametrize(
    "usage",
    [None, 7, "7", [], object(), Plain, {"a": Decimal(1)}, {"a": {1, 2}}],
    ids=lambda each: str(each).partition(" at ")[0],
)
def test_a_usage_object_must_have_fields_and_json_types(usage: object) -> None:
    with pytest.raises(TypeError, match="the usage can't be sent as JSON"):
        in_json(usage, "the usage")


def test_a_usage_with_a_value_that_json_cannot_express_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    for usage in ({"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}, circle):
        with pytest.raises(ValueError, match="the usage can't be sent as JSON"):
            in_json(usage, "the usage")


def test_an_unknown_format_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(ValueError, match=r"canonical, openai, .*, otel, not 'cohere'"):
        require_format("cohere")
