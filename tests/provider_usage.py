"""Usage objects as providers send them: samples and random objects.

``tests/usage`` has a sample of each shape in the providers' SDKs and API references. Beside each sample is the same
usage in the service's own format, ``canonical``, worked out by hand. A random object is made from a random ``Call``.
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

from accounting.domain.model_usage import JSON_NAMES, Usage

type Sent = dict[str, Any]


def _samples(path: Path) -> dict[str, tuple[Sent, Usage]]:
    rows = yaml.safe_load(path.read_text())
    return {
        row["shape"]: (row["sent"], Usage(**{JSON_NAMES[name]: count for name, count in row["means"].items()}))
        for row in rows
    }


SAMPLES = {path.stem: _samples(path) for path in sorted((Path(__file__).parent / "usage").glob("*.yaml"))}
"""Format → shape → the object and its canonical usage."""


class Call(NamedTuple):
    """The tokens and web searches of one model call, in groups that do not overlap."""

    text: int = 0
    audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    written: int = 0
    written_1h: int = 0
    tool_results: int = 0
    answer: int = 0
    reasoning: int = 0
    speech: int = 0
    searches: int = 0

    @property
    def usage(self) -> Usage:
        return Usage(
            input=self.prompt + self.tool_results,
            output=self.answer + self.reasoning + self.speech,
            cached_input=self.cached,
            cache_write=self.written,
            cache_write_1h=self.written_1h,
            input_audio=self.audio,
            reasoning=self.reasoning,
            output_audio=self.speech,
            web_searches=self.searches,
        )

    @property
    def cached(self) -> int:
        return self.cached_text + self.cached_audio

    @property
    def prompt(self) -> int:
        return self.text + self.audio + self.cached + self.written + self.written_1h


def _canonical(call: Call) -> Sent:
    return {name: getattr(call.usage, attribute) for name, attribute in JSON_NAMES.items()}


def _openai(call: Call) -> Sent:
    prompt, completion = call.prompt, call.usage.output
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": call.cached,
            "cached_tokens_details": {"text_tokens": call.cached_text, "audio_tokens": call.cached_audio},
            "cache_write_tokens": call.written,
            "audio_tokens": call.audio + call.cached_audio,
        },
        "completion_tokens_details": {"reasoning_tokens": call.reasoning, "audio_tokens": call.speech},
    }


def _responses(call: Call) -> Sent:
    return {
        "input_tokens": call.prompt,
        "input_tokens_details": {"cached_tokens": call.cached, "cache_write_tokens": call.written},
        "output_tokens": call.usage.output,
        "output_tokens_details": {"reasoning_tokens": call.reasoning},
        "total_tokens": call.prompt + call.usage.output,
    }


def _anthropic(call: Call) -> Sent:
    return {
        "input_tokens": call.text,
        "cache_read_input_tokens": call.cached,
        "cache_creation_input_tokens": call.written + call.written_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": call.written,
            "ephemeral_1h_input_tokens": call.written_1h,
        },
        "output_tokens": call.usage.output,
        "output_tokens_details": {"thinking_tokens": call.reasoning},
        "server_tool_use": {"web_search_requests": call.searches},
    }


def _bedrock(call: Call) -> Sent:
    return {
        "inputTokens": call.text,
        "outputTokens": call.answer,
        "totalTokens": call.prompt + call.answer,
        "cacheReadInputTokens": call.cached,
        "cacheWriteInputTokens": call.written + call.written_1h,
        "cacheDetails": [{"ttl": "1h", "inputTokens": call.written_1h}, {"ttl": "5m", "inputTokens": call.written}],
    }


def _gemini(call: Call) -> Sent:
    return {
        "promptTokenCount": call.prompt,
        "cachedContentTokenCount": call.cached,
        "candidatesTokenCount": call.answer + call.speech,
        "toolUsePromptTokenCount": call.tool_results,
        "thoughtsTokenCount": call.reasoning,
        "totalTokenCount": call.usage.input + call.usage.output,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": call.audio + call.cached_audio}],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": call.cached_audio}],
        "candidatesTokensDetails": [
            {"modality": "TEXT", "tokenCount": call.answer},
            {"modality": "AUDIO", "tokenCount": call.speech},
        ],
    }


def _otel(call: Call) -> Sent:
    return {
        "gen_ai.usage.input_tokens": call.prompt,
        "gen_ai.usage.cache_read.input_tokens": call.cached,
        "gen_ai.usage.cache_write.input_tokens": call.written,
        "gen_ai.usage.audio.input_tokens": call.audio + call.cached_audio,
        "gen_ai.usage.audio.cache_read.input_tokens": call.cached_audio,
        "gen_ai.usage.output_tokens": call.usage.output,
        "gen_ai.usage.reasoning.output_tokens": call.reasoning,
        "gen_ai.usage.audio.output_tokens": call.speech,
    }


_AUDIO = {"audio", "cached_audio", "speech"}
WRITERS = {
    "canonical": (_canonical, {*Call._fields}),
    "openai": (_openai, {"text", "cached_text", "written", "answer", "reasoning", *_AUDIO}),
    "openai-responses": (_responses, {"text", "cached_text", "written", "answer", "reasoning"}),
    "anthropic": (
        _anthropic,
        {"text", "cached_text", "written", "written_1h", "answer", "reasoning", "searches"},
    ),
    "bedrock": (_bedrock, {"text", "cached_text", "written", "written_1h", "answer"}),
    "gemini": (_gemini, {"text", "cached_text", "tool_results", "answer", "reasoning", *_AUDIO}),
    "otel": (_otel, {"text", "cached_text", "written", "answer", "reasoning", *_AUDIO}),
}
"""Format → the function that writes a call in this format, and the groups that the format distinguishes."""

REQUIRED = {
    "canonical": {"inputTokens", "outputTokens"},
    "openai": {"prompt_tokens", "completion_tokens"},
    "openai-responses": {"input_tokens", "output_tokens", "total_tokens"},
    "anthropic": {"input_tokens", "output_tokens"},
    "bedrock": {"inputTokens", "outputTokens", "totalTokens"},
    "gemini": {"promptTokenCount"},
    "otel": {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"},
}


@st.composite
def sent_calls(draw: st.DrawFn, usage_format: str) -> tuple[Sent, Call]:
    """A random usage object in a format, and the call that it describes. Optional counts of 0 may be absent or null."""
    write, groups = WRITERS[usage_format]
    call = Call(**{name: draw(st.integers(0, 10**7) | st.just(0)) for name in groups})
    sent = _thinned(draw, write(call), REQUIRED[usage_format])
    if usage_format != "canonical":
        sent["something_new"] = {"of": ["the provider's", 1, None]}
    return sent, call


def _thinned(draw: st.DrawFn, sent: Sent, required: set[str]) -> Sent:
    thin: Sent = {}
    for name, value in sent.items():
        if isinstance(value, dict):
            thin[name] = _thinned(draw, value, set())
        elif value != 0 or name in required or draw(st.booleans()):
            thin[name] = value
        elif draw(st.booleans()):
            thin[name] = None
    return thin
