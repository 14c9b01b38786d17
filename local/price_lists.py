"""Turns a model's prices in the package genai-prices into a price rule of this service. Pure: no clock, no network.

A rate is the price in USD × credits per USD × markup, rounded half to even at six decimals. Rules differ from
genai-prices on purpose:

- A price for each request is multiplied by the usage's `requests`; genai-prices always counts one request.
- Audio from the cache costs what other input from the cache costs, because a usage does not tell them apart.
- A rule leaves out prices of images, video, documents, file searches, citations, characters and hours, because a usage
  has no separate counts of them. `left_out` lists these prices. Tokens of images and video cost what other tokens of
  input or output cost.
- A model whose price depends on the time of day has no rule.
- In genai-prices, the `when` of a variant can require several values. In a rule, one value names the variant, so a rule
  leaves out variants that require several values.

If a model has no price for cache writes that last an hour, they cost what its other cache writes cost, as in
genai-prices. The rule states this rate, because otherwise this service would charge what other input costs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from accounting.web.prices import MAX_ALIASES, MAX_ALIASES_LENGTH, MAX_TIERS, MAX_VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PRICES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cachedInput": "cache_read_mtok",
    "cacheWrite": "cache_write_mtok",
    "cacheWrite1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "inputAudio": "input_audio_mtok",
    "outputAudio": "output_audio_mtok",
    "request": "requests_kcount",
    "webSearch": "web_searches_kcount",
}
"""The classes of our rates, and the names of their prices in genai-prices."""
_MILLIONTH = Decimal("0.000001")
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_MODEL_ID = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")
_VARIANT = re.compile(r"[a-z0-9_-]{1,32}")


class NoRule(ValueError):
    """A model's prices cannot become a rule; the message says why."""


@dataclass(frozen=True)
class Markup:
    """The factor for a price: the number of the last pattern that matches the model, else the default."""

    default: Decimal
    patterns: tuple[tuple[str, Decimal], ...] = ()

    @classmethod
    def read(cls, text: str) -> Markup:
        """Parse a text such as `1.2 anthropic=1.3 gpt-4o*=1.1`. Raises ValueError."""
        default, patterns = None, []
        for word in text.split():
            pattern, equals, number = word.rpartition("=")
            factor = positive(number)
            if pattern:
                patterns.append((pattern, factor))
            elif equals:
                raise ValueError(f"{word} names no model")
            elif default is not None:
                raise ValueError(f"{text} has two factors for all models")
            else:
                default = factor
        return cls(Decimal(1) if default is None else default, tuple(patterns))

    def of(self, provider: str, model: str) -> Decimal:
        found = [factor for pattern, factor in self.patterns if matches(pattern, provider, model)]
        return found[-1] if found else self.default


def matches(pattern: str, provider: str, model: str) -> bool:
    """Return whether a pattern such as `openai` or `gpt-*` matches the provider or the model.

    A pattern with a slash, such as `aws/*nova*`, must match both.
    """
    names = (f"{provider}/{model}",) if "/" in pattern else (provider, model)
    return any(fnmatchcase(name, pattern) for name in names)


def rule_of(model: ModelInfo, at: datetime, credits_per_usd: Decimal) -> dict[str, Any]:
    """Return a rule with a model's prices at a moment, as the body of a request. Raises NoRule."""
    if not _MODEL_ID.fullmatch(model.id):
        raise NoRule("its id is not valid in this service")
    if any(isinstance(constraint, TimeOfDateConstraint) for constraint in _constraints(model)):
        raise NoRule("its price depends on the time of day")
    base = _card(model.get_prices(at), credits_per_usd)
    variants = {
        name: _without_base_rates(base, _card(model.get_prices(at, context), credits_per_usd))
        for name, context in _variants(model, at)
    }
    if len(variants) > MAX_VARIANTS:
        raise NoRule(f"it has more than {MAX_VARIANTS} variants")
    aliases = _aliases(model)
    return {
        "modelId": model.id,
        **base,
        **({"variants": variants} if variants else {}),
        **({"aliases": aliases} if aliases else {}),
    }


