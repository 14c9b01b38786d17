"""Prices and the one rounding rule. Imports the errors.

Credits are integers. A price is credits per 1,000 tokens with at most four decimals, held as integer
ten-thousandths (``price_e4``: 3 credits = 30,000), so that no float ever touches money.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from accounting.domain.errors import Invalid

PRICE_SCALE = 10_000
TOKENS_PER_PRICE = 1_000
MAX_TOKENS = 10**9

DEFAULT_PRICE_E4 = 10_000
"""Of any model without a rule: 1 credit per 1,000 tokens."""

DEFAULT_PRICES_E4 = {
    "anthropic.claude-3-sonnet-20240229-v1:0": 30_000,
    "anthropic.claude-3-haiku-20240307-v1:0": 2_500,
    "anthropic.claude-instant-v1": 8_000,
    "amazon.titan-text-express-v1": 3_000,
}


@dataclass(frozen=True, slots=True)
class PriceRule:
    """A model's price from ``effective_from`` (inclusive) to ``effective_to`` (exclusive), in epoch milliseconds."""

    model_id: str
    price_e4: int
    effective_from: int
    effective_to: int | None = None

    def in_force(self, at: int) -> bool:
        """Whether the rule has begun and not ended at ``at``."""
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)


def require_order(effective_from: int, effective_to: int | None) -> None:
    """Raise Invalid if a rule would end before it begins, or as it begins."""
    if effective_to is not None and effective_to <= effective_from:
        raise Invalid.field("effectiveTo", "not after effectiveFrom")


def rule_in_force(rules: Iterable[PriceRule], at: int) -> PriceRule | None:
    """The newest of a model's rules that has begun and not ended at ``at``."""
    return max((rule for rule in rules if rule.in_force(at)), key=lambda rule: rule.effective_from, default=None)


def price_in_force(model_id: str, rules: Iterable[PriceRule], at: int) -> int:
    """The model's ``price_e4`` at ``at``: that of the rule in force, else its default."""
    rule = rule_in_force(rules, at)
    return rule.price_e4 if rule else default_price(model_id)


def default_price(model_id: str) -> int:
    """The documented ``price_e4`` of a model without a rule."""
    return DEFAULT_PRICES_E4.get(model_id, DEFAULT_PRICE_E4)


def credits_for(tokens: int, price_e4: int) -> int:
    """``ceil(tokens × price / 1000)``, exact: the only place where credits are rounded."""
    return -(-tokens * price_e4 // (TOKENS_PER_PRICE * PRICE_SCALE))


def with_buffer(credits: int) -> int:
    """``ceil(credits × 1.2)``, exact: what a session holds for an estimate."""
    return -(-credits * 6 // 5)


def hold_for(estimate: int, available: int, *, reduce: bool) -> int:
    """Credits to hold for an estimate that costs ``estimate``: with the buffer.

    With ``reduce``, where ``available`` credits cover the estimate but not the buffer, all of them.
    """
    wanted = with_buffer(estimate)
    return max(estimate, min(wanted, available)) if reduce else wanted


def tokens_within(credits: int, price_e4: int) -> int:
    """The most tokens (at most ``MAX_TOKENS``) that cost no more than ``credits``."""
    if price_e4 == 0:
        return MAX_TOKENS
    return min(MAX_TOKENS, credits * TOKENS_PER_PRICE * PRICE_SCALE // price_e4)


def affordable_tokens(available: int, price_e4: int, *, reduce: bool) -> int:
    """The largest estimate whose hold (``hold_for``) fits ``available`` credits."""
    return tokens_within(available if reduce else available * 5 // 6, price_e4)


def price_of(price_e4: int) -> int | float:
    """The price as a JSON number; exact, as four decimals of this size survive a double."""
    whole, rest = divmod(price_e4, PRICE_SCALE)
    return whole if rest == 0 else float(Decimal(price_e4) / PRICE_SCALE)
