"""How each provider's usage object is read. Objects that are refused are tested in ``test_usage_refusals.py``.

The usage that this service reads is compared with the usage that genai-prices, an independent package, reads from the
same object: for every sample and for random objects. These differences are deliberate:

- Audio from the cache counts as cached only, because it has the cache's price. genai-prices counts it as audio, too.
  The comparison subtracts this audio from genai-prices' count, except for OpenAI's objects: there, genai-prices does
  not read how many cached tokens are audio.
- Cache writes that are reported only by lifetime, without their sum, are part of the input. genai-prices leaves them
  out.
- Anthropic bills a compaction in addition to the top-level counts. genai-prices leaves the compaction out.
- Gemini's live API calls its output ``responseTokenCount``. genai-prices leaves it out.
- xAI has OpenAI's format, but its completion tokens do not include reasoning. This service recognizes such a usage by
  its total; genai-prices needs the provider's name.
- genai-prices reads neither the canonical format nor OpenTelemetry's.
"""

import re

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.model_usage import JSON_NAMES, Usage, checked
from accounting.domain.usage_formats import FORMATS, read
from local.paths import ROOT
from tests.provider_usage import REQUIRED, SAMPLES, Sent, sent_calls

ROWS = [
    pytest.param(usage_format, sent, usage, id=f"{usage_format}: {shape}")
    for usage_format, samples in SAMPLES.items()
    for shape, (sent, usage) in samples.items()
]
TOTALS = {
    "openai": "total_tokens",
    "openai-responses": "total_tokens",
    "bedrock": "totalTokens",
    "gemini": "totalTokenCount",
}


def test_every_format_has_at_least_eight_samples() -> None:
    assert sorted(SAMPLES) == sorted(FORMATS)
    assert [name for name, samples in SAMPLES.items() if len(samples) < 8] == []


@pytest.mark.parametrize(("usage_format", "sent", "usage"), ROWS)
def test_every_sample_is_read_as_the_usage_that_was_worked_out_by_hand(
    usage_format: str, sent: Sent, usage: Usage
) -> None:
    assert read(usage_format, sent) == usage
    assert checked(usage, "usage") == usage


@pytest.mark.parametrize(("cached", "written", "new_audio"), [(0, 0, 9), (1, 0, 9), (2, 5, 3), (4, 6, 0)])
def test_input_audio_is_at_most_the_input_that_is_neither_cached_nor_written_to_the_cache(
    cached: int, written: int, new_audio: int
) -> None:
    details = {"audio_tokens": 9, "cached_tokens": cached, "cache_write_tokens": written}

    usage = read("openai", {"prompt_tokens": 10, "completion_tokens": 0, "prompt_tokens_details": details})

    assert usage == Usage(10, cached_input=cached, cache_write=written, input_audio=new_audio)


@pytest.mark.parametrize("usage_format", FORMATS)
@given(data=st.data())
def test_no_token_of_random_usage_is_lost(usage_format: str, data: st.DataObject) -> None:
    sent, call = data.draw(sent_calls(usage_format))

    usage = read(usage_format, sent)

    assert usage == call.usage
    if usage_format in TOTALS:
        assert usage.input + usage.output == (sent.get(TOTALS[usage_format]) or 0)


EXTRACTORS = {
    "openai": ("openai", "chat", "usage"),
    "openai-responses": ("openai", "responses", "usage"),
    "anthropic": ("anthropic", "default", "usage"),
    "bedrock": ("aws", "default", "usage"),
    "gemini": ("google", "default", "usageMetadata"),
}
DIFFERENT = {
    ("openai", "reasoning outside the completion, as xAI counts it"),
    ("openai", "cached audio, split"),
    ("anthropic", "cache writes by lifetime only"),
    ("anthropic", "a compaction, which the top-level counts leave out"),
    ("bedrock", "cache writes by lifetime only"),
    ("gemini", "the live API"),
}
"""The samples that genai-prices reads differently; the module's docstring says why."""


def theirs(usage_format: str, sent: Sent, provider: str | None = None) -> Usage:
    """The usage that genai-prices reads from a provider's object, in the canonical form."""
    known, flavor, root = EXTRACTORS[usage_format]
    response = {root: sent, "model": "m", "modelVersion": "m"}
    _, found = get_snapshot().find_provider(None, provider or known, None).extract_usage(response, api_flavor=flavor)

    def count(name: str) -> int:
        return int(found.reported_value(name))

    cached, written = count("cache_read_tokens"), count("cache_write_tokens")
    room = count("input_tokens") - cached - written
    return Usage(
        input=count("input_tokens"),
        output=count("output_tokens"),
        cached_input=cached,
        cache_write=written - count("cache_write_1h_tokens"),
        cache_write_1h=count("cache_write_1h_tokens"),
        input_audio=min(count("input_audio_tokens") - count("cache_audio_read_tokens"), room),
        reasoning=count("output_reasoning_tokens"),
        output_audio=count("output_audio_tokens"),
        web_searches=count("web_searches"),
    )


@pytest.mark.parametrize("usage_format", EXTRACTORS)
def test_genai_prices_reads_the_same_except_for_listed_differences(usage_format: str) -> None:
    samples = SAMPLES[usage_format]
    differing = {shape for shape, (sent, usage) in samples.items() if theirs(usage_format, sent) != usage}
    assert differing == {shape for known, shape in DIFFERENT if known == usage_format}


def test_genai_prices_reads_xais_reasoning_the_same_if_it_gets_the_providers_name() -> None:
    sent, usage = SAMPLES["openai"]["reasoning outside the completion, as xAI counts it"]
    assert theirs("openai", sent, "x-ai") == usage


@pytest.mark.parametrize("usage_format", EXTRACTORS)
@given(data=st.data())
def test_genai_prices_reads_random_usage_the_same(usage_format: str, data: st.DataObject) -> None:
    sent, call = data.draw(sent_calls(usage_format))
    if usage_format == "openai":  # genai-prices does not read how many cached tokens are audio
        sent["prompt_tokens_details"].pop("cached_tokens_details")

    assert theirs(usage_format, sent) == read(usage_format, sent)
    assert call.usage.output == read(usage_format, sent).output


def test_docs_usage_formats_lists_every_format_with_its_required_fields() -> None:
    page = (ROOT / "docs/usage-formats.md").read_text()
    rows = {row.split("`")[1]: row for row in re.findall(r"^\| `[a-z-]+`.*", page, re.MULTILINE)}

    assert rows.keys() == {name for name in FORMATS if name != "canonical"}
    for name, row in rows.items():
        assert set(re.findall(r"`(.*?)`", row.split("|")[2])) == REQUIRED[name]
    assert {name for name in JSON_NAMES if f"`{name}`" not in page} == set()
