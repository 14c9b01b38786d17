"""Prices are exact: compared with fractions, not with floats."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.pricing import (
    DEFAULT_PRICES_E4,
    MAX_TOKENS,
    PriceRule,
    affordable_tokens,
    credits_for,
    hold_for,
    price_in_force,
    price_of,
    tokens_within,
    with_buffer,
)

TOKENS = st.integers(0, MAX_TOKENS)
PRICES = st.one_of(st.integers(0, 100_000), st.integers(0, 10**12))
CREDITS = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("tokens", "price_e4", "credits"),
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
def test_what_tokens_cost_is_exact(tokens: int, price_e4: int, credits: int) -> None:
    assert credits_for(tokens, price_e4) == credits


@given(TOKENS, PRICES)
def test_credits_are_the_price_rounded_up_once(tokens: int, price_e4: int) -> None:
    assert credits_for(tokens, price_e4) == ceil(Fraction(tokens, 1000) * Fraction(price_e4, 10_000))


@given(CREDITS)
def test_the_buffer_is_a_fifth_rounded_up_once(credits: int) -> None:
    assert with_buffer(credits) == ceil(credits * Fraction(12, 10))


@pytest.mark.parametrize(("credits", "held"), [(0, 0), (1, 2), (4, 5), (5, 6), (10, 12), (10**12, 12 * 10**11)])
def test_a_session_holds_its_estimate_and_a_fifth(credits: int, held: int) -> None:
    assert with_buffer(credits) == held


@given(CREDITS, PRICES)
def test_tokens_within_is_the_most_that_credits_pay(credits: int, price_e4: int) -> None:
    most = tokens_within(credits, price_e4)

    assert 0 <= most <= MAX_TOKENS
    assert credits_for(most, price_e4) <= credits
    assert most == MAX_TOKENS or credits_for(most + 1, price_e4) > credits


@given(CREDITS, PRICES, st.booleans())
def test_affordable_tokens_is_the_largest_estimate_whose_hold_fits(available: int, price_e4: int, reduce: bool) -> None:
    most = affordable_tokens(available, price_e4, reduce=reduce)

    def hold(tokens: int) -> int:
        return hold_for(credits_for(tokens, price_e4), available, reduce=reduce)

    assert hold(most) <= available
    assert most == MAX_TOKENS or hold(most + 1) > available


@pytest.mark.parametrize(
    ("estimate", "available", "refused", "reduced"),
    [(10, 20, 12, 12), (10, 12, 12, 12), (10, 11, 12, 11), (10, 10, 12, 10), (10, 9, 12, 10), (0, 0, 0, 0)],
)
def test_a_short_buffer_is_refused_or_reduced(estimate: int, available: int, refused: int, reduced: int) -> None:
    assert hold_for(estimate, available, reduce=False) == refused
    assert hold_for(estimate, available, reduce=True) == reduced


def test_a_rule_is_in_force_from_its_beginning_until_just_before_its_end() -> None:
    rules = [PriceRule("m", 50_000, effective_from=100, effective_to=200)]

    prices = [price_in_force("m", rules, at) for at in (99, 100, 199, 200)]

    assert prices == [10_000, 50_000, 50_000, 10_000]


def test_the_newest_rule_that_has_begun_and_not_ended_wins() -> None:
    rules = [PriceRule("m", 1, 0), PriceRule("m", 3, 300), PriceRule("m", 2, 100, 200)]

    assert [price_in_force("m", rules, at) for at in (50, 150, 250, 299, 300)] == [1, 2, 1, 1, 3]


@pytest.mark.parametrize(
    ("model", "price_e4"),
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0", 30_000),
        ("anthropic.claude-3-haiku-20240307-v1:0", 2_500),
        ("anthropic.claude-instant-v1", 8_000),
        ("amazon.titan-text-express-v1", 3_000),
        ("something-else", 10_000),
    ],
)
def test_models_without_a_rule_have_the_documented_price(model: str, price_e4: int) -> None:
    assert price_in_force(model, [], 0) == price_e4


def test_no_further_model_has_a_default_of_its_own() -> None:
    assert len(DEFAULT_PRICES_E4) == 4


@given(st.integers(0, 10**10))
def test_a_price_survives_as_a_json_number(price_e4: int) -> None:
    assert Fraction(str(price_of(price_e4))) == Fraction(price_e4, 10_000)


def test_a_whole_price_is_a_whole_number() -> None:
    assert (price_of(30_000), price_of(2_500)) == (3, 0.25)
    assert isinstance(price_of(30_000), int)
