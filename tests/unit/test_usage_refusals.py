"""Which usage objects (a provider's token counts) are refused, and which field the refusal names."""

from collections.abc import Iterator
from copy import deepcopy
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.errors import Invalid
from accounting.domain.model_usage import MAX_COUNT, checked
from accounting.domain.usage_formats import FORMATS, read
from tests.provider_usage import REQUIRED, SAMPLES, Sent

INVALID_COUNTS: list[Any] = [
    *(True, False, "5", "", [], [5], {}, {"n": 5}),
    *(5.0, 5.5, float("nan"), float("inf"), Decimal("5.0"), Decimal("5.5"), Decimal("NaN"), Decimal("1e3")),
    *(-1, MAX_COUNT + 1, 10**300),
]
UNREAD = {
    *("text_tokens", "image_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens"),
    *("ttl_30m_tokens", "ttl_12h_tokens", "web_fetch_requests", "totalTokens", "totalTokenCount"),
    *("cost", "upstream_inference_cost", "num_sources_used", "cost_in_usd_ticks", "num_server_side_tools_used"),
    *("textCount", "cacheReadInputTokenCount", "gen_ai.usage.text.input_tokens"),
}
"""The names of those numbers in the samples that are not billed."""


def refusal(usage_format: str, sent: Sent) -> tuple[str, str]:
    """The field that ``read`` refuses, and the reason."""
    with pytest.raises(Invalid) as refused:
        read(usage_format, sent)
    (problem,) = refused.value.details["errors"]
    return problem["field"], problem["problem"]


def numbers(value: Any, path: tuple[Any, ...] = (), *, counted: bool = True) -> Iterator[tuple[tuple[Any, ...], bool]]:
    """The path to each number in an object, and whether the number is billed, judged only by the labels beside it.

    For example, a number beside ``"modality": "TEXT"`` is not billed. Names do not matter, even those in ``UNREAD``.
    """
    if isinstance(value, dict):
        labels = {value.get(name) for name in ("modality", "type", "ttl")} - {None}
        for name, inner in value.items():
            yield from numbers(inner, (*path, name), counted=counted and labels <= {"AUDIO", "compaction", "5m", "1h"})
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from numbers(inner, (*path, index), counted=counted)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, counted


def changed(sent: Sent, path: tuple[Any, ...], value: Any) -> Sent:
    copy = deepcopy(sent)
    inner: Any = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return copy


@pytest.mark.parametrize(("usage_format", "claimed"), list(permutations(FORMATS, 2)))
def test_an_object_of_another_format_is_refused(usage_format: str, claimed: str) -> None:
    for sent, _ in SAMPLES[usage_format].values():
        field, problem = refusal(claimed, sent)
        assert field.startswith("usage.")
        assert "format" in problem or problem == "unknown field"


@pytest.mark.parametrize("usage_format", FORMATS)
def test_an_invalid_count_is_refused_and_named(usage_format: str) -> None:
    unread = UNREAD | ({"total_tokens"} if usage_format == "openai-responses" else set())
    tried = 0
    for sent, usage in SAMPLES[usage_format].values():
        for path, counted in numbers(sent):
            for value in INVALID_COUNTS:
                if counted and path[-1] not in unread:
                    expected = (".".join(map(str, ("usage", *path))), "must be an integer between 0 and 1000000000")
                    assert refusal(usage_format, changed(sent, path, value)) == expected
                    tried += 1
                elif value:
                    assert read(usage_format, changed(sent, path, value)) == usage
    assert tried > 100


@pytest.mark.parametrize("usage_format", FORMATS)
@pytest.mark.parametrize("null", [True, False])
def test_required_names_of_a_format_must_be_present(usage_format: str, null: bool) -> None:
    sent, _ = SAMPLES[usage_format]["plain"]
    for name in REQUIRED[usage_format]:
        without = {each: value for each, value in sent.items() if each != name} | ({name: None} if null else {})
        assert refusal(usage_format, without) == (f"usage.{name}", f"is required in the format {usage_format}")


@pytest.mark.parametrize(
    ("usage_format", "sent", "field"),
    [
        ("anthropic", {"output_tokens": 15}, "input_tokens"),  # message_delta of a stream, without message_start
        ("anthropic", {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10}, "total_tokens"),
        (
            "openai-responses",  # LangChain's UsageMetadata
            {"input_tokens": 5, "output_tokens": 5, "total_tokens": 10, "input_token_details": {"cache_read": 4}},
            "input_token_details",
        ),
        (
            "bedrock",  # Vercel's AI SDK
            {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10, "cachedInputTokens": 4},
            "cachedInputTokens",
        ),
        ("gemini", {"prompt_token_count": 5, "candidates_token_count": 5}, "promptTokenCount"),
        ("openai", {"prompt_tokens": 5, "completion_tokens": 5, "input_tokens": 5}, "input_tokens"),
        ("canonical", {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}, "totalTokens"),
        ("canonical", {"inputTokens": 5, "outputTokens": 5, "totalTokens": None}, "totalTokens"),
        ("canonical", {}, "inputTokens"),
        ("openai", {}, "prompt_tokens"),
    ],
)
def test_an_object_with_a_foreign_field_or_without_a_required_field_is_refused(
    usage_format: str, sent: Sent, field: str
) -> None:
    assert refusal(usage_format, sent)[0] == f"usage.{field}"


