"""Stands for a language model: it says something about the prompt, a word at a time."""

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
    """A piece of the answer, and the tokens that it took."""

    text: str
    tokens: int


def estimate(prompt: str, max_tokens: int) -> int:
    """Return how many tokens an answer may come to, with its prompt; too few when that is no plain English."""
    return len(prompt) // CHARACTERS_A_TOKEN + max_tokens


async def stream(prompt: str, max_tokens: int) -> AsyncIterator[Chunk]:
    """Answer ``prompt`` with ``max_tokens`` words of it."""
    yield Chunk("", len(prompt.encode()) // BYTES_A_TOKEN)
    for word in islice(cycle(prompt.split() or ["…"]), max_tokens):
        await asyncio.sleep(SECONDS_A_WORD)
        yield Chunk(f"{word} ", 1)
