"""Prices: credits per 1,000 tokens, by model and time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from accounting_client.call import Answer, Call, Done, Listing, Page, as_, command, get, given, identifier, paged, path


@dataclass(frozen=True)
class PriceRule:
    """Credits per 1,000 tokens, exact, from an instant (inclusive) to another (exclusive), None for good."""

    model_id: str
    price_per_thousand_tokens: Decimal
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    replayed: bool = False


@dataclass(frozen=True)
class ModelPrice:
    """A model's price in force. ``history`` is a page of its rules, newest first; ``next_cursor`` leads to the next."""

    model_id: str
    price_per_thousand_tokens: Decimal
    effective_from: datetime | None
    effective_to: datetime | None
    history: tuple[PriceRule, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Prices:
    """A page of the prices in force, by model, and the price of any model without one of its own."""

    default_price: Decimal
    models: tuple[PriceRule, ...]
    next_cursor: str | None = None


def prices_page(*, limit: int | None = None, cursor: str | None = None) -> Call[Prices]:
    """A page of the prices in force, by model, and the default of any other model; ``limit`` is 1 to 1,000."""
    return get("/api/pricing", Prices, limit=limit, cursor=cursor)


def prices(*, page_size: int = 100) -> Listing[PriceRule]:
    """The price of every model that has one in force, by model."""
    return _rules("/api/pricing", paged(Prices, lambda found: found.models), page_size)


def price(model_id: str, *, limit: int | None = None, cursor: str | None = None) -> Call[ModelPrice]:
    """A model's price in force, and a page of its rules, newest first; ``limit`` is 1 to 100."""
    return get(path("/api/pricing/{}", identifier(model_id)), ModelPrice, limit=limit, cursor=cursor)


def price_history(model_id: str, *, page_size: int = 100) -> Listing[PriceRule]:
    """All price rules of a model, newest first: those that ended, and those that have not begun yet, too."""
    where = path("/api/pricing/{}", identifier(model_id))
    return _rules(where, paged(ModelPrice, lambda found: found.history), page_size)


def add_price(
    model_id: str,
    price_per_thousand_tokens: Decimal | int | str,
    *,
    effective_from: datetime | str | None = None,
    effective_to: datetime | str | None = None,
    idempotency_key: str | None = None,
) -> Call[PriceRule]:
    """As an administrator, set a price of at most four decimals, from now on and for good unless told otherwise.

    The same ``idempotency_key`` again adds nothing more; without one, each call makes its own.
    Raises PriceExists, IdempotencyConflict.
    """
    body = given(
        model_id=model_id,
        price_per_thousand_tokens=price_per_thousand_tokens,
        effective_from=effective_from,
        effective_to=effective_to,
    )
    return command("POST", "/api/pricing", PriceRule, body, idempotency_key)


def end_price(model_id: str, effective_from: datetime | str, effective_to: datetime | str) -> Call[PriceRule]:
    """As an administrator, let the rule that begins at ``effective_from`` end.

    Raises PriceNotFound, and PriceEnded when it ended before.
    """
    where = path("/api/pricing/{}/{}", identifier(model_id), effective_from)
    return Call("PUT", where, as_(PriceRule), body=given(effective_to=effective_to))


def withdraw_price(model_id: str, effective_from: datetime | str) -> Call[Done]:
    """As an administrator, take back a rule that begins in two minutes or later. Raises PriceNotFound, PriceBegun."""
    return Call("DELETE", path("/api/pricing/{}/{}", identifier(model_id), effective_from), as_(Done))


def _rules(where: str, reads: Callable[[Answer], Page[PriceRule]], page_size: int) -> Listing[PriceRule]:
    return lambda cursor: Call("GET", where, reads, query=given(limit=page_size, cursor=cursor), repeatable=True)
