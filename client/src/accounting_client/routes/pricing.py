"""Prices in credits by class of tokens, for each model and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounting_client.call import (
    Answer,
    Call,
    Done,
    Listing,
    Page,
    as_,
    command,
    get,
    identifier,
    json_fields,
    paged,
    path,
)


@dataclass(frozen=True)
class Rates:
    """Credits for a million tokens of each class, for a thousand requests, and for a thousand web searches.

    A class without a rate has the rate of the class that it is part of, ``input`` or ``output``. Requests and web
    searches without a rate are free.
    """

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    request: Decimal | None = None
    web_search: Decimal | None = None


@dataclass(frozen=True)
class PriceTier:
    """Rates for all tokens of a request that has more input tokens than ``above_input_tokens``.

    A class that is missing here has the same rate as without the tier.
    """

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True)
class PriceVariant:
    """Rates of a variant such as ``batch``. A missing class keeps the model's rate. The model's tiers do not apply."""

    rates: Rates
    tiers: tuple[PriceTier, ...] = ()


@dataclass(frozen=True)
class PriceFields:
    """The fields of price rules and of prices in force."""

    model_id: str
    price_per_thousand_tokens: Decimal | None
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    rates: Rates = Rates()
    tiers: tuple[PriceTier, ...] = ()
    variants: dict[str, PriceVariant] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    source: str | None = None
    source_version: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class PriceRule(PriceFields):
    """A model's price from ``effective_from`` until just before ``effective_to``, which is None if there is no end.

    ``price_per_thousand_tokens`` is the higher of the input and output prices. ``aliases`` are other ids of the model.
    """

    price_per_thousand_tokens: Decimal


@dataclass(frozen=True, kw_only=True)
class ModelPrice(PriceFields):
    """A model's price in force. ``history`` is a page of the model's rules, newest first.

    If no rule is in force, ``effective_from`` is None. Then the price is the model's built-in price (``built_in``) or
    the default price. If there is neither, the model has no price: ``price_per_thousand_tokens`` is None, and
    ``rates`` has no rate.
    """

    price_per_thousand_tokens: Decimal | None = None
    history: tuple[PriceRule, ...]
    built_in: bool = False
    next_cursor: str | None = None


@dataclass(frozen=True)
class PriceChange:
    """A rule in the imported list (``after``), and the stored rule that would be in force without it (``before``)."""

    model_id: str
    before: PriceRule
    after: PriceRule


@dataclass(frozen=True)
class PriceImport:
    """How a list of price rules differs from the stored rules. ``unchanged`` are ids of models."""

    added: tuple[PriceRule, ...]
    changed: tuple[PriceChange, ...]
    unchanged: tuple[str, ...]
    replayed: bool = False


@dataclass(frozen=True)
class Prices:
    """A page of the prices in force, sorted by model.

    ``default_price``, in credits for 1,000 tokens, is the price of a model that has neither a rule in force nor a
    built-in price. It is None if the service refuses such models.
    """

    models: tuple[PriceRule, ...]
    default_price: Decimal | None = None
    next_cursor: str | None = None


def prices_page(*, limit: int | None = None, cursor: str | None = None) -> Call[Prices]:
    """A page of the prices in force, sorted by model.

    ``limit`` is 1 to 1,000, by default 1,000.
    """
    return get("/api/pricing", Prices, limit=limit, cursor=cursor)


def prices(*, page_size: int = 100) -> Listing[PriceRule]:
    """All prices in force, sorted by model."""
    return _rules("/api/pricing", paged(Prices, lambda found: found.models), page_size)


def price(model_id: str, *, limit: int | None = None, cursor: str | None = None) -> Call[ModelPrice]:
    """A model's price in force, and a page of the model's rules, newest first.

    ``limit`` is the number of rules, 1 to 100, by default 100.
    Raises ModelUnknown if the service refuses models without a price, and the model has no built-in price and no
    rule (ended, in force, or future).
    """
    return get(path("/api/pricing/{}", identifier(model_id)), ModelPrice, limit=limit, cursor=cursor)


def price_history(model_id: str, *, page_size: int = 100) -> Listing[PriceRule]:
    """All price rules of a model, newest first, including ended rules and future rules."""
    where = path("/api/pricing/{}", identifier(model_id))
    return _rules(where, paged(ModelPrice, lambda found: found.history), page_size)


def add_price(  # noqa: PLR0913 - the route's fields, by keyword
    model_id: str,
    price_per_thousand_tokens: Decimal | int | str | None = None,
    *,
    rates: Rates | None = None,
    tiers: Sequence[PriceTier] | None = None,
    variants: Mapping[str, PriceVariant] | None = None,
    aliases: Sequence[str] | None = None,
    max_output_tokens: int | None = None,
    source: str | None = None,
    source_version: str | None = None,
    effective_from: datetime | str | None = None,
    effective_to: datetime | str | None = None,
    idempotency_key: str | None = None,
) -> Call[PriceRule]:
    """As an administrator, add a price rule. By default it begins now and has no end.

    Give either ``rates`` (at most six decimals), or ``price_per_thousand_tokens`` (at most four decimals) for input and
    output alike. A repeat with the same ``idempotency_key`` adds nothing more. By default, each call gets a new key.
    Raises PriceExists, IdempotencyConflict.
    """
    body = json_fields(
        model_id=model_id,
        price_per_thousand_tokens=price_per_thousand_tokens,
        rates=rates,
        tiers=tiers,
        variants=variants,
        aliases=aliases,
        max_output_tokens=max_output_tokens,
        source=source,
        source_version=source_version,
        effective_from=effective_from,
        effective_to=effective_to,
    )
    return command("POST", "/api/pricing", PriceRule, body, idempotency_key)


def import_prices(
    rules: Sequence[Mapping[str, Any]], *, dry_run: bool | None = None, idempotency_key: str | None = None
) -> Call[PriceImport]:
    """As an administrator, import a list of price rules: all of them or none. Each rule has the fields of `add_price`.

    Rules that change no price are left out. With ``dry_run`` nothing is written. A list has at most 99 rules and
    aliases together. Raises IdempotencyConflict, and InvalidRequest with every problem of the list in
    ``details["problems"]``.
    """
    return command(
        "POST", "/api/pricing/import", PriceImport, json_fields(rules=rules, dry_run=dry_run), idempotency_key
    )


def end_price(model_id: str, effective_from: datetime | str, effective_to: datetime | str) -> Call[PriceRule]:
    """As an administrator, set the end of the rule that begins at ``effective_from``.

    Raises PriceNotFound, and PriceEnded if the rule has already ended.
    """
    where = path("/api/pricing/{}/{}", identifier(model_id), effective_from)
    return Call("PUT", where, as_(PriceRule), body=json_fields(effective_to=effective_to))


def withdraw_price(model_id: str, effective_from: datetime | str) -> Call[Done]:
    """As an administrator, withdraw a rule that begins in two minutes or later. Raises PriceNotFound, PriceBegun."""
    return Call("DELETE", path("/api/pricing/{}/{}", identifier(model_id), effective_from), as_(Done))


def _rules(where: str, reads: Callable[[Answer], Page[PriceRule]], page_size: int) -> Listing[PriceRule]:
    return lambda cursor: Call("GET", where, reads, query=json_fields(limit=page_size, cursor=cursor), repeatable=True)
