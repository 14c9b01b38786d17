"""Prices: effective-dated rules by model, over the documented defaults."""

from typing import Self

from accounting.domain.errors import Invalid
from accounting.domain.pricing import DEFAULT_PRICE_E4, PRICE_SCALE, PriceRule, default_price, price_of
from accounting.store import prices
from accounting.times import clock, from_iso, iso
from accounting.web.api import Api, handler_of
from accounting.web.types import (
    Identifier,
    IdentifierInPath,
    Instant,
    Price,
    RequestModel,
    ResponseModel,
    Timestamp,
)

HISTORY = 100

api = Api()


class AddRule(RequestModel):
    """A price from an instant on (by default now), until another (by default for good)."""

    model_id: Identifier
    price_per_thousand_tokens: Price
    effective_from: Timestamp | None = None
    effective_to: Timestamp | None = None


class EndRule(RequestModel):
    """When a rule ends."""

    effective_to: Timestamp


class RuleView(ResponseModel):
    """A price rule: credits per 1,000 tokens, from an instant (inclusive) to another (exclusive)."""

    model_id: str
    price_per_thousand_tokens: int | float
    effective_from: Instant | None
    effective_to: Instant | None

    @classmethod
    def of(cls, rule: PriceRule) -> Self:
        """The view of a rule."""
        return cls(
            model_id=rule.model_id,
            price_per_thousand_tokens=price_of(rule.price_e4),
            effective_from=iso(rule.effective_from),
            effective_to=None if rule.effective_to is None else iso(rule.effective_to),
        )


class PricesView(ResponseModel):
    """The prices in force, and the price of any other model."""

    default_price: int | float
    models: list[RuleView]


class PriceView(RuleView):
    """A model's price in force; without a rule, its default since ever. ``history`` has the newest rules first."""

    history: list[RuleView]


@api.get("/api/pricing")
def list_prices() -> PricesView:
    """The price of every model that has a rule in force, and the default of any other."""
    api.caller("credits:read")
    models = [RuleView.of(rule) for rule in prices.all_in_force(clock())]
    return PricesView(default_price=price_of(DEFAULT_PRICE_E4), models=models)


@api.get("/api/pricing/<model_id>")
def price_in_force(model_id: IdentifierInPath) -> PriceView:
    """A model's price in force, and its rules."""
    api.caller("credits:read")
    now = clock()
    rule = prices.rule_at(model_id, now)
    return PriceView(
        model_id=model_id,
        price_per_thousand_tokens=price_of(rule.price_e4 if rule else default_price(model_id)),
        effective_from=iso(rule.effective_from) if rule else None,
        effective_to=iso(rule.effective_to) if rule and rule.effective_to is not None else None,
        history=[RuleView.of(known) for known in prices.history(model_id, HISTORY)],
    )


@api.post("/api/pricing", status_code=201)
def add(body: AddRule) -> RuleView:
    """Add a rule; the newest that has begun and not ended wins."""
    api.admin()
    begins = clock() if body.effective_from is None else from_iso(body.effective_from)
    ends = None if body.effective_to is None else from_iso(body.effective_to)
    _require_order(begins, ends)
    price_e4 = int(body.price_per_thousand_tokens * PRICE_SCALE)
    rule = PriceRule(body.model_id, price_e4, begins, ends)
    prices.put(rule)
    return RuleView.of(rule)


@api.put("/api/pricing/<model_id>/<effective_from>")
def end(model_id: IdentifierInPath, effective_from: Timestamp, body: EndRule) -> RuleView:
    """Let a rule end."""
    api.admin()
    begins, ends = from_iso(effective_from), from_iso(body.effective_to)
    _require_order(begins, ends)
    return RuleView.of(prices.end(model_id, begins, ends))


def _require_order(begins: int, ends: int | None) -> None:
    if ends is not None and ends <= begins:
        raise Invalid.field("effectiveTo", "not after effectiveFrom")


handler = handler_of(api)