@pytest.mark.parametrize(
    ("usage_format", "foreign"),
    [
        ("openai", "input_tokens inputTokens promptTokenCount gen_ai.usage.input_tokens"),
        (
            "openai-responses",
            (
                "prompt_tokens cache_read_input_tokens cache_creation_input_tokens cache_creation server_tool_use"
                " input_token_details output_token_details"
            ),
        ),
        ("anthropic", "prompt_tokens total_tokens input_tokens_details input_token_details output_token_details"),
        (
            "bedrock",
            (
                "input_tokens cachedInputTokens cacheWriteTokens cacheWrite1hTokens inputAudioTokens reasoningTokens"
                " outputAudioTokens requests webSearches"
            ),
        ),
        ("gemini", "prompt_tokens inputTokens"),
        ("otel", "prompt_tokens input_tokens"),
    ],
)
def test_fields_of_another_format_are_refused_unless_their_values_are_empty(usage_format: str, foreign: str) -> None:
    sent, _ = SAMPLES[usage_format]["plain"]
    for name in foreign.split():
        for value in (1, {"cached_tokens": 1}):
            expected = (f"usage.{name}", f"is not part of the format {usage_format}")
            assert refusal(usage_format, {**sent, name: value}) == expected
        empties: list[Any] = [0, None, "", {}, []]
        for empty in empties:
            assert read(usage_format, {**sent, name: empty}) == read(usage_format, sent)


@pytest.mark.parametrize("usage_format", [name for name in FORMATS if name != "canonical"])
@pytest.mark.parametrize("empty", [0, None])
def test_required_fields_of_other_formats_may_be_0_or_null(usage_format: str, empty: int | None) -> None:
    """Gateways send the counts of several formats, with 0 or null for the formats that they do not use."""
    others = {name: empty for names in REQUIRED.values() for name in names - REQUIRED[usage_format]}
    for sent, usage in SAMPLES[usage_format].values():
        assert read(usage_format, others | sent) == usage


@pytest.mark.parametrize("usage_format", ["", "OpenAI", "langchain", "openai "])
def test_the_refusal_of_an_unknown_format_lists_the_known_ones(usage_format: str) -> None:
    field, problem = refusal(usage_format, {})
    assert field == "usageFormat"
    assert problem.removeprefix("must be one of ").split(", ") == list(FORMATS)


