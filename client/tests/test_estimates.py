"""How the tokens of a request are estimated: by a number, a function, a tokenizer, or the length of its text."""

from __future__ import annotations

from typing import Any

import pytest

from accounting_client.estimates import MEDIA_TOKENS, MESSAGE_TOKENS, estimated_usage

FIELDS = ("messages", "tools")
REQUEST: dict[str, Any] = {"model": "m" * 1000, "messages": [{"role": "user", "content": "These are 18 bytes"}]}


class Words:
    """A tokenizer: a token for each word."""

    def encode(self, text: str) -> list[str]:
        if "<|end|>" in text:
            raise ValueError("a special token")
        return text.split()


@pytest.mark.parametrize(
    ("estimate", "usage"),
    [
        (1234, {"inputTokens": 1234, "outputTokens": 100}),
        (lambda request: len(request["messages"]), {"inputTokens": 1, "outputTokens": 100}),
        (
            lambda _: {"inputTokens": 5, "cachedInputTokens": 2},
            {"inputTokens": 5, "cachedInputTokens": 2, "outputTokens": 100},
        ),
        (lambda _: {"inputTokens": 5, "outputTokens": 7}, {"inputTokens": 5, "outputTokens": 7}),
        (Words(), {"inputTokens": MESSAGE_TOKENS + 1 + 4, "outputTokens": 100}),
        (None, {"inputTokens": MESSAGE_TOKENS + 2 + 6, "outputTokens": 100}),
    ],
)
def test_an_estimate_is_a_number_a_function_or_a_tokenizer(estimate: Any, usage: dict[str, int]) -> None:
    assert estimated_usage(REQUEST, FIELDS, estimate, 100) == usage


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
        {"type": "image", "source": {"type": "base64", "data": "A" * 100_000}},
        {"type": "input_image", "image_url": "https://example.com/" + "a" * 100_000},
        {"type": "file", "data": b"A" * 100_000},
    ],
)
def test_an_image_or_a_file_is_not_counted_by_its_length(part: dict[str, Any]) -> None:
    request = {"messages": [{"role": "user", "content": [part]}]}
    assert MEDIA_TOKENS <= estimated_usage(request, FIELDS, None, 1)["inputTokens"] < MEDIA_TOKENS + 50


def test_text_that_a_tokenizer_refuses_is_counted_by_its_length() -> None:
    request = {"messages": ["<|end|> of it"]}
    assert estimated_usage(request, FIELDS, Words(), 1)["inputTokens"] == MESSAGE_TOKENS + 5


def test_text_in_any_script_counts_about_one_token_for_three_bytes() -> None:
    assert estimated_usage({"messages": ["語" * 100]}, FIELDS, None, 1)["inputTokens"] == MESSAGE_TOKENS + 100
    assert estimated_usage({"messages": ["\ud800"]}, FIELDS, None, 1)["inputTokens"] > MESSAGE_TOKENS
