"""How LiteLLM's requests and usage objects are read. `tests/gateways` tests the client's callback in a real proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from accounting_client.litellm_requests import ModelRequest, canonical_usage, output_tokens_in, usage_of


@pytest.mark.parametrize(
    ("call_type", "data", "most"),
    [
        ("acompletion", {}, 70),
        ("acompletion", {"max_tokens": 5}, 5),
        ("acompletion", {"max_completion_tokens": 5, "max_tokens": 9}, 5),
        ("acompletion", {"max_tokens": 5, "n": 3}, 15),
        ("acompletion", {"n": 3}, 210),
        ("acompletion", {"max_tokens": None, "n": None}, 70),
        ("atext_completion", {"max_tokens": 5, "best_of": 2}, 10),
        ("aresponses", {"max_output_tokens": 5, "max_tokens": 1}, 5),
        ("anthropic_messages", {"max_tokens": 5}, 5),
        ("aembedding", {"max_tokens": 5}, 0),
    ],
)
def test_a_requests_limits_decide_how_much_it_may_generate(call_type: str, data: dict[str, Any], most: int) -> None:
    asked = ModelRequest(call_type, data, 0 if call_type == "aembedding" else 70)

    assert (asked.is_accountable, asked.max_output_tokens) == (True, most)


@pytest.mark.parametrize(
    ("call_type", "data"),
    [("image_generation", {}), ("pass_through_endpoint", {}), ("_arealtime", {}), ("aresponses", {"background": True})],
)
def test_a_request_whose_answer_has_no_usage_is_not_accountable(call_type: str, data: dict[str, Any]) -> None:
    assert not ModelRequest(call_type, data).is_accountable


@pytest.mark.parametrize(
    ("call_type", "data", "affordable", "shortened"),
    [
        ("acompletion", {"max_tokens": 50}, 50, {"max_tokens": 50}),
        ("acompletion", {"max_tokens": 50}, 20, {"max_tokens": 20}),
        ("acompletion", {"max_completion_tokens": 50}, 20, {"max_completion_tokens": 20}),
        (
            "acompletion",
            {"max_tokens": 50, "max_completion_tokens": 60},
            20,
            {"max_tokens": 20, "max_completion_tokens": 20},
        ),
        ("acompletion", {}, 20, {"max_completion_tokens": 20}),
        ("acompletion", {"n": 3}, 20, {"n": 3, "max_completion_tokens": 6}),
        ("acompletion", {"n": 3}, 2, {"n": 3, "max_completion_tokens": 1}),
        ("aresponses", {}, 20, {"max_output_tokens": 20}),
        ("aembedding", {}, 0, {}),
    ],
)
def test_the_output_limit_of_a_request_is_lowered_to_what_is_affordable(
    call_type: str, data: dict[str, Any], affordable: int, shortened: dict[str, Any]
) -> None:
    asked = ModelRequest(call_type, data, 70)

    asked.shorten(affordable)

    assert asked.data == shortened


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({}, {}),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, {}),
        ({"prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": None}}, {"cachedInputTokens": 5}),
        (
            {"cache_read_input_tokens": 5, "cache_creation_input_tokens": 6},
            {"cachedInputTokens": 5, "cacheWriteTokens": 6},
        ),
        (
            {
                "prompt_tokens_details": {"cached_tokens": 5, "cache_creation_tokens": 6},
                "cache_creation_input_tokens": 6,
            },
            {"cachedInputTokens": 5, "cacheWriteTokens": 6},
        ),
        (
            {
                "prompt_tokens_details": {
                    "cache_write_tokens": 6,
                    "cache_creation_token_details": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 2},
                }
            },
            {"cacheWriteTokens": 4, "cacheWrite1hTokens": 2},
        ),
        (
            {"prompt_tokens_details": {"audio_tokens": 18, "cached_tokens": 5}},
            {"inputAudioTokens": 15, "cachedInputTokens": 5},
        ),
        (
            {"completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1}},
            {"reasoningTokens": 3, "outputAudioTokens": 1},
        ),
        ({"server_tool_use": {"web_search_requests": 2}}, {"webSearches": 2}),
        ({"prompt_tokens_details": {"web_search_requests": 2}}, {"webSearches": 2}),
    ],
)
def test_litellms_usage_is_converted_to_canonical_form(more: dict[str, Any], parts: dict[str, int]) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "cost": 0.5, **more}

    assert canonical_usage(usage) == {"inputTokens": 20, "outputTokens": 10, **parts}


def test_a_usage_object_without_prompt_tokens_is_ignored() -> None:
    assert usage_of({"standard_logging_object": {"metadata": {"usage_object": {}}}}, None) is None
    assert usage_of({}, SimpleNamespace(usage={"input_tokens": 5})) is None
    assert usage_of({}, SimpleNamespace(usage={"prompt_tokens": 5})) == {"inputTokens": 5, "outputTokens": 0}


def _chunk(**delta: Any) -> SimpleNamespace:
    return SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(**delta))])


@pytest.mark.parametrize(
    ("chunk", "tokens"),
    [
        (_chunk(content="word"), 1),
        (_chunk(content=""), 0),
        (_chunk(content="a" * 400), 100),
        (_chunk(content=None, reasoning_content="word"), 1),
        (_chunk(tool_calls=[SimpleNamespace(function=SimpleNamespace(arguments='{"a":'))]), 1),
        (SimpleNamespace(type="response.output_text.delta", delta="word"), 1),
        (SimpleNamespace(type="response.completed"), 0),
        (b'event: content_block_delta\ndata: {"type": "content_block_delta"}\n\n' * 3, 3),
        (b'event: message_stop\ndata: {"type": "message_stop"}\n\n', 0),
        ("text", 0),
    ],
)
def test_the_output_in_a_chunk_is_counted(chunk: object, tokens: int) -> None:
    assert output_tokens_in(chunk) == tokens
