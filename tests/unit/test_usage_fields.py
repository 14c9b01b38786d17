"""The fields of usage in requests and responses.

A canonical usage has this service's names for the counts. Every other format is a provider's.
"""

import json
from decimal import Decimal
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from accounting.domain.errors import Invalid
from accounting.domain.model_usage import JSON_NAMES, MAX_COUNT, Usage
from accounting.domain.usage_formats import FORMATS
from accounting.web.bodies import lenient_json
from accounting.web.types import ReportModel, RequestModel
from accounting.web.usage import UsageFormat, UsageObject, UsageView, Variant, storable, usage_in
from tests.provider_usage import SAMPLES


class Report(ReportModel):
    """A body like that of finalize."""

    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None


class Command(RequestModel):
    """A body like that of usage/record."""

    usage: UsageObject
    usage_format: UsageFormat | None = None


def report(text: str) -> Report:
    return Report.model_validate(lenient_json(text))


def refused(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return True
    return False


def test_usage_format_allows_exactly_the_formats_that_can_be_read() -> None:
    assert get_args(UsageFormat) == FORMATS


def test_a_body_has_a_usage_in_the_canonical_form_or_as_its_provider_sent_it() -> None:
    tried = 0
    for usage_format, samples in SAMPLES.items():
        for sent, usage in samples.values():
            raw = None if usage_format == "canonical" else sent
            for model in (Report, Command):
                body = model.model_validate({"usage": sent, "usageFormat": usage_format})
                assert usage_in(body) == (usage, raw)
                tried += 1
    assert tried > 100


def test_a_usage_without_a_format_is_canonical() -> None:
    for more in ({}, {"usageFormat": None}):
        body = Command.model_validate({"usage": {"inputTokens": 5, "outputTokens": 2}, **more})
        assert usage_in(body) == (Usage(5, 2), None)


def test_a_body_may_have_no_usage() -> None:
    assert usage_in(Report()) is None
    assert usage_in(report('{"usage": null, "usageFormat": "openai"}')) is None


@pytest.mark.parametrize(
    "count", ["1.0", "1e2", "1.5", "NaN", "Infinity", "-1", '"1"', "true", "[]", "{}", "9" * 5000, "1000000001"]
)
def test_a_count_must_be_a_json_integer_in_its_range(count: str) -> None:
    body = report(f'{{"usage": {{"prompt_tokens": {count}, "completion_tokens": 1}}, "usageFormat": "openai"}}')
    with pytest.raises(Invalid, match=r"^usage\.prompt_tokens: must be an integer between 0 and 1000000000$"):
        usage_in(body)


def test_a_refusal_can_name_text_that_utf8_cannot_encode() -> None:
    with pytest.raises(Invalid, match=r"^usage\.\\ud800: unknown field$") as error:
        usage_in(report('{"usage": {"inputTokens": 1, "outputTokens": 1, "\\ud800": 1}}'))
    assert error.value.message.isascii()


@pytest.mark.parametrize("value", [None, 5, "{}", [], [{}], True])
def test_only_an_object_is_a_usage(value: Any) -> None:
    assert refused(UsageObject, value)


def test_a_usage_has_at_most_16_kib_of_json() -> None:
    assert not refused(UsageObject, {"x": "ä" * 8188})  # 16,384 bytes as JSON
    assert refused(UsageObject, {"x": "ä" * 8188 + "a"})
    assert refused(UsageObject, {"x": "\ud800" * 8188})


def test_a_usage_may_be_nested_up_to_32_levels() -> None:
    def nested(levels: int) -> dict[str, Any]:
        usage: dict[str, Any] = {}
        for _ in range(levels - 1):
            usage = {"x": usage}
        return usage

    assert not refused(UsageObject, nested(32))
    assert refused(UsageObject, nested(33))
    assert refused(UsageObject, nested(5000))


def test_an_extremely_nested_report_is_refused() -> None:
    with pytest.raises(ValidationError):
        report('{"usage": ' + '{"x":' * 10_000 + "1" + "}" * 10_000 + "}")


def test_an_unknown_format_is_refused() -> None:
    assert refused(UsageFormat, "langchain")
    assert refused(UsageFormat, "OpenAI")


@pytest.mark.parametrize("name", ["batch", "priority", "eu-west_1", "a", "0" * 32])
def test_valid_variant_names_are_accepted(name: str) -> None:
    assert not refused(Variant, name)


@pytest.mark.parametrize("name", ["", "Batch", "a b", "a" * 33, "ü", "a\n", "a.b", None, 1])
def test_invalid_variant_names_are_refused(name: Any) -> None:
    assert refused(Variant, name)


def view(usage: Usage) -> dict[str, Any]:
    return UsageView.of(usage).model_dump(mode="json", by_alias=True)


def test_a_view_has_every_count_by_its_json_name() -> None:
    usage = Usage(*range(101, 101 + len(Usage._fields)))
    assert view(usage) == {name: getattr(usage, attribute) for name, attribute in JSON_NAMES.items()}
    assert list(view(usage)) == list(JSON_NAMES)


def test_a_view_leaves_out_zeros_except_total_input_and_output() -> None:
    assert view(Usage(requests=0)) == {"inputTokens": 0, "outputTokens": 0}
    assert view(Usage(7, 0, 3)) == {"inputTokens": 7, "cachedInputTokens": 3, "outputTokens": 0, "requests": 1}


def test_the_openapi_document_describes_the_canonical_counts_and_allows_a_providers_object() -> None:
    schema, provider = TypeAdapter(UsageObject).json_schema()["anyOf"]
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert schema["required"] == ["inputTokens", "outputTokens"]
    assert (provider["type"], "properties" in provider) == ("object", False)
    assert list(schema["properties"]) == list(JSON_NAMES)
    for each in schema["properties"].values():
        assert each["description"]
        assert (each["type"], each["minimum"], each["maximum"]) == ("integer", 0, MAX_COUNT)


def test_a_providers_object_is_stored_unchanged() -> None:
    sent = {"prompt_tokens": 5, "cost": Decimal("0.00014"), "id": "ä", "none": None, "flag": True, "list": [1, {}]}
    assert storable(sent) == {**sent, "cost": 0.00014}


def test_a_fraction_is_stored_as_text_if_a_double_cannot_reproduce_it() -> None:
    for fraction in ("0.12345678901234567890123", "1E+400", "1E-400", "NaN"):
        found = storable({"cost": Decimal(fraction)})
        assert found == {"cost": fraction}
        json.dumps(found, allow_nan=False)


def test_a_large_object_is_not_stored() -> None:
    assert storable({"x": "ä" * 1020}) == {"x": "ä" * 1020}  # 2,048 bytes as JSON
    assert storable({"x": "ä" * 1020 + "a"}) is None


def test_an_object_that_utf8_cannot_encode_is_not_stored() -> None:
    body = report('{"usage": {"prompt_tokens": 1, "completion_tokens": 2, "x": "\\ud800"}, "usageFormat": "openai"}')
    found = usage_in(body)
    assert found is not None
    usage, raw = found
    assert usage == Usage(1, 2)
    assert raw is not None
    assert storable(raw) is None
