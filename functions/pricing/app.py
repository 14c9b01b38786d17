"""Prices: effective-dated rules by model, over the documented defaults."""

from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import Field

from accounting.domain.pricing import DEFAULT_CARD, RATE_OF_PRICE, PriceRule, default_card, price_of, require_order
from accounting.domain.rates import RateCard
from accounting.operations import prices as operations
from accounting.store import prices
from accounting.times import clock, from_iso, iso
from accounting.web.access import ADMINS, Access, Who
from accounting.web.api import Api, handler_of
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import Cursor, cursor_of, model_in, number_in
from accounting.web.types import (
    ONLY_DIGITS,
    Instant,
    ModelId,
    ModelIdInPath,
    Price,
    RequestModel,
    ResponseModel,
    Timestamp,
    TimestampInPath,
    left_out,
)

MAX_LISTED = 1000
MAX_HISTORY = 100
DIGITS_OF_INSTANTS = 15
ListLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_LISTED), ONLY_DIGITS], Query()]
HistoryLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_HISTORY), ONLY_DIGITS], Query()]

READERS = Access(Who.USERS, "credits:read")

api = Api()


class AddRule(RequestModel):
    """A price from an instant on (by default now), until another (by default for good)."""

    model_id: ModelId
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
            price_per_thousand_tokens=price_of(rule.card.number_rate),
            effective_from=iso(rule.effective_from),
            effective_to=None if rule.effective_to is None else iso(rule.effective_to),
        )


class PricesView(ResponseModel):
    """A page of the prices in force, by model, and the price of any model without a rule."""

    default_price: int | float
    models: list[RuleView]
    next_cursor: str | None = left_out()


class PriceView(RuleView):
    """A model's price in force; without a rule, its default. ``history`` is a page of its rules, newest first."""

    history: list[RuleView]
    next_cursor: str | None = left_out()


class WithdrawnView(ResponseModel):
    """That it is done."""

    message: str


@api.get("/api/pricing", access=READERS)
def list_prices(limit: ListLimit = MAX_LISTED, cursor: Cursor = None) -> PricesView:
    """The price of every model that has a rule in force, by model, and the default of any other."""
    rules, position = prices.in_force(clock(), after=model_in(cursor), limit=limit)
    return PricesView(
        default_price=price_of(DEFAULT_CARD.number_rate),
        models=[RuleView.of(rule) for rule in rules],
        next_cursor=cursor_of(position) if position else None,
    )


@api.get("/api/pricing/<model_id>", access=READERS)
def price_in_force(
    model_id: ModelIdInPath,
    limit: HistoryLimit = MAX_HISTORY,
    cursor: Cursor = None,
) -> PriceView:
    """A model's price in force, and its rules."""
    now = clock()
    rule = prices.rule_at(model_id, now)
    history, before = prices.history(model_id, before=number_in(cursor, digits=DIGITS_OF_INSTANTS), limit=limit)
    return PriceView(
        model_id=model_id,
        price_per_thousand_tokens=price_of((rule.card if rule else default_card(model_id)).number_rate),
        effective_from=iso(rule.effective_from) if rule else None,
        effective_to=iso(rule.effective_to) if rule and rule.effective_to is not None else None,
        history=[RuleView.of(known) for known in history],
        next_cursor=cursor_of(before) if before is not None else None,
    )


@api.post("/api/pricing", status_code=201, access=ADMINS, idempotency="pricing", codes=("PRICE_EXISTS",))
def add(body: AddRule) -> RuleView:
    """Add a rule; the newest that has begun and not ended wins."""
    now = clock()
    begins = now if body.effective_from is None else from_iso(body.effective_from)
    ends = None if body.effective_to is None else from_iso(body.effective_to)
    card = RateCard.flat(int(body.price_per_thousand_tokens * RATE_OF_PRICE))
    added = operations.add(PriceRule(body.model_id, card, begins, ends), now=now, key=key_of(api, body))
    if added.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return RuleView.of(added.rule)


@api.put("/api/pricing/<model_id>/<effective_from>", access=ADMINS, codes=("PRICE_NOT_FOUND", "PRICE_ENDED"))
def end(model_id: ModelIdInPath, effective_from: TimestampInPath, body: EndRule) -> RuleView:
    """Let a rule end. When a rule ended is history: it cannot be moved."""
    begins, ends = from_iso(effective_from), from_iso(body.effective_to)
    require_order(begins, ends)
    return RuleView.of(prices.end(model_id, begins, ends, clock()))


@api.delete("/api/pricing/<model_id>/<effective_from>", access=ADMINS, codes=("PRICE_NOT_FOUND", "PRICE_BEGUN"))
def withdraw(model_id: ModelIdInPath, effective_from: TimestampInPath) -> WithdrawnView:
    """Withdraw a rule that begins in two minutes or later, so that no session was priced by it."""
    prices.withdraw(model_id, from_iso(effective_from), clock())
    return WithdrawnView(message="Price rule withdrawn")


handler = handler_of(api)
