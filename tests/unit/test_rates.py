"""Rates of token classes, tiers and variants. Costs are exact, so the tests compare them with fractions, not floats."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.model_usage import INPUT_PARTS, MAX_COUNT, OUTPUT_PARTS, Usage
from accounting.domain.rates import AMOUNT_SCALE, RATE_SCALE, WHOLES, RateCard, Rates, Tier

CREDIT = RATE_SCALE
"""The rate of one credit for a million tokens, or for a thousand requests or searches."""

MILLION = 1_000_000
BASE = Rates(
    input=3 * CREDIT,
    output=15 * CREDIT,
    cached_input=3 * CREDIT // 10,
    cache_write=15 * CREDIT // 4,
    cache_write_1h=6 * CREDIT,
    input_audio=40 * CREDIT,
    reasoning=12 * CREDIT,
    output_audio=80 * CREDIT,
    request=5 * CREDIT,
    web_search=10 * CREDIT,
)
SHORT = RateCard(Rates(3 * CREDIT, 15 * CREDIT))

RATES = st.builds(
    Rates,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    *(st.none() | st.integers(0, 10**9) for _ in range(8)),
)
PARTIAL = st.builds(Rates, *(st.none() | st.integers(0, 10**9) for _ in range(10))).filter(any)
TIERS = st.lists(st.tuples(st.integers(0, 10**6), PARTIAL), max_size=3, unique_by=lambda each: each[0]).map(
    lambda found: tuple(Tier(*each) for each in sorted(found, key=lambda tier: tier[0]))
)
CARDS = st.builds(RateCard, RATES, TIERS)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    parts = {name: draw(st.integers(0, 10**6)) for name in (*INPUT_PARTS, *OUTPUT_PARTS)}
    return Usage(
        input=sum(parts[name] for name in INPUT_PARTS) + draw(st.integers(0, 10**6)),
        output=sum(parts[name] for name in OUTPUT_PARTS) + draw(st.integers(0, 10**6)),
        requests=draw(st.integers(0, 5)),
        web_searches=draw(st.integers(0, 5)),
        **parts,
    )


def exact(card: RateCard, usage: Usage) -> Fraction:
    """The cost in credits, computed as docs/pricing.md describes it, independently of the code."""
    rates = card.rates
    for tier in card.tiers:
        if usage.input > tier.above_input:
            rates = tier.rates.over(card.rates)
    total = Fraction(0)
    counts = usage._asdict() | {
        "input": usage.input - sum(getattr(usage, part) for part in INPUT_PARTS),
        "output": usage.output - sum(getattr(usage, part) for part in OUTPUT_PARTS),
    }
    for name, count in counts.items():
        if name in ("requests", "web_searches"):
            rate = {"requests": rates.request, "web_searches": rates.web_search}[name] or 0
            total += Fraction(count, 1000) * Fraction(rate, CREDIT)
            continue
        rate = getattr(rates, name)
        if rate is None:
            rate = getattr(rates, WHOLES[name])
        total += Fraction(count, MILLION) * Fraction(rate, CREDIT)
    return total


@pytest.mark.parametrize(
    ("usage", "credits"),
    [
        (Usage(MILLION, 0, requests=0), 3),
        (Usage(0, MILLION, requests=0), 15),
        (Usage(MILLION, 0, cached_input=MILLION, requests=0), 1),
        (Usage(10 * MILLION, 0, cached_input=10 * MILLION, requests=0), 3),
        (Usage(4 * MILLION, 0, cache_write=4 * MILLION, requests=0), 15),
        (Usage(MILLION, 0, cache_write_1h=MILLION, requests=0), 6),
        (Usage(MILLION, 0, input_audio=MILLION, requests=0), 40),
        (Usage(0, MILLION, reasoning=MILLION, requests=0), 12),
        (Usage(0, MILLION, output_audio=MILLION, requests=0), 80),
        (Usage(requests=1000), 5),
        (Usage(requests=0, web_searches=1000), 10),
        (Usage(requests=1), 1),
        (Usage(requests=0), 0),
    ],
)
def test_each_class_has_its_rate(usage: Usage, credits: int) -> None:
    assert RateCard(BASE).cost(usage) == credits


def test_parts_are_subtracted_from_the_count_that_contains_them() -> None:
    usage = Usage(1_000, 500, cached_input=600, cache_write=100, reasoning=200, requests=0)

    lines = {line.name: (line.units, line.rate) for line in RateCard(BASE).lines(usage)}

    assert lines == {
        "input": (300, 3 * CREDIT),
        "cached_input": (600, 3 * CREDIT // 10),
        "cache_write": (100, 15 * CREDIT // 4),
        "output": (300, 15 * CREDIT),
        "reasoning": (200, 12 * CREDIT),
    }


def test_a_class_without_a_rate_has_the_rate_of_the_class_that_contains_it() -> None:
    parts = Usage(MILLION, MILLION, 1, 2, 3, 4, 5, 6, requests=9, web_searches=9)

    assert SHORT.cost(parts) == SHORT.cost(Usage(MILLION, MILLION)) == 18


def test_a_tier_applies_to_the_whole_request_and_cached_input_counts_toward_the_tiers_limit() -> None:
    tier = Tier(200_000, Rates(input=6 * CREDIT, output=30 * CREDIT))
    card = RateCard(Rates(3 * CREDIT, 15 * CREDIT, cached_input=CREDIT), (tier,))

    assert card.rates_of(200_000) == card.rates
    assert card.rates_of(200_001) == Rates(6 * CREDIT, 30 * CREDIT, cached_input=CREDIT)
    assert card.cost(Usage(200_000, 0)) == 1
    assert card.cost(Usage(200_001, 0)) == 2
    assert card.cost(Usage(200_001, 0, cached_input=200_001)) == 1


def test_the_highest_tier_that_is_exceeded_applies() -> None:
    tiers = Tier(100, Rates(input=2 * CREDIT)), Tier(200, Rates(input=9 * CREDIT))
    card = RateCard(Rates(CREDIT, CREDIT), tiers)

    assert [card.rates_of(count).input for count in (100, 101, 200, 201)] == [
        CREDIT,
        2 * CREDIT,
        2 * CREDIT,
        9 * CREDIT,
    ]
    assert [card.tier_of(count) for count in (100, 101, 201)] == [None, *tiers]


def test_a_variant_takes_missing_rates_but_no_tiers_from_the_base_card() -> None:
    base = RateCard(BASE, (Tier(5, Rates(input=1)),))

    batch = RateCard(Rates(input=CREDIT, cached_input=0)).over(base)

    assert batch.rates == BASE._replace(input=CREDIT, cached_input=0)
    assert batch.tiers == ()


@given(CARDS, usages())
def test_a_cost_is_exact_and_rounded_up_once(card: RateCard, usage: Usage) -> None:
    assert Fraction(card.amount(usage), AMOUNT_SCALE) == exact(card, usage)
    assert card.cost(usage) == ceil(exact(card, usage))


@given(CARDS, usages(), st.integers(0, 10**7))
def test_fitting_output_never_costs_more_than_the_credits(card: RateCard, usage: Usage, credits: int) -> None:
    """Output beyond the usage's output may be of any class."""
    fits = card.fitting_output(credits, usage)

    if card.cost(usage) <= credits:
        assert fits >= usage.output
        more = fits - usage.output
        for part in ("output", "reasoning", "output_audio"):
            further = usage._replace(output=fits, **({part: getattr(usage, part) + more} if part != "output" else {}))
            assert fits == MAX_COUNT or card.cost(further) <= credits
    else:
        assert fits < usage.output


