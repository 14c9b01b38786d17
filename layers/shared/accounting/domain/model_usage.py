"""The canonical form of what a model call used: tokens, requests and searches.

``input`` counts every input token, ``output`` every output token. Every other token count is a part of ``input`` or of
``output``; the parts do not overlap. ``requests`` and ``web_searches`` are not tokens.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

from accounting.domain.errors import Invalid

MAX_COUNT = 10**9
"""The most tokens, requests or searches that one usage can have."""


class Usage(NamedTuple):
    """Counts of one model call, or sums and differences of them. ``checked`` refuses counts that no call can have."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    reasoning: int = 0
    output_audio: int = 0
    requests: int = 1
    web_searches: int = 0

    def plus(self, other: "Usage") -> "Usage":
        return Usage(*map(int.__add__, self, other))

    def minus(self, other: "Usage") -> "Usage":
        """The difference, count by count; counts may be negative."""
        return Usage(*map(int.__sub__, self, other))

    @property
    def inputs(self) -> "Usage":
        """The usage before any output: what is known when a stream starts."""
        return self._replace(output=0, reasoning=0, output_audio=0)

    def with_output(self, tokens: int) -> "Usage":
        """The usage with ``tokens`` output tokens in total; parts of the output are cut to fit."""
        reasoning = min(self.reasoning, tokens)
        return self._replace(
            output=tokens, reasoning=reasoning, output_audio=min(self.output_audio, tokens - reasoning)
        )

    def to_text(self) -> str:
        """The counts in the order of the fields, separated by commas."""
        return ",".join(map(str, self))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The usage in a text that ``to_text`` made."""
        return cls(*map(int, text.split(",")))


NO_USAGE = Usage(requests=0)

UNCLASSIFIED = "unclassified"
"""The name of a count in sums of usage: the tokens that were reported without their classes."""

COUNTS = (*Usage._fields, UNCLASSIFIED)
"""The names of all counts in sums of usage."""


def counts_in(usage: Usage | None, unclassified: int) -> dict[str, int]:
    """The counts that are not 0, by name: those of the usage, and the unclassified tokens."""
    counts = {**(usage or NO_USAGE)._asdict(), UNCLASSIFIED: unclassified}
    return {name: count for name, count in counts.items() if count}


JSON_NAMES: Mapping[str, str] = {
    "inputTokens": "input",
    "cachedInputTokens": "cached_input",
    "cacheWriteTokens": "cache_write",
    "cacheWrite1hTokens": "cache_write_1h",
    "inputAudioTokens": "input_audio",
    "outputTokens": "output",
    "reasoningTokens": "reasoning",
    "outputAudioTokens": "output_audio",
    "requests": "requests",
    "webSearches": "web_searches",
}
"""The counts' names in JSON, each with its field of ``Usage``, in the order of the documentation."""

INPUT_PARTS = ("cached_input", "cache_write", "cache_write_1h", "input_audio")
OUTPUT_PARTS = ("reasoning", "output_audio")


def checked(usage: Usage, field: str, names: Mapping[str, str] = JSON_NAMES) -> Usage:
    """The usage itself, if a call can have these counts.

    Raises Invalid if a count in ``names`` is below 0 or above ``MAX_COUNT``, or if ``input`` or ``output`` is less than
    the sum of its parts. The message names the count as ``field``, a dot, and the count's key in ``names``.
    """
    json_names = {attribute: f"{field}.{name}" for name, attribute in names.items()}
    for attribute, name in json_names.items():
        if not 0 <= getattr(usage, attribute) <= MAX_COUNT:
            raise Invalid.field(name, f"must be between 0 and {MAX_COUNT}")
    for whole, parts in (("input", INPUT_PARTS), ("output", OUTPUT_PARTS)):
        total = sum(getattr(usage, part) for part in parts)
        if total > getattr(usage, whole):
            raise too_small(json_names[whole], total)
    return usage


def too_small(name: str, parts: int) -> Invalid:
    """The refusal of a whole that is less than the sum of its parts."""
    return Invalid.field(name, f"must be at least {parts}, the sum of its parts")
