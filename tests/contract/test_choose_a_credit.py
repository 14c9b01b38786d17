"""The figures in docs/choose-a-credit.md match the service's own arithmetic."""

from __future__ import annotations

from accounting.domain.pricing import DEFAULT_CARD, DEFAULT_CARDS, RATE_OF_PRICE, price_of, with_buffer
from accounting.domain.rates import AMOUNT_SCALE, RateCard
from accounting.settings import DEFAULT_HOLD_BUFFER_PERCENT
from accounting.web.prices import MAX_RATE, RATE_DECIMALS
from accounting.web.types import MAX_CREDITS, MAX_PRICE
from local.paths import ROOT

PAGE = (ROOT / "docs/choose-a-credit.md").read_text()
TEXT = " ".join(PAGE.split())
CREDITS_FOR_A_DOLLAR = (1_000, 10_000, 100_000, 1_000_000)
TOKENS = (137, 823, 1_730, 10_451)
ESTIMATES = (1, 2, 5, 10, 100, 1_000)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def test_a_call_costs_what_the_table_says() -> None:
    """The model costs 1 USD for a million tokens, so 1,000 tokens cost the credits that 0.001 USD buys."""
    for for_a_dollar in CREDITS_FOR_A_DOLLAR:
        rate = for_a_dollar * RATE_OF_PRICE // 1000
        cells = []
        for tokens in TOKENS:
            charged, exact = RateCard.flat(rate).cost_of_number(tokens), tokens * rate / AMOUNT_SCALE
            cells.append(f"{charged:,} ({100 * (charged - exact) / charged:.1f} %)")
        assert row(f"{for_a_dollar:,}", f"{price_of(rate):,}", *cells) in PAGE


def test_each_session_is_rounded_separately() -> None:
    apart, together = 20 * DEFAULT_CARD.cost_of_number(137), DEFAULT_CARD.cost_of_number(20 * 137)

    said = f"As 20 sessions, these calls cost {apart} credits. As one session of 2,740 tokens, they cost {together}."
    assert said in TEXT


def test_a_hold_is_what_the_table_says() -> None:
    assert row("estimate", *(f"{each:,}" for each in ESTIMATES)) in PAGE
    assert row("hold", *(f"{with_buffer(each, DEFAULT_HOLD_BUFFER_PERCENT):,}" for each in ESTIMATES)) in PAGE


def test_the_page_has_the_default_prices_of_the_code() -> None:
    for model, card in DEFAULT_CARDS.items():
        assert row(f"`{model}`", f"{price_of(card.number_rate)}") in PAGE
    assert row("any other", f"{price_of(DEFAULT_CARD.number_rate)}") in PAGE


def test_the_page_has_the_limits_of_the_code() -> None:
    assert (MAX_CREDITS, MAX_PRICE, MAX_RATE, RATE_DECIMALS) == (10**12, 10**6, 10**9, 6)
    assert "at most 10¹² credits" in TEXT
    assert "at most 10⁶ credits per 1,000 tokens" in TEXT
    assert "at most 10⁹ credits per million tokens, with at most six decimals" in TEXT