@given(CARDS, usages(), st.integers(0, 10**7))
def test_output_within_returns_the_most_output_that_the_credits_pay_for(
    card: RateCard, usage: Usage, credits: int
) -> None:
    most = card.output_within(credits, usage)
    parts = usage.reasoning + usage.output_audio

    if most < 0:
        assert card.cost(usage.inputs) > credits
        return
    assert card.cost(usage.with_output(most)) <= credits
    if parts <= most < MAX_COUNT or card.cost(usage.with_output(parts)) <= credits:
        assert most == MAX_COUNT or card.cost(usage.with_output(most + 1)) > credits


@given(CARDS)
def test_a_card_can_be_read_back_from_its_text(card: RateCard) -> None:
    assert RateCard.from_text(card.to_text()) == card


def test_a_card_of_two_rates_is_a_short_text() -> None:
    assert SHORT.to_text() == "3000000,15000000"


def test_tokens_without_a_class_are_priced_at_the_higher_of_the_input_and_output_rates() -> None:
    assert SHORT.cost_of_number(MILLION) == 15
    assert RateCard(Rates(9 * CREDIT, CREDIT)).cost_of_number(MILLION) == 9


TOKEN = MILLION * CREDIT
"""The rate of one credit for a token."""

PER_TOKEN = RateCard(Rates(input=TOKEN, output=2 * TOKEN, reasoning=3 * TOKEN, output_audio=5 * TOKEN))
IN_PARTS = Usage(input=10, output=7, reasoning=4, output_audio=2)
"""At the rates of ``PER_TOKEN``: 10 credits for input, 22 for reasoning and audio, 2 for the remaining output token."""


@pytest.mark.parametrize(
    ("credits", "most"), [(0, -1), (9, -1), (10, 0), (14, 0), (15, 1), (31, 4), (32, 6), (33, 6), (34, 7), (40, 10)]
)
def test_output_within_uses_the_higher_of_the_reasoning_and_audio_rates_if_the_credits_do_not_cover_reasoning_and_audio(
    credits: int, most: int
) -> None:
    assert PER_TOKEN.output_within(credits, IN_PARTS) == most


@pytest.mark.parametrize(
    ("credits", "most"), [(0, -1), (9, -1), (10, 0), (14, 0), (15, 1), (33, 4), (34, 7), (38, 7), (39, 8)]
)
def test_fitting_output_uses_the_highest_output_rate(credits: int, most: int) -> None:
    """The rate applies to all output or, if the credits cover the usage, only to the output beyond the usage."""
    assert PER_TOKEN.fitting_output(credits, IN_PARTS) == most


def test_a_variant_has_only_its_own_tiers() -> None:
    tiers = (Tier(100, Rates(input=CREDIT)),)
    assert RateCard(Rates(input=CREDIT), tiers).over(SHORT) == RateCard(Rates(CREDIT, 15 * CREDIT), tiers)
    assert RateCard(Rates(input=CREDIT)).over(RateCard(SHORT.rates, tiers)).tiers == ()
