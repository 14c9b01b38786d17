"""The figures of docs/choose-a-credit.md are what the service's own arithmetic gives."""

from __future__ import annotations

from accounting.domain.pricing import (
    DEFAULT_PRICE_E4,
    DEFAULT_PRICES_E4,
    PRICE_SCALE,
    credits_for,
    price_of,
    with_buffer,
)
from accounting.web.types import MAX_CREDITS, MAX_PRICE
from local.paths import ROOT

PAGE = (ROOT / "docs/choose-a-credit.md").read_text()
CREDITS_FOR_A_DOLLAR = (1_000, 10_000, 100_000, 1_000_000)
TOKENS = (137, 823, 1_730, 10_451)
ESTIMATES = (1, 2, 5, 10, 100, 1_000)


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def test_a_call_costs_what_the_table_says() -> None:
    """For a model at 1 USD for a million tokens, so that 1,000 tokens cost a thousandth of a dollar's credits."""
    for for_a_dollar in CREDITS_FOR_A_DOLLAR:
        price_e4 = for_a_dollar * PRICE_SCALE // 1000
        cells = []
        for tokens in TOKENS:
            charged, exact = credits_for(tokens, price_e4), tokens * price_e4 / 1000 / PRICE_SCALE
            cells.append(f"{charged:,} ({100 * (charged - exact) / charged:.1f} %)")
        assert row(f"{for_a_dollar:,}", f"{price_of(price_e4):,}", *cells) in PAGE


def test_sessions_are_rounded_one_by_one() -> None:
    apart, together = 20 * credits_for(137, PRICE_SCALE), credits_for(20 * 137, PRICE_SCALE)

    assert f"cost {apart} credits as twenty sessions,\nand {together} as one session of 2,740 tokens" in PAGE


def test_a_hold_is_what_the_table_says() -> None:
    assert row("estimate", *(f"{each:,}" for each in ESTIMATES)) in PAGE
    assert row("hold", *(f"{with_buffer(each):,}" for each in ESTIMATES)) in PAGE


def test_the_prices_without_a_rule_are_the_codes() -> None:
    for model, price_e4 in DEFAULT_PRICES_E4.items():
        assert row(f"`{model}`", f"{price_of(price_e4)}") in PAGE
    assert row("any other", f"{price_of(DEFAULT_PRICE_E4)}") in PAGE


def test_the_limits_are_the_codes() -> None:
    assert (MAX_CREDITS, MAX_PRICE) == (10**12, 10**6)
    assert "at most 10¹² credits" in PAGE
    assert "at most 10⁶ credits per 1,000 tokens" in PAGE
