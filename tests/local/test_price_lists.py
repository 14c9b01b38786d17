"""A price rule made from the package genai-prices gives the same cost as genai-prices itself, for random usages.

The models are those of four providers. Some models have tiers and variants. If a price has more decimals than a rate
can have, the rate is rounded, and a million tokens may cost up to half a millionth of a credit more or less.

Each usage here has one request and no audio from the cache. For several requests and for cached audio, rules differ
from genai-prices on purpose (see `local.price_lists`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    Tier,
    TieredPrices,
)
from genai_prices.types import Usage as TheirUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.domain.model_usage import Usage
from accounting.domain.rates import AMOUNT_SCALE
from accounting.web.prices import RuleBody
from local import price_lists
from local.price_lists import Markup, NoRule, changes_after, left_out, matches, rule_of

if TYPE_CHECKING:
    from accounting.domain.pricing import PriceRule

AT = datetime(2026, 11, 25, tzinfo=UTC)
CREDITS_PER_USD = Decimal(1000)
PROVIDERS = ("openai", "anthropic", "google", "aws")
CASES: list[tuple[str, ModelInfo]] = []
for each in providers:
    if each.id in PROVIDERS:
        CASES += [(each.id, model) for model in each.models]


def rule(model: ModelInfo, credits_per_usd: Decimal = CREDITS_PER_USD) -> PriceRule:
    return RuleBody.model_validate(rule_of(model, AT, credits_per_usd)).rule(0)


def with_rule() -> list[tuple[str, ModelInfo]]:
    """All models for which a rule can be made."""
    found = []
    for provider, model in CASES:
        try:
            rule_of(model, AT, CREDITS_PER_USD)
        except NoRule:
            continue
        found.append((provider, model))
    return found


PRICED = with_rule()


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """The usage of a call, with an input below or above the usual thresholds of context tiers."""
    counts = st.one_of(st.integers(0, 1000), st.integers(0, 400_000))
    cached, write, write_1h, audio, fresh = (draw(counts) for _ in range(5))
    reasoning, spoken, rest = (draw(counts) for _ in range(3))
    return Usage(
        input=cached + write + write_1h + audio + fresh,
        output=reasoning + spoken + rest,
        cached_input=cached,
        cache_write=write,
        cache_write_1h=write_1h,
        input_audio=audio,
        reasoning=reasoning,
        output_audio=spoken,
        web_searches=draw(st.integers(0, 9)),
    )


def theirs(usage: Usage) -> TheirUsage:
    """The same usage for genai-prices, where `cache_write_tokens` includes the cache writes for an hour."""
    return TheirUsage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached_input,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_1h_tokens=usage.cache_write_1h,
        input_audio_tokens=usage.input_audio,
        output_audio_tokens=usage.output_audio,
        output_reasoning_tokens=usage.reasoning,
        cache_audio_read_tokens=0,
        web_searches=usage.web_searches,
    )


def their_credits(price: ModelPrice, usage: Usage) -> Fraction:
    """The exact price that genai-prices computes, in credits."""
    with localcontext(prec=60):
        return Fraction(price.calc_price(theirs(usage))["total_price"]) * Fraction(CREDITS_PER_USD)


def variants_of(model: ModelInfo) -> dict[str | None, dict[str, str] | None]:
    """The context that selects each variant in genai-prices. The base prices have the key None, and no context."""
    return {None: None, **dict(price_lists._variants(model, AT))}


def decimals(price: ModelPrice) -> int:
    """The most decimals in any of the prices that become rates of a rule."""
    values = [price.__dict__.get(key) for key in price_lists.PRICES.values()]
    found = [each for value in values for each in _parts(value)]
    return max(-int(each.normalize().as_tuple().exponent) for each in found)


def _parts(value: Any) -> list[Decimal]:
    if isinstance(value, TieredPrices):
        return [value.base, *(tier.price for tier in value.tiers)]
    return [] if value is None else [value]


def test_the_price_list_has_models_with_tiers_and_variants() -> None:
    rules = {(provider, model.id): rule(model) for provider, model in PRICED}

    for provider in PROVIDERS:
        assert sum(name == provider for name, _ in rules) >= 50 // len(PROVIDERS), provider
    assert len(rules) > 200
    assert sum(bool(found.card.tiers) for found in rules.values()) > 20
    assert sum(bool(found.variants) for found in rules.values()) > 40
    assert any(card.tiers for found in rules.values() for card in found.variants.values())


@pytest.mark.parametrize(("provider", "model"), PRICED, ids=[f"{provider}/{model.id}" for provider, model in PRICED])
@settings(max_examples=12)
@given(usage=usages())
def test_a_rule_gives_the_same_cost_as_genai_prices(provider: str, model: ModelInfo, usage: Usage) -> None:
    ours = rule(model)
    for variant, context in variants_of(model).items():
        price = model.get_prices(AT, context)
        card, expected = ours.card_of(variant), their_credits(price, usage)
        # A rate has at most six decimals. A dollar is 1,000 credits, so nine decimals in dollars become six in credits.
        if decimals(price) <= 9:
            assert Fraction(card.amount(usage), AMOUNT_SCALE) == expected
            assert card.cost(usage) == ceil(expected)
        else:
            units = usage.input + usage.output + 1000 * usage.web_searches
            assert abs(Fraction(card.amount(usage), AMOUNT_SCALE) - expected) <= Fraction(units, 2 * AMOUNT_SCALE)


def model_of(price: ModelPrice, *variants: PriceVariant) -> ModelInfo:
    return ModelInfo("m", ClauseEquals("m"), prices=price, price_variants=list(variants))


def test_a_cache_write_for_an_hour_costs_as_much_as_other_cache_writes() -> None:
    price = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), cache_write_mtok=Decimal("1.25"))
    usage = Usage(input=3_000_000, cache_write=1_000_000, cache_write_1h=1_000_000)

    ours = rule(model_of(price))

    assert ours.card.rates.cache_write_1h == 1250 * 10**6
    assert ours.card.cost(usage) == 3500 == their_credits(price, usage)


def test_a_token_class_without_a_price_has_the_price_of_the_class_that_contains_it() -> None:
    price = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2))
    usage = Usage(6, 3, cached_input=1, cache_write=1, cache_write_1h=1, input_audio=1, reasoning=1, output_audio=1)

    assert Fraction(rule(model_of(price)).card.amount(usage), AMOUNT_SCALE) == their_credits(price, usage)
    assert rule(model_of(price)).card.amount(usage) == (6 + 2 * 3) * 1000 * 10**6


def test_tiers_at_different_thresholds_are_merged() -> None:
    price = ModelPrice(
        input_mtok=TieredPrices(Decimal(1), [Tier(100, Decimal(2)), Tier(200, Decimal(3))]),
        output_mtok=TieredPrices(Decimal(10), [Tier(150, Decimal(20))]),
    )

    assert rule_of(model_of(price), AT, Decimal(1)) == {
        "modelId": "m",
        "rates": {"input": "1", "output": "10"},
        "tiers": [
            {"aboveInputTokens": 100, "rates": {"input": "2", "output": "10"}},
            {"aboveInputTokens": 150, "rates": {"input": "2", "output": "20"}},
            {"aboveInputTokens": 200, "rates": {"input": "3", "output": "20"}},
        ],
    }


def test_a_variant_lists_only_rates_that_differ_from_the_base_rates() -> None:
    base = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), cache_read_mtok=Decimal("0.1"))
    batch = PriceVariant({"processing": "batch"}, ModelPrice(input_mtok=Decimal("0.5"), output_mtok=Decimal(1)))

    assert rule_of(model_of(base, batch), AT, Decimal(10))["variants"] == {
        "batch": {"rates": {"input": "5", "output": "10"}}
    }


@pytest.mark.parametrize(("usd", "rate"), [("0.0000025", "0.000002"), ("0.0000035", "0.000004"), ("1e2", "100")])
def test_rates_are_rounded_half_to_even(usd: str, rate: str) -> None:
    price = ModelPrice(input_mtok=Decimal(usd), output_mtok=Decimal(0))

    assert rule_of(model_of(price), AT, Decimal(1))["rates"]["input"] == rate


def test_prices_that_begin_later_are_found() -> None:
    first, second = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 5))
    price = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1))
    later = [ConditionalPrice(StartDateConstraint(each.date()), prices=price) for each in (second, first)]
    model = ModelInfo("m", ClauseEquals("m"), prices=[ConditionalPrice(prices=price), *later])

    assert changes_after(model, first - timedelta(seconds=1)) == [first, second]
    assert changes_after(model, first) == [second]
    assert changes_after(model, second) == []
    assert [len(changes_after(model, datetime(2024, 1, 1, tzinfo=UTC))) > 0 for _, model in PRICED].count(True) > 20


def test_prices_that_a_rule_cannot_have_are_left_out_or_refused() -> None:
    image = model_of(ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), input_image_mtok=Decimal(3)))

    assert left_out(image, AT) == ["input_image_mtok"]
    with pytest.raises(NoRule, match="no price for tokens"):
        rule_of(model_of(ModelPrice(audio_hours=Decimal(1))), AT, Decimal(1))
    deepseek = next(each for each in providers if each.id == "deepseek")
    with pytest.raises(NoRule, match="time of day"):
        rule_of(next(model for model in deepseek.models if model.id == "deepseek-chat"), AT, Decimal(1))


def test_the_last_matching_pattern_decides_the_markup() -> None:
    markup = Markup.read("1.2 anthropic=1.3 gpt-4o*=1.1 openai/gpt-4o=1.15")

    assert [markup.of(*name) for name in (("google", "g"), ("anthropic", "c"), ("openai", "gpt-4o-mini"))] == [
        Decimal("1.2"),
        Decimal("1.3"),
        Decimal("1.1"),
    ]
    assert markup.of("openai", "gpt-4o") == Decimal("1.15")
    assert Markup.read("").default == 1
    for wrong in ("0", "-1", "x", "anthropic=", "1e5"):
        with pytest.raises(ValueError, match="not a number above 0"):
            Markup.read(wrong)


def test_a_pattern_matches_a_provider_a_model_or_both() -> None:
    assert matches("openai", "openai", "gpt-5")
    assert matches("gpt-*", "openai", "gpt-5")
    assert matches("aws/*nova*", "aws", "amazon.nova-pro-v1:0")
    assert not matches("openai/*", "openrouter", "openai/gpt-5")
    assert not matches("aws/*nova*", "openai", "amazon.nova-pro-v1:0")
