"""Price rules in requests: what is accepted, and how rules are shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from accounting.domain.errors import Invalid
from accounting.domain.pricing import RATE_OF_PRICE
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.web.price_views import RuleView
from accounting.web.prices import MAX_RATE, RuleBody, SomeRates
from accounting.web.rate_texts import CLASS_NAMES, decimal_text

FULL: dict[str, Any] = {
    "modelId": "m",
    "rates": {"input": 3, "output": "15", "cachedInput": 0.3, "cacheWrite1h": "6.000001", "webSearch": 10},
    "tiers": [{"aboveInputTokens": 200_000, "rates": {"input": 6, "output": "22.5"}}],
    "variants": {"batch": {"rates": {"input": "1.5"}, "tiers": [{"aboveInputTokens": 5, "rates": {"input": 3}}]}},
    "aliases": ["m-latest", "vendor/m"],
    "maxOutputTokens": 64_000,
    "source": "a list",
    "sourceVersion": "2026-11",
    "effectiveFrom": "2026-01-01T00:00:00.000Z",
    "effectiveTo": None,
}


def errors_of(body: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as refused:
        RuleBody.model_validate(body)
    return [".".join(map(str, error["loc"])) for error in refused.value.errors()]


def test_a_rule_is_shown_as_sent_except_that_rates_are_texts_and_the_short_price_is_added() -> None:
    view = RuleView.of(RuleBody.model_validate(FULL).rule(0)).model_dump(mode="json", by_alias=True)

    assert view == {
        **FULL,
        "pricePerThousandTokens": 0.015,
        "rates": {"input": "3", "output": "15", "cachedInput": "0.3", "cacheWrite1h": "6.000001", "webSearch": "10"},
        "tiers": [{"aboveInputTokens": 200_000, "rates": {"input": "6", "output": "22.5"}}],
        "variants": {"batch": {"rates": {"input": "1.5"}, "tiers": [{"aboveInputTokens": 5, "rates": {"input": "3"}}]}},
    }


def test_rates_are_exact_to_a_millionth_of_a_credit() -> None:
    rule = RuleBody.model_validate(FULL).rule(0)

    assert rule.card.rates == Rates(
        3 * RATE_SCALE, 15 * RATE_SCALE, cached_input=300_000, cache_write_1h=6_000_001, web_search=10 * RATE_SCALE
    )


def test_the_short_form_is_one_rate_for_input_and_output() -> None:
    rule = RuleBody.model_validate({"modelId": "m", "pricePerThousandTokens": "0.0175"}).rule(7)

    assert (rule.card, rule.effective_from) == (RateCard.flat(RATE_OF_PRICE * 175 // 10_000), 7)


def test_a_variant_without_tiers_can_be_sent_as_a_plain_object_of_rates() -> None:
    rates = {"input": 1, "output": 2}
    short = RuleBody.model_validate({"modelId": "m", "rates": rates, "variants": {"batch": {"input": "0.5"}}})
    long = RuleBody.model_validate({"modelId": "m", "rates": rates, "variants": {"batch": {"rates": {"input": 0.5}}}})

    assert short.rule(0).variants == {"batch": RateCard(Rates(500_000))} == long.rule(0).variants


def test_a_variant_can_have_tiers_and_no_rates_of_its_own() -> None:
    tiers = [{"aboveInputTokens": 5, "rates": {"output": 9}}]
    body = FULL | {"variants": {"flex": {"rates": {}, "tiers": tiers}}}

    assert RuleBody.model_validate(body).rule(0).variants == {
        "flex": RateCard(Rates(), (Tier(5, Rates(output=9 * RATE_SCALE)),))
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rates": {"input": 1}}, "rates.output"),
        ({"rates": {"input": 1, "output": 1, "inptu": 1}}, "rates.inptu"),
        ({"rates": {"input": -1, "output": 1}}, "rates.input"),
        ({"rates": {"input": True, "output": 1}}, "rates.input"),
        ({"rates": {"input": "1.0000001", "output": 1}}, "rates.input"),
        ({"rates": {"input": "1e3", "output": 1}}, "rates.input"),
        ({"rates": {"input": MAX_RATE + 1, "output": 1}}, "rates.input"),
        ({"rates": {"input": "NaN", "output": 1}}, "rates.input"),
        ({"tiers": [{"aboveInputTokens": 5, "rates": {}}]}, "tiers.0.rates"),
        ({"tiers": [{"aboveInputTokens": 0, "rates": {"input": 1}}]}, "tiers.0.aboveInputTokens"),
        ({"tiers": [{"aboveInputTokens": 5, "rates": {"input": 1}}] * 2}, "tiers"),
        ({"tiers": [{"aboveInputTokens": 5 + each, "rates": {"input": 1}} for each in range(5)]}, "tiers"),
        ({"variants": {"Batch": {"input": 1}}}, "variants.Batch.[key]"),
        ({"variants": {"batch": {"rates": {"inptu": 1}}}}, "variants.batch.rates.inptu"),
        ({"variants": {"batch": 5}}, "variants.batch"),
        ({"variants": {str(each): {"input": 1} for each in range(9)}}, "variants"),
        ({"aliases": ["m"]}, "aliases"),
        ({"aliases": ["a", "a"]}, "aliases"),
        ({"aliases": [f"a{each}" for each in range(21)]}, "aliases"),
        ({"aliases": ["a" * 256, "b" * 256, "c" * 256, "d" * 256]}, "aliases"),
        ({"aliases": ["not an id"]}, "aliases.0"),
        ({"maxOutputTokens": 0}, "maxOutputTokens"),
        ({"source": ""}, "source"),
        ({"sourceVersion": "a\nb"}, "sourceVersion"),
        ({"price": 1}, "price"),
    ],
)
def test_a_refusal_of_a_rule_names_the_invalid_field(changes: dict[str, Any], field: str) -> None:
    assert errors_of(FULL | changes) == [field]


@pytest.mark.parametrize("prices", [{}, {"pricePerThousandTokens": 1, "rates": {"input": 1, "output": 1}}])
def test_a_rule_must_have_exactly_one_kind_of_price(prices: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        RuleBody.model_validate({"modelId": "m", **prices}).rule(0)

    assert refused.value.details["errors"][0]["field"] == "pricePerThousandTokens"


def test_a_rule_has_64_rates_at_most() -> None:
    rates = {"input": 1, "output": 1, "cachedInput": 1, "cacheWrite": 1, "reasoning": 1}
    tiers = [{"aboveInputTokens": 5 + each, "rates": rates} for each in range(4)]

    def body(last: int) -> dict[str, Any]:
        """A rule with 60 rates (its own 25, 25 in variant a, and 10 in variant b) and ``last`` more in variant c."""
        card = {"rates": rates, "tiers": tiers}
        variants = {"a": card, "b": {**card, "tiers": tiers[:1]}, "c": dict(list(rates.items())[:last])}
        return {"modelId": "m", **card, "variants": variants}

    RuleBody.model_validate(body(4))
    assert errors_of(body(5)) == ["variants"]


@given(st.integers(0, 10**16))
def test_a_rate_is_shown_exactly(rate: int) -> None:
    text = decimal_text(rate, RATE_SCALE)

    whole, _, part = text.partition(".")
    assert int(whole + part.ljust(6, "0")) == rate
    assert not part.endswith("0")


def test_a_rule_accepts_a_rate_under_the_json_name_of_each_token_class() -> None:
    assert {name: field.alias for name, field in SomeRates.model_fields.items()} == CLASS_NAMES
