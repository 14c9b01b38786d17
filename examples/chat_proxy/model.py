"""A stand-in for a language model: it says something about the prompt, word by word, and reports its usage.

Like Anthropic's models, it reports the input at the beginning and the output at the end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import cycle, islice

NAME = "anthropic.claude-3-haiku-20240307-v1:0"
SECONDS_A_WORD = float(os.environ.get("MODEL_SECONDS_A_WORD", "0.02"))
CHARACTERS_A_TOKEN = BYTES_A_TOKEN = 4


@dataclass(frozen=True)
class Chunk:
    """A piece of the answer, or the usage so far."""

    text: str
    usage: dict[str, int] | None = None


def estimate(prompt: str, max_tokens: int) -> dict[str, int]:
    """Return the most that an answer may use. The input is estimated too low if the prompt is not plain English."""
    return {"inputTokens": len(prompt) // CHARACTERS_A_TOKEN, "outputTokens": max_tokens}


async def stream(prompt: str, max_tokens: int) -> AsyncIterator[Chunk]:
    """Answer ``prompt`` with ``max_tokens`` of its words."""
    yield Chunk("", {"input_tokens": len(prompt.encode()) // BYTES_A_TOKEN, "output_tokens": 1})
    for word in islice(cycle(prompt.split() or ["…"]), max_tokens):
        await asyncio.sleep(SECONDS_A_WORD)
        yield Chunk(f"{word} ")
    yield Chunk("", {"output_tokens": max_tokens})
