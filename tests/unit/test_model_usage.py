"""The canonical form of usage: its arithmetic, its text form, and its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.errors import Invalid
from accounting.domain.model_usage import INPUT_PARTS, JSON_NAMES, MAX_COUNT, NO_USAGE, OUTPUT_PARTS, Usage, checked

COUNTS = st.integers(0, MAX_COUNT)
USAGES = st.builds(Usage, *(COUNTS for _ in Usage._fields))
FULL = Usage(100, 50, 40, 20, 15, 25, 30, 20, 2, 1)


def test_every_count_has_a_name_in_json() -> None:
    assert sorted(JSON_NAMES.values()) == sorted(Usage._fields)


def test_every_token_count_is_the_input_or_the_output_or_a_part_of_one() -> None:
    assert {"input", "output", *INPUT_PARTS, *OUTPUT_PARTS} == {*Usage._fields} - {"requests", "web_searches"}


@given(USAGES, USAGES)
def test_sums_and_differences_are_taken_count_by_count(one: Usage, other: Usage) -> None:
    assert tuple(one.plus(other)) == tuple(a + b for a, b in zip(one, other, strict=True))
    assert one.plus(other).minus(other) == one
    assert one.plus(NO_USAGE) == one
    assert one.minus(one) == NO_USAGE


@given(USAGES)
def test_a_usage_can_be_read_back_from_its_text(usage: Usage) -> None:
    assert Usage.from_text(usage.to_text()) == usage
    negative = NO_USAGE.minus(usage)
    assert Usage.from_text(negative.to_text()) == negative


def test_a_malformed_text_is_not_a_usage() -> None:
    for text in ("", "1,2,x", ",".join(["1"] * (len(Usage._fields) + 1))):
        with pytest.raises((ValueError, TypeError)):
            Usage.from_text(text)


def test_the_inputs_are_the_usage_before_any_output() -> None:
    assert FULL.inputs == FULL._replace(output=0, reasoning=0, output_audio=0)


@pytest.mark.parametrize(
    ("tokens", "reasoning", "audio"), [(60, 30, 20), (50, 30, 20), (45, 30, 15), (30, 30, 0), (10, 10, 0), (0, 0, 0)]
)
def test_parts_of_the_output_are_cut_to_fit_a_changed_output(tokens: int, reasoning: int, audio: int) -> None:
    assert FULL.with_output(tokens) == FULL._replace(output=tokens, reasoning=reasoning, output_audio=audio)


@given(USAGES.filter(lambda usage: usage.reasoning + usage.output_audio <= usage.output), COUNTS)
def test_parts_never_exceed_a_changed_output(usage: Usage, tokens: int) -> None:
    checked(usage._replace(**dict.fromkeys(INPUT_PARTS, 0)).with_output(tokens), "usage")


def problem(usage: Usage) -> tuple[str, str]:
    with pytest.raises(Invalid) as refused:
        checked(usage, "estimatedUsage")
    (only,) = refused.value.details["errors"]
    return only["field"], only["problem"]


def test_parts_may_be_as_large_as_their_whole() -> None:
    for usage in (FULL, Usage(), NO_USAGE, Usage(MAX_COUNT, MAX_COUNT, MAX_COUNT, reasoning=MAX_COUNT)):
        assert checked(usage, "usage") is usage


@pytest.mark.parametrize("part", INPUT_PARTS)
def test_parts_of_the_input_may_not_add_up_to_more_than_the_input(part: str) -> None:
    larger = FULL._replace(**{part: getattr(FULL, part) + 1})
    assert problem(larger) == ("estimatedUsage.inputTokens", "must be at least 101, the sum of its parts")


@pytest.mark.parametrize("part", OUTPUT_PARTS)
def test_parts_of_the_output_may_not_add_up_to_more_than_the_output(part: str) -> None:
    larger = FULL._replace(**{part: getattr(FULL, part) + 1})
    assert problem(larger) == ("estimatedUsage.outputTokens", "must be at least 51, the sum of its parts")


@pytest.mark.parametrize("name", JSON_NAMES)
@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1])
def test_a_count_outside_its_range_is_refused(name: str, count: int) -> None:
    outside = FULL._replace(**{JSON_NAMES[name]: count})
    assert problem(outside) == (f"estimatedUsage.{name}", "must be between 0 and 1000000000")
