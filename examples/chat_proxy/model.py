"""Stands for a language model: it says something about the prompt, a word at a time, and reports its usage.

As Anthropic's models do: at the beginning the input, at the end the output.
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
    """A piece of the answer, or what it has used so far."""

    text: str
    usage: dict[str, int] | None = None


def estimate(prompt: str, max_tokens: int) -> dict[str, int]:
    """Return the most that an answer may use; too few input tokens when the prompt is no plain English."""
    return {"inputTokens": len(prompt) // CHARACTERS_A_TOKEN, "outputTokens": max_tokens}


async def stream(prompt: str, max_tokens: int) -> AsyncIterator[Chunk]:
    """Answer ``prompt`` with ``max_tokens`` words of it."""
    yield Chunk("", {"input_tokens": len(prompt.encode()) // BYTES_A_TOKEN, "output_tokens": 1})
    for word in islice(cycle(prompt.split() or ["…"]), max_tokens):
        await asyncio.sleep(SECONDS_A_WORD)
        yield Chunk(f"{word} ")
    yield Chunk("", {"output_tokens": max_tokens})
