"""Estimates how many tokens a request to a model may use. Their cost is held before the model gets the request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

DEFAULT_OUTPUT_TOKENS = 4096
"""The output tokens to reserve for a request that sets no limit, unless the model's price rule sets a lower limit."""
BYTES_A_TOKEN = 3
"""How many bytes of text count as a token without a tokenizer. The number is low, so that estimates are high."""
LETTERS_A_TOKEN = 4
"""How many letters of a streamed piece count as a token. A shorter piece counts as one token."""
MEDIA_TOKENS = 1500
"""The tokens that an image or a file in the request counts as, with or without a tokenizer."""
MESSAGE_TOKENS = 4
"""The tokens of each item of a list, such as a message or a tool, in addition to its text."""
MEDIA_FIELDS = {"data", "file_data", "image_url", "file_id", "url", "bytes"}
KNOWN_SECONDS = 300.0
MOST_MODELS = 1000


class Tokenizer(Protocol):
    """A tokenizer like those of tiktoken and Hugging Face."""

    def encode(self, text: str, /) -> Sized: ...


Estimate = int | Tokenizer | Callable[[Mapping[str, Any]], int | Mapping[str, Any]] | None
"""How to estimate a request's input: a number of tokens, a tokenizer, or a function of the request.

The function returns the input tokens, or a usage in canonical form, such as
``{"inputTokens": 4000, "outputTokens": 1000}``. With None, every three bytes of text count as a token.
"""


def estimated_usage(
    request: Mapping[str, Any], inputs: Sequence[str], estimate: Estimate, output_tokens: int
) -> dict[str, Any]:
    """The most that a request can use, in canonical form. ``inputs`` are the request's fields that the model reads."""
    if callable(estimate):
        found = estimate(request)
        if isinstance(found, Mapping):
            return {"outputTokens": output_tokens, **found}
        return {"inputTokens": found, "outputTokens": output_tokens}
    if isinstance(estimate, int):
        return {"inputTokens": estimate, "outputTokens": output_tokens}
    tokens = 0
    for name in inputs:
        for text in _texts(name, request.get(name)):
            tokens += MESSAGE_TOKENS if text == "" else MEDIA_TOKENS if text is None else tokens_of(text, estimate)
    return {"inputTokens": tokens, "outputTokens": output_tokens}


def tokens_of(text: str, tokenizer: Tokenizer | None = None) -> int:
    """The tokens of a text, by a tokenizer or by its length."""
    if tokenizer is not None:
        try:
            return len(tokenizer.encode(text))
        except ValueError:  # tiktoken raises it for the text of a special token
            pass
    return -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)


def _texts(name: str, value: object) -> Iterator[str | None]:
    """Yield the texts in a value, with "" before each item of a list, and None in place of each image or file."""
    if isinstance(value, str):
        yield None if name in MEDIA_FIELDS or value.startswith("data:") else value
    elif isinstance(value, dict | Mapping):  # a check for dict is faster
        for inner_name, inner in value.items():
            yield from _texts(str(inner_name), inner)
    elif isinstance(value, list | Sequence) and not isinstance(value, bytes | bytearray):
        for inner in value:
            yield ""
            yield from _texts(name, inner)
    elif isinstance(value, bytes | bytearray):
        yield None


class OutputLimits:
    """A cache of the limits of output tokens that the price rules of models set."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int | None]] = {}

    def get(self, model_id: str) -> tuple[bool, int | None]:
        """Return whether the cached limit is still current, and the limit."""
        until, limit = self._known.get(model_id, (0.0, None))
        return time.monotonic() < until, limit

    def put(self, model_id: str, limit: int | None) -> None:
        """Cache the limit that the model's price sets; None if the model has no price, or its price sets no limit."""
        if len(self._known) >= MOST_MODELS:
            self._known.clear()
        self._known[model_id] = time.monotonic() + KNOWN_SECONDS, limit


def least(limit: int | None, default: int) -> int:
    """The output tokens to reserve for a request that sets no limit: ``default``, or the model's ``limit`` if lower."""
    return default if limit is None else min(limit, default)
