"""Rates and price rules in responses."""

from typing import Annotated, Any, Self

from pydantic import Field

from accounting.domain.pricing import PriceRule, price_of
from accounting.domain.rates import RATE_SCALE, RateCard, Rates
from accounting.times import iso
from accounting.web.rate_texts import decimal_text
from accounting.web.types import Instant, ResponseModel, left_out

_PER_THOUSAND = "Credits for 1,000 tokens at the input rate or the output rate, whichever is higher"


class RatesView(ResponseModel):
    """Rates by class, each an exact decimal: credits for 1,000,000 tokens, 1,000 requests or 1,000 searches."""

    input: str | None = left_out()
    output: str | None = left_out()
    cached_input: str | None = left_out()
    cache_write: str | None = left_out()
    cache_write_1h: Annotated[str | None, Field(alias="cacheWrite1h")] = left_out()
    reasoning: str | None = left_out()
    input_audio: str | None = left_out()
    output_audio: str | None = left_out()
    request: str | None = left_out()
    web_search: str | None = left_out()

    @classmethod
    def of(cls, rates: Rates) -> Self:
        return cls(
            **{name: None if rate is None else decimal_text(rate, RATE_SCALE) for name, rate in rates._asdict().items()}
        )


class TierView(ResponseModel):
    """Rates for all tokens of a request that has more input tokens than ``aboveInputTokens``.

    The tier does not change the rate of a class that is missing here.
    """

    above_input_tokens: int
    rates: RatesView


class CardView(ResponseModel):
    """The rates of a model's variant. A missing class keeps the model's rate. The model's tiers do not apply."""

    rates: RatesView
    tiers: list[TierView] | None = left_out()

    @classmethod
    def of(cls, card: RateCard) -> Self:
        return cls(rates=RatesView.of(card.rates), tiers=_tier_views(card))


class PriceFields(ResponseModel):
    """The price of a model. If the model has no price, ``pricePerThousandTokens`` and ``rates`` are left out."""

    model_id: str
    price_per_thousand_tokens: int | float | None = left_out(_PER_THOUSAND)
    rates: RatesView | None = left_out()
    tiers: list[TierView] | None = left_out()
    variants: dict[str, CardView] | None = left_out()
    aliases: list[str] | None = left_out()
    max_output_tokens: int | None = left_out()
    source: str | None = left_out()
    source_version: str | None = left_out()
    effective_from: Instant | None
    effective_to: Instant | None


class RuleView(PriceFields):
    """A price rule, in force from ``effectiveFrom`` (inclusive) to ``effectiveTo`` (exclusive)."""

    price_per_thousand_tokens: int | float = Field(description=_PER_THOUSAND)
    rates: RatesView

    @classmethod
    def of(cls, rule: PriceRule) -> Self:
        return cls(**rule_fields(rule), effective_from=iso(rule.effective_from))


def rule_fields(rule: PriceRule) -> dict[str, Any]:
    """A rule's values for ``PriceFields``, without ``effective_from``.

    The caller adds ``effective_from``: None for a built-in price or the default price, because they have no beginning.
    """
    return {
        "model_id": rule.model_id,
        "price_per_thousand_tokens": price_of(rule.card.number_rate),
        "rates": RatesView.of(rule.card.rates),
        "tiers": _tier_views(rule.card),
        "variants": {name: CardView.of(card) for name, card in rule.variants.items()} or None,
        "aliases": list(rule.aliases) or None,
        "max_output_tokens": rule.max_output_tokens,
        "source": rule.source,
        "source_version": rule.source_version,
        "effective_to": None if rule.effective_to is None else iso(rule.effective_to),
    }


def _tier_views(card: RateCard) -> list[TierView] | None:
    tiers = [TierView(above_input_tokens=tier.above_input, rates=RatesView.of(tier.rates)) for tier in card.tiers]
    return tiers or None