def left_out(model: ModelInfo, at: datetime) -> list[str]:
    """Return the names of a model's prices that its rule leaves out."""
    known = set(PRICES.values())
    return [name for name, price in model.get_prices(at).__dict__.items() if price is not None and name not in known]


def changes_after(model: ModelInfo, at: datetime) -> list[datetime]:
    """Return the times after `at` at which prices of a model begin."""
    starts = {
        datetime.combine(constraint.start_date, time(), UTC)
        for constraint in _constraints(model)
        if isinstance(constraint, StartDateConstraint)
    }
    return sorted(start for start in starts if start > at)


def positive(text: str) -> Decimal:
    """Parse a number above 0. Raises ValueError."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) or not Decimal(text):
        raise ValueError(f"{text} is not a number above 0")
    return Decimal(text)


def _constraints(model: ModelInfo) -> Iterator[object]:
    prices = [] if isinstance(model.prices, ModelPrice) else model.prices
    for each in [*prices, *(model.price_variants or ())]:
        yield each.constraint


def _variants(model: ModelInfo, at: datetime) -> Iterator[tuple[str, dict[str, str]]]:
    """Return the name and the context of each variant that is active at a moment.

    The name is the only value in the context. Variants with several values, or without a valid name, are left out.
    """
    for variant in model.price_variants or ():
        (name, *more) = variant.when.values()
        if not more and _VARIANT.fullmatch(name) and (variant.constraint is None or variant.constraint.active(at)):
            yield name, variant.when


def _card(price: ModelPrice, credits_per_usd: Decimal) -> dict[str, Any]:
    prices = {name: price.__dict__.get(key) for name, key in PRICES.items()}
    found = {name: each for name, each in prices.items() if each is not None}
    if "input" not in found and "output" not in found:
        raise NoRule("it has no price for tokens")
    if "cacheWrite" in found:
        found.setdefault("cacheWrite1h", found["cacheWrite"])
    free = Decimal(0)
    found = {"input": found.get("input", free), "output": found.get("output", free), **found}

    def rate(usd: Decimal) -> str:
        exact = _EXACT.multiply(usd, credits_per_usd)
        return f"{_EXACT.quantize(exact, _MILLIONTH).normalize(_EXACT):f}"

    tiered = {name: each for name, each in found.items() if isinstance(each, TieredPrices)}
    starts = sorted({tier.start for each in tiered.values() for tier in each.tiers})
    if len(starts) > MAX_TIERS:
        raise NoRule(f"it has more than {MAX_TIERS} context tiers")
    tiers = [
        {"aboveInputTokens": start, "rates": {name: rate(_price_above(each, start)) for name, each in tiered.items()}}
        for start in starts
    ]
    rates = {name: rate(each.base if isinstance(each, TieredPrices) else each) for name, each in found.items()}
    return {"rates": rates, **({"tiers": tiers} if tiers else {})}


def _price_above(price: TieredPrices, start: int) -> Decimal:
    begun = [tier.price for tier in price.tiers if tier.start <= start]
    return begun[-1] if begun else price.base


def _without_base_rates(base: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """Return a variant without the rates that equal the base rates."""
    rates = {name: rate for name, rate in card["rates"].items() if base["rates"].get(name) != rate}
    return {**card, "rates": rates}


def _aliases(model: ModelInfo) -> list[str]:
    """Return the model's other ids, as many as a rule can have. Patterns that match ids are left out."""
    clauses = model.match.or_ if isinstance(model.match, ClauseOr) else [model.match]
    ids = dict.fromkeys(clause.equals for clause in clauses if isinstance(clause, ClauseEquals))
    aliases: list[str] = []
    for name in ids:
        fits = len(aliases) < MAX_ALIASES and sum(map(len, aliases)) + len(name) <= MAX_ALIASES_LENGTH
        if name != model.id and _MODEL_ID.fullmatch(name) and fits:
            aliases.append(name)
    return aliases
