"""Prices: credits per 1,000 tokens, by model and time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounting_client.call import Call, as_, get, given, identifier, path


@dataclass(frozen=True)
class PriceRule:
    """Credits per 1,000 tokens, exact, from an instant (inclusive) to another (exclusive), None for good."""

    model_id: str
    price_per_thousand_tokens: Decimal
    effective_from: datetime | None = None
    effective_to: datetime | None = None


@dataclass(frozen=True)
class ModelPrice:
    """A model's price in force; ``history`` has its newest rules first."""

    model_id: str
    price_per_thousand_tokens: Decimal
    effective_from: datetime | None
    effective_to: datetime | None
    history: tuple[PriceRule, ...]


@dataclass(frozen=True)
class Prices:
    """The prices in force, and the price of any other model."""

    default_price: Decimal
    models: tuple[PriceRule, ...]


def prices() -> Call[Prices]:
    """The price of every model that has one in force, and the default of any other."""
    return get("/api/pricing", Prices)


def price(model_id: str) -> Call[ModelPrice]:
    """A model's price in force, and its rules."""
    return get(path("/api/pricing/{}", identifier(model_id)), ModelPrice)


def add_price(
    model_id: str,
    price_per_thousand_tokens: Decimal | int | str,
    *,
    effective_from: datetime | str | None = None,
    effective_to: datetime | str | None = None,
) -> Call[PriceRule]:
    """As an administrator, set a price of at most four decimals, from now on and for good unless told otherwise.

    Give ``effective_from`` to make a repeat harmless.
    """
    body = given(
        model_id=model_id,
        price_per_thousand_tokens=price_per_thousand_tokens,
        effective_from=effective_from,
        effective_to=effective_to,
    )
    return Call("POST", "/api/pricing", as_(PriceRule), body=body)


def end_price(model_id: str, effective_from: datetime | str, effective_to: datetime | str) -> Call[PriceRule]:
    """As an administrator, let the rule that begins at ``effective_from`` end. Raises PriceNotFound."""
    where = path("/api/pricing/{}/{}", identifier(model_id), effective_from)
    return Call("PUT", where, as_(PriceRule), body=given(effective_to=effective_to))
