"""The request that records usage, and how records and statistics are shown."""

from typing import Any

import pytest

from accounting.domain.accounts import personal
from accounting.domain.errors import Invalid
from accounting.domain.model_usage import COUNTS, JSON_NAMES, Usage
from accounting.domain.usage import ModelCall, ProviderUsage, UsageRecord
from accounting.web.usage import MAX_KEPT_BYTES
from functions.usage.app import CountsView, Record, RecordView

CANONICAL = {"inputTokens": 100, "outputTokens": 20, "cachedInputTokens": 60}
OPENAI = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}}
USED = Usage(100, 20, cached_input=60)


def cost(**more: Any) -> int | ModelCall:
    return Record.model_validate({"service": "images", "operation": "draw", **more}).cost()


def test_the_cost_of_a_record_is_its_credits_or_a_model_call() -> None:
    assert cost(credits=5) == 5
    assert cost(credits=0, usage=None, modelId=None) == 0
    assert cost(modelId="m", usage=CANONICAL) == ModelCall("m", USED)
    as_sent = ModelCall("m", USED, "batch", ProviderUsage("openai", OPENAI))
    assert cost(modelId="m", usage=OPENAI, usageFormat="openai", variant="batch") == as_sent


def test_a_providers_object_that_is_too_large_is_priced_but_not_stored() -> None:
    large = {**OPENAI, "more": "x" * MAX_KEPT_BYTES}

    assert cost(modelId="m", usage=large, usageFormat="openai") == ModelCall(
        "m", USED, None, ProviderUsage("openai", None)
    )


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({}, "credits"),
        ({"credits": 5, "modelId": "m", "usage": CANONICAL}, "credits"),
        ({"usage": CANONICAL}, "modelId"),
        ({"modelId": "m"}, "credits"),
        ({"credits": 5, "modelId": "m"}, "modelId"),
        ({"credits": 5, "usageFormat": "openai"}, "usageFormat"),
        ({"credits": 5, "variant": "batch"}, "variant"),
        ({"modelId": "m", "usage": OPENAI}, "usage.prompt_tokens"),
        ({"modelId": "m", "usage": CANONICAL, "usageFormat": "openai"}, "usage.prompt_tokens"),
    ],
)
def test_a_refusal_names_the_field_that_is_wrong(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        cost(**more)

    assert refused.value.details["errors"][0]["field"] == field


def view_of(**more: Any) -> dict[str, Any]:
    record = UsageRecord("id", personal("u1"), "u1", "images", "draw", 5, 0, {}, **more)
    return RecordView.of(record).model_dump(by_alias=True)


def test_the_view_of_a_record_leaves_out_fields_without_a_value() -> None:
    plain = view_of()
    priced = view_of(usage=USED, priced_as="m", variant="batch", provider_usage=ProviderUsage("openai", OPENAI))
    dropped = view_of(usage=USED, priced_as="m", provider_usage=ProviderUsage("openai", None))

    assert plain.keys() == {"id", "service", "operation", "credits", "metadata", "timestamp"}
    common = {"modelId": "m", "usage": {**CANONICAL, "requests": 1}, "usageFormat": "openai"}
    assert priced == plain | common | {"variant": "batch", "providerUsage": OPENAI}
    assert dropped == plain | common | {"providerUsageDropped": True}


def test_counts_are_shown_by_name_and_zeros_are_left_out() -> None:
    everything = CountsView.of(dict.fromkeys(COUNTS, 3)).model_dump(by_alias=True)

    assert everything.keys() == {name.removesuffix("Tokens") for name in JSON_NAMES} | {"unclassified"}
    assert CountsView.of({"input": 5, "output": 0}).model_dump(by_alias=True) == {"input": 5}
    assert CountsView.of({}).model_dump(by_alias=True) == {}
