"""Prices as the tests write them: in ten-thousandths of a credit for 1,000 tokens."""

from accounting.domain.pricing import RATE_OF_PRICE
from accounting.domain.rates import RateCard


def per_thousand(price_e4: int) -> RateCard:
    """The rate card with this price for input and output."""
    return RateCard.flat(price_e4 * RATE_OF_PRICE // 10_000)


def price_e4(card: RateCard) -> int:
    """The inverse of ``per_thousand``."""
    return card.number_rate * 10_000 // RATE_OF_PRICE
