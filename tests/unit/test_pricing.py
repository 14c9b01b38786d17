"""Costs, holds and price rules. Costs must be exact, so they are compared with fractions, not with floats."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.errors import Invalid, ModelUnknown
from accounting.domain.model_usage import MAX_COUNT
from accounting.domain.pricing import (
    DEFAULT_CARDS,
    RATE_OF_PRICE,
    PriceRule,
    affordable,
    card_in_force,
    hold_for,
    price_of,
    require_order,
    with_buffer,
)
from accounting.domain.rates import RateCard, Rates
from tests.prices import per_thousand, price_e4

TOKENS = st.integers(0, MAX_COUNT)
PRICES = st.one_of(st.integers(0, 100_000), st.integers(0, 10**10))
"""In ten-thousandths of a credit for 1,000 tokens."""
CREDITS = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("tokens", "price", "credits"),  # the price is in ten-thousandths of a credit for 1,000 tokens
    [
        (110_000, 11_000, 121),  # 1.1 × 110 is 121.00000000000001 in floats
        (400_000, 175, 7),
        (0, 30_000, 0),
        (1, 1, 1),
        (1_000, 30_000, 3),
        (1_001, 30_000, 4),
        (10**9, 10_000, 10**6),
        (5, 0, 0),
    ],
)
def test_the_cost_of_tokens_is_exact(tokens: int, price: int, credits: int) -> None:
    assert per_thousand(price).cost_of_number(tokens) == credits


@given(TOKENS, PRICES)
def test_the_exact_cost_is_rounded_up_once(tokens: int, price: int) -> None:
    exact = ceil(Fraction(tokens, 1000) * Fraction(price, 10_000))

    assert per_thousand(price).cost_of_number(tokens) == exact


@given(CREDITS)
def test_a_cost_plus_the_default_buffer_of_20_percent_is_rounded_up_once(credits: int) -> None:
    assert with_buffer(credits, 20) == ceil(credits * Fraction(12, 10))


@pytest.mark.parametrize(("credits", "held"), [(0, 0), (1, 2), (4, 5), (5, 6), (10, 12), (10**12, 12 * 10**11)])
def test_a_session_holds_its_estimate_plus_20_percent(credits: int, held: int) -> None:
    assert with_buffer(credits, 20) == held


@given(CREDITS, st.integers(0, 400))
def test_a_cost_plus_a_buffer_of_any_percentage_is_rounded_up_once(credits: int, percent: int) -> None:
    assert with_buffer(credits, percent) == ceil(credits * Fraction(100 + percent, 100))


@given(CREDITS, PRICES)
def test_number_within_returns_the_most_tokens_that_the_credits_pay_for(credits: int, price: int) -> None:
    card = per_thousand(price)
    most = card.number_within(credits)

    assert 0 <= most <= MAX_COUNT
    assert card.cost_of_number(most) <= credits
    assert most == MAX_COUNT or card.cost_of_number(most + 1) > credits


@given(CREDITS, PRICES, st.integers(0, 400), st.booleans())
def test_the_available_credits_cover_a_hold_for_the_affordable_tokens_but_not_for_one_more(
    available: int, price: int, percent: int, reduce: bool
) -> None:
    card = per_thousand(price)
    most = card.number_within(affordable(available, percent=percent, reduce=reduce))

    def hold(tokens: int) -> int:
        return hold_for(card.cost_of_number(tokens), available, percent=percent, reduce=reduce)

    assert hold(most) <= available
    assert most == MAX_COUNT or hold(most + 1) > available


@pytest.mark.parametrize(
    ("estimate", "available", "whole", "reduced"),
    [(10, 20, 12, 12), (10, 12, 12, 12), (10, 11, 12, 11), (10, 10, 12, 10), (10, 9, 12, 10), (0, 0, 0, 0)],
)
def test_a_hold_may_be_reduced_to_the_available_credits_but_not_below_the_estimate(
    estimate: int, available: int, whole: int, reduced: int
) -> None:
    assert hold_for(estimate, available, percent=20, reduce=False) == whole
    assert hold_for(estimate, available, percent=20, reduce=True) == reduced


def test_a_rule_is_in_force_from_its_beginning_until_just_before_its_end() -> None:
    rules = [PriceRule("m", per_thousand(50_000), effective_from=100, effective_to=200)]

    prices = [price_e4(card_in_force("m", rules, at)) for at in (99, 100, 199, 200)]

    assert prices == [10_000, 50_000, 50_000, 10_000]


def test_a_rule_has_ended_at_the_instant_of_its_end_but_not_before() -> None:
    rule = PriceRule("m", per_thousand(1), effective_from=100, effective_to=200)

    assert [rule.has_ended(at) for at in (99, 199, 200, 201)] == [False, False, True, True]
    assert not PriceRule("m", per_thousand(1), effective_from=100).has_ended(10**15)


def test_a_rule_must_end_after_it_begins() -> None:
    require_order(100, 101)
    require_order(100, None)
    for ends_at in (100, 99):
        with pytest.raises(Invalid) as refused:
            require_order(100, ends_at)
        assert refused.value.details["errors"] == [
            {"field": "effectiveTo", "problem": "must be after effectiveFrom"},
        ]


def test_the_newest_of_the_rules_in_force_applies() -> None:
    rules = [
        PriceRule("m", per_thousand(price), begins, ends)
        for price, begins, ends in [(1, 0, None), (3, 300, None), (2, 100, 200)]
    ]

    assert [price_e4(card_in_force("m", rules, at)) for at in (50, 150, 250, 299, 300)] == [1, 2, 1, 1, 3]


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0", 30_000),
        ("anthropic.claude-3-haiku-20240307-v1:0", 2_500),
        ("anthropic.claude-instant-v1", 8_000),
        ("amazon.titan-text-express-v1", 3_000),
        ("something-else", 10_000),
    ],
)
def test_models_without_a_rule_have_the_documented_price(model: str, price: int) -> None:
    assert card_in_force(model, [], 0) == per_thousand(price)


def test_only_four_models_have_a_built_in_price() -> None:
    assert len(DEFAULT_CARDS) == 4


def test_models_with_neither_a_rule_nor_a_built_in_price_can_be_refused() -> None:
    with pytest.raises(ModelUnknown) as refused:
        card_in_force("something-else", [], 0, refuse_unknown=True)
    assert (refused.value.message, refused.value.details) == (
        "The model has no price",
        {"modelId": "something-else"},
    )
    assert card_in_force("anthropic.claude-instant-v1", [], 0, refuse_unknown=True) == per_thousand(8_000)
    assert card_in_force("m", [PriceRule("m", per_thousand(1), 0)], 0, refuse_unknown=True) == per_thousand(1)


def test_a_variant_replaces_only_the_rates_that_it_has_and_an_unknown_variant_is_refused() -> None:
    batch = RateCard(Rates(output=7))
    rules = [PriceRule("m", RateCard(Rates(10, 20, cached_input=1)), 0, variants={"batch": batch})]

    assert card_in_force("m", rules, 0, "batch").rates == Rates(10, 7, cached_input=1)
    for model, known, variant in (("m", rules, "priority"), ("another", [], "batch")):
        with pytest.raises(Invalid) as refused:
            card_in_force(model, known, 0, variant)
        assert refused.value.details["errors"] == [
            {"field": "variant", "problem": "the model's price has no such variant"},
        ]


@given(st.integers(0, 10**15))
def test_a_price_is_exact_as_a_json_number(rate: int) -> None:
    assert Fraction(str(price_of(rate))) == Fraction(rate, RATE_OF_PRICE)


def test_a_whole_price_is_an_integer_in_json() -> None:
    assert (price_of(3 * RATE_OF_PRICE), price_of(RATE_OF_PRICE // 4)) == (3, 0.25)
    assert isinstance(price_of(3 * RATE_OF_PRICE), int)
