"""Price rules of models, and what is held for an estimate."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from accounting.domain.errors import Invalid, ModelUnknown
from accounting.domain.model_usage import Usage
from accounting.domain.rates import RATE_SCALE, RateCard

RATE_OF_PRICE = 1000 * RATE_SCALE
"""The rate of one credit for 1,000 tokens. To get a rate, multiply the credits for 1,000 tokens by this number."""

DEFAULT_CARD = RateCard.flat(RATE_OF_PRICE)
"""The rates of a model that has no rule and is not in ``DEFAULT_CARDS``: 1 credit for 1,000 tokens."""

DEFAULT_CARDS = {
    "anthropic.claude-3-sonnet-20240229-v1:0": RateCard.flat(3 * RATE_OF_PRICE),
    "anthropic.claude-3-haiku-20240307-v1:0": RateCard.flat(RATE_OF_PRICE // 4),
    "anthropic.claude-instant-v1": RateCard.flat(RATE_OF_PRICE * 8 // 10),
    "amazon.titan-text-express-v1": RateCard.flat(RATE_OF_PRICE * 3 // 10),
}


class PriceRule(NamedTuple):
    """A model's price from ``effective_from`` (inclusive) to ``effective_to`` (exclusive), in epoch milliseconds.

    ``card`` has the rates. ``variants`` are other cards by name (``batch``, ``priority``). Rates that they leave out
    come from ``card``. ``aliases`` are other ids of the model. ``max_output_tokens`` is the most output that a client
    reserves for a request that does not limit its output. ``source`` and ``source_version`` show where the rule comes
    from.
    """

    model_id: str
    card: RateCard
    effective_from: int
    effective_to: int | None = None
    variants: Mapping[str, RateCard] = MappingProxyType({})
    aliases: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    source: str | None = None
    source_version: str | None = None

    @property
    def id(self) -> str:
        return f"{self.model_id}@{self.effective_from}"

    def in_force(self, at: int) -> bool:
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)

    def has_ended(self, at: int) -> bool:
        return self.effective_to is not None and self.effective_to <= at

    def card_of(self, variant: str | None) -> RateCard:
        """The card of a variant, or the rule's own card for None. Raises Invalid if the rule has no such variant."""
        if variant is None:
            return self.card
        if variant not in self.variants:
            raise Invalid.field("variant", "the model's price has no such variant")
        return self.variants[variant].over(self.card)


class Estimate(NamedTuple):
    """What a request may use, and the rate card that applies. If ``usage`` is None, only ``tokens`` is known."""

    card: RateCard
    tokens: int
    usage: Usage | None = None

    @property
    def credits(self) -> int:
        """What the estimate costs."""
        return self.card.cost_of_number(self.tokens) if self.usage is None else self.card.cost(self.usage)

    def affordable(self, credits: int) -> dict[str, int]:
        """The largest estimate that costs at most ``credits``, in the form of a refusal's details."""
        if self.usage is None:
            return {"affordableTokens": self.card.number_within(credits)}
        return {"affordableOutputTokens": max(0, self.card.output_within(credits, self.usage))}


def require_order(effective_from: int, effective_to: int | None) -> None:
    """Raise Invalid if the rule ends at or before its beginning. A rule without ``effective_to`` never ends."""
    if effective_to is not None and effective_to <= effective_from:
        raise Invalid.field("effectiveTo", "must be after effectiveFrom")


def rule_in_force(rules: Iterable[PriceRule], at: int) -> PriceRule | None:
    """Of a model's rules that are in force at ``at``, the rule that began last."""
    return max((rule for rule in rules if rule.in_force(at)), key=lambda rule: rule.effective_from, default=None)


def card_in_force(
    model_id: str, rules: Iterable[PriceRule], at: int, variant: str | None = None, *, refuse_unknown: bool = False
) -> RateCard:
    """The card that prices a request of the model at ``at``, by the rule in force or by ``price_without_rule``.

    Raises Invalid if the price has no such variant, and ModelUnknown as ``price_without_rule`` does.
    """
    rule = rule_in_force(rules, at) or price_without_rule(model_id, refuse_unknown=refuse_unknown)
    return rule.card_of(variant)


def price_without_rule(model_id: str, *, refuse_unknown: bool) -> PriceRule:
    """The price of a model that has no rule in force: its built-in price, else the default price.

    The price has the form of a rule. With ``refuse_unknown``, there is no default price: raises ModelUnknown if the
    model is not in ``DEFAULT_CARDS``.
    """
    if refuse_unknown and model_id not in DEFAULT_CARDS:
        raise ModelUnknown("The model has no price", modelId=model_id)
    return PriceRule(model_id, DEFAULT_CARDS.get(model_id, DEFAULT_CARD), 0)


def with_buffer(credits: int, percent: int) -> int:
    """The hold for an estimate that costs ``credits``: ``ceil(credits × (100 + percent) / 100)``, computed exactly."""
    return -(-credits * (100 + percent) // 100)


def without_buffer(credits: int, percent: int) -> int:
    """The highest cost of an estimate whose hold (``with_buffer``) fits ``credits``."""
    return credits * 100 // (100 + percent)


def hold_for(estimate: int, available: int, *, percent: int, reduce: bool) -> int:
    """Credits to hold for an estimate that costs ``estimate`` credits, with the buffer.

    With ``reduce``, the hold is all of ``available`` if that covers the estimate but not the buffer.
    """
    wanted = with_buffer(estimate, percent)
    return max(estimate, min(wanted, available)) if reduce else wanted


def affordable(available: int, *, percent: int, reduce: bool) -> int:
    """The highest cost of an estimate whose hold (``hold_for``) fits ``available`` credits."""
    return available if reduce else without_buffer(available, percent)


def price_of(rate: int) -> int | float:
    """A rate as credits for 1,000 tokens. A float keeps every digit, because a rate has at most 15 digits."""
    whole, rest = divmod(rate, RATE_OF_PRICE)
    return whole if rest == 0 else float(Decimal(rate) / RATE_OF_PRICE)