@pytest.mark.parametrize(
    ("usage_format", "more", "field", "least"),
    [
        ("canonical", {"cachedInputTokens": 6, "cacheWriteTokens": 5}, "inputTokens", 11),
        ("canonical", {"cachedInputTokens": 6, "inputAudioTokens": 5}, "inputTokens", 11),
        ("canonical", {"reasoningTokens": 6, "outputAudioTokens": 5}, "outputTokens", 11),
        ("openai", {"prompt_tokens_details": {"cached_tokens": 11}}, "prompt_tokens", 11),
        ("openai", {"prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 5}}, "prompt_tokens", 11),
        ("openai", {"prompt_tokens_details": {"audio_tokens": 11}}, "prompt_tokens", 11),
        (
            "openai",
            {"prompt_tokens_details": {"audio_tokens": 3, "cached_tokens_details": {"audio_tokens": 4}}},
            "prompt_tokens_details.audio_tokens",
            4,
        ),
        ("openai", {"completion_tokens_details": {"reasoning_tokens": 11}}, "completion_tokens", 11),
        (
            "openai",
            {"completion_tokens_details": {"reasoning_tokens": 6, "audio_tokens": 5}},
            "completion_tokens",
            11,
        ),
        ("openai-responses", {"input_tokens_details": {"cached_tokens": 11}}, "input_tokens", 11),
        ("openai-responses", {"output_tokens_details": {"reasoning_tokens": 11}}, "output_tokens", 11),
        ("anthropic", {"output_tokens_details": {"thinking_tokens": 11}}, "output_tokens", 11),
        (
            "anthropic",
            {
                "cache_creation_input_tokens": 10,
                "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6},
            },
            "cache_creation_input_tokens",
            11,
        ),
        (
            "anthropic",  # the only total is 6 (in the compaction), but the parts add up to 11
            {
                "cache_creation": {"ephemeral_5m_input_tokens": 5},
                "iterations": [
                    {
                        "type": "compaction",
                        "cache_creation_input_tokens": 6,
                        "cache_creation": {"ephemeral_5m_input_tokens": 6},
                    }
                ],
            },
            "cache_creation_input_tokens",
            11,
        ),
        (
            "bedrock",
            {"cacheWriteInputTokens": 0, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
            "cacheWriteInputTokens",
            1,
        ),
        ("gemini", {"cachedContentTokenCount": 11}, "promptTokenCount", 11),
        ("gemini", {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 11}]}, "promptTokenCount", 11),
        ("gemini", {"candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 11}]}, "candidatesTokenCount", 11),
        ("otel", {"gen_ai.usage.cache_read.input_tokens": 11}, "gen_ai.usage.input_tokens", 11),
        ("otel", {"gen_ai.usage.reasoning.output_tokens": 11}, "gen_ai.usage.output_tokens", 11),
    ],
)
def test_parts_that_exceed_their_whole_are_refused(usage_format: str, more: Sent, field: str, least: int) -> None:
    tens = dict.fromkeys((*REQUIRED[usage_format], *(["candidatesTokenCount"] if usage_format == "gemini" else [])), 10)
    assert read(usage_format, tens).input == 10
    assert refusal(usage_format, tens | more) == (f"usage.{field}", f"must be at least {least}, the sum of its parts")


@pytest.mark.parametrize(
    ("usage_format", "sent", "field"),
    [
        ("anthropic", {"input_tokens": MAX_COUNT, "output_tokens": 1, "cache_read_input_tokens": 1}, "input_tokens"),
        ("gemini", {"promptTokenCount": MAX_COUNT, "toolUsePromptTokenCount": 1}, "promptTokenCount"),
        (
            "gemini",
            {"promptTokenCount": 1, "candidatesTokenCount": MAX_COUNT, "thoughtsTokenCount": 1},
            "candidatesTokenCount",
        ),
    ],
)
def test_a_sum_above_the_limit_of_a_count_is_refused(usage_format: str, sent: Sent, field: str) -> None:
    assert refusal(usage_format, sent) == (f"usage.{field}", "must be between 0 and 1000000000")


@pytest.mark.parametrize(
    ("usage_format", "more", "field", "problem"),
    [
        ("openai", {"prompt_tokens_details": 5}, "prompt_tokens_details", "must be an object"),
        ("openai", {"completion_tokens_details": []}, "completion_tokens_details", "must be an object"),
        (
            "openai",
            {"prompt_tokens_details": {"cached_tokens_details": 5}},
            "prompt_tokens_details.cached_tokens_details",
            "must be an object",
        ),
        ("openai", {"gen_ai": {"usage": 5}}, "gen_ai.usage", "must be an object"),
        ("anthropic", {"cache_creation": "1h"}, "cache_creation", "must be an object"),
        ("anthropic", {"iterations": {"type": "compaction"}}, "iterations", "must be a list"),
        ("anthropic", {"iterations": [None]}, "iterations.0", "must be an object"),
        ("bedrock", {"cacheDetails": {}}, "cacheDetails", "must be a list"),
        ("bedrock", {"cacheDetails": [{"ttl": "5m"}, "1h"]}, "cacheDetails.1", "must be an object"),
        ("gemini", {"promptTokensDetails": "AUDIO"}, "promptTokensDetails", "must be a list"),
    ],
)
def test_a_value_of_the_wrong_json_type_is_refused(usage_format: str, more: Sent, field: str, problem: str) -> None:
    sent, _ = SAMPLES[usage_format]["plain"]
    assert refusal(usage_format, sent | more) == (f"usage.{field}", problem)


def test_the_refusal_begins_with_the_name_of_the_field_that_holds_the_usage_object() -> None:
    with pytest.raises(Invalid, match=r"^estimatedUsage\.inputTokens: is required"):
        read("canonical", {}, "estimatedUsage")
    with pytest.raises(Invalid, match=r"^estimatedUsage\.inputTokens: must be at least 2"):
        read("canonical", {"inputTokens": 1, "outputTokens": 1, "cachedInputTokens": 2}, "estimatedUsage")
    with pytest.raises(Invalid, match=r"^estimatedUsage\.gen_ai: must be an object"):
        read("otel", {"gen_ai": 5}, "estimatedUsage")


def names_in(value: Any) -> set[str]:
    match value:
        case dict():
            return set(value).union(*map(names_in, value.values()))
        case list():
            return set().union(*map(names_in, value))
    return set()


NAMES_SENT = sorted(names_in([sent for samples in SAMPLES.values() for sent, _ in samples.values()]))
LABELS = st.sampled_from(["AUDIO", "TEXT", "1h", "5m", "compaction"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 30) | st.decimals(0, 30, places=1) | LABELS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES_SENT), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("usage_format", FORMATS)
@given(data=st.data())
def test_any_object_is_read_as_a_valid_usage_or_refused(usage_format: str, data: st.DataObject) -> None:
    required = data.draw(st.fixed_dictionaries({name: st.integers(0, 30) for name in REQUIRED[usage_format]}))
    more = data.draw(st.dictionaries(st.sampled_from(NAMES_SENT), VALUES, max_size=5))
    try:
        usage = read(usage_format, {**more, **required})
    except Invalid:
        return
    assert checked(usage, "usage") == usage
    assert all(type(count) is int for count in usage)
