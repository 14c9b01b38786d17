"""Rates and price rules in requests.

Rates are credits for a million tokens of a class such as ``cached_input``, or for a thousand requests or web searches.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from accounting.domain.errors import Invalid
from accounting.domain.price_lists import MAX_LISTED, Problem
from accounting.domain.pricing import RATE_OF_PRICE, PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.times import from_iso
from accounting.web.problems import text_of_error
from accounting.web.types import MAX_PRICE, ModelId, RequestModel, Timestamp, Tokens
from accounting.web.usage import Variant

MAX_RATE = 1000 * MAX_PRICE
RATE_DECIMALS = 6
MAX_TIERS = 4
MAX_VARIANTS = 8
MAX_RATES = 64
"""The most rates in a rule. Many requests read a rule's item, so the item must be small."""
MAX_ALIASES = 20
MAX_ALIASES_LENGTH = 800


@dataclass(frozen=True, slots=True)
class _Amount:
    """A number from 0 to ``most`` with at most ``decimals`` decimals, as a JSON number or as a text of digits."""

    most: int
    decimals: int

    @property
    def pattern(self) -> str:
        """The allowed texts. ``Decimal`` itself would also accept blanks, underscores and non-ASCII digits."""
        return rf"^([0-9]{{1,{len(str(self.most)) - 1}}}(\.[0-9]{{1,{self.decimals}}})?|{self.most})$"

    def number_or_text(self, value: object) -> object:
        """The value itself. Raises ValueError if it is a boolean, or a text that is not in ``pattern``."""
        if isinstance(value, bool):
            raise ValueError("must be a number")
        if isinstance(value, str) and not re.fullmatch(self.pattern, value):
            raise ValueError(f"must be digits, with at most {self.decimals} decimals after a point")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        number = core_schema.decimal_schema(ge=Decimal(0), le=Decimal(self.most), decimal_places=self.decimals)
        return core_schema.no_info_before_validator_function(self.number_or_text, number)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        step = float(Decimal(1).scaleb(-self.decimals))
        number = {"type": "number", "minimum": 0, "maximum": self.most, "multipleOf": step}
        return {"anyOf": [number, {"type": "string", "pattern": self.pattern}]}


Price = Annotated[Decimal, _Amount(MAX_PRICE, 4)]
Rate = Annotated[Decimal, _Amount(MAX_RATE, RATE_DECIMALS)]


class SomeRates(RequestModel):
    """Rates by class; every class is optional."""

    input: Rate | None = None
    output: Rate | None = None
    cached_input: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Annotated[Rate | None, Field(alias="cacheWrite1h")] = None
    reasoning: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None
    request: Rate | None = None
    web_search: Rate | None = None

    def rates(self) -> Rates:
        """The rates as integers in millionths of a credit."""
        named = {name: getattr(self, name) for name in Rates._fields}
        return Rates(**{name: None if rate is None else int(rate * RATE_SCALE) for name, rate in named.items()})


class BaseRates(SomeRates):
    """Rates of a model. A class without a rate has the rate of the class that it is part of, ``input`` or ``output``.

    Requests and web searches without a rate are free.
    """

    input: Rate
    output: Rate


class TierBody(RequestModel):
    """Rates for all tokens of a request that has more input tokens than ``aboveInputTokens``.

    The tier does not change the rate of a class that is missing here.
    """

    above_input_tokens: Annotated[Tokens, Field(ge=1)]
    rates: SomeRates

    @field_validator("rates")
    @classmethod
    def _names_one(cls, rates: SomeRates) -> SomeRates:
        if not any(rate is not None for rate in rates.rates()):
            raise ValueError("must name at least one class")
        return rates


def _rising(tiers: list[TierBody]) -> list[TierBody]:
    above = [tier.above_input_tokens for tier in tiers]
    if any(this >= following for this, following in pairwise(above)):
        raise ValueError("aboveInputTokens must rise from tier to tier")
    return tiers


Tiers = Annotated[list[TierBody], Field(max_length=MAX_TIERS), AfterValidator(_rising)]


@dataclass(frozen=True, slots=True)
class _OrRatesAlone:
    """Accepts a variant's ``CardBody``, or only its rates as the short form."""

    @staticmethod
    def written_out(value: object) -> object:
        """The short form as a ``CardBody``; any other value unchanged."""
        return {"rates": value} if isinstance(value, dict) and not value.keys() & CardBody.model_fields else value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.written_out, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), handler(SomeRates.__pydantic_core_schema__)]}


class CardBody(RequestModel):
    """Rates of a variant. The variant does not change the rate of a class that is missing here.

    The tiers of the model do not apply to the variant.
    """

    rates: SomeRates
    tiers: Tiers | None = None

    def card(self) -> RateCard:
        return _card(self.rates, self.tiers)


Variants = Annotated[
    dict[Variant, Annotated[CardBody, _OrRatesAlone()]],
    Field(max_length=MAX_VARIANTS, json_schema_extra={"additionalProperties": False}),
]
Aliases = Annotated[list[ModelId], Field(max_length=MAX_ALIASES)]
Source = Annotated[str, Field(strict=True, pattern="^[ -~]{1,64}$")]
MaxOutputTokens = Annotated[Tokens, Field(ge=1)]


class RuleBody(RequestModel):
    """A price from ``effectiveFrom`` (by default now) until ``effectiveTo`` (by default without an end).

    It has either ``rates`` or the short form ``pricePerThousandTokens``, one rate for input and output.
    """

    model_id: ModelId
    rates: BaseRates | None = None
    price_per_thousand_tokens: Price | None = None
    tiers: Tiers | None = None
    variants: Variants | None = None
    aliases: Aliases | None = None
    max_output_tokens: MaxOutputTokens | None = None
    source: Source | None = None
    source_version: Source | None = None
    effective_from: Timestamp | None = None
    effective_to: Timestamp | None = None

    @field_validator("variants")
    @classmethod
    def _have_few_rates(cls, variants: dict[str, CardBody] | None, info: ValidationInfo) -> dict[str, CardBody] | None:
        base = info.data.get("rates")
        cards = [variant.card() for variant in (variants or {}).values()]
        if base:
            cards.append(_card(base, info.data.get("tiers")))
        rates = [rate for card in cards for named in card.all_rates() for rate in named if rate is not None]
        if len(rates) > MAX_RATES:
            raise ValueError(f"at most {MAX_RATES} rates in rates, tiers and variants together")
        return variants

    @field_validator("aliases")
    @classmethod
    def _are_distinct(cls, aliases: list[str] | None, info: ValidationInfo) -> list[str] | None:
        names = [*(aliases or ()), info.data.get("model_id")]
        if len(set(names)) < len(names):
            raise ValueError("must differ from each other and from modelId")
        if sum(map(len, aliases or ())) > MAX_ALIASES_LENGTH:
            raise ValueError(f"at most {MAX_ALIASES_LENGTH} characters together")
        return aliases

    def rule(self, now: int) -> PriceRule:
        """The rule to store; by default it begins at ``now``.

        Raises Invalid if the body has both ``rates`` and ``pricePerThousandTokens``, or neither.
        """
        return PriceRule(
            self.model_id,
            self._card(),
            now if self.effective_from is None else from_iso(self.effective_from),
            None if self.effective_to is None else from_iso(self.effective_to),
            {name: variant.card() for name, variant in (self.variants or {}).items()},
            tuple(self.aliases or ()),
            self.max_output_tokens,
            self.source,
            self.source_version,
        )

    def _card(self) -> RateCard:
        if (self.rates is None) == (self.price_per_thousand_tokens is None):
            raise Invalid.field("pricePerThousandTokens", "send either this or rates")
        if self.rates is not None:
            return _card(self.rates, self.tiers)
        rate = int((self.price_per_thousand_tokens or 0) * RATE_OF_PRICE)
        return RateCard(Rates(rate, rate), _tiers(self.tiers))


class Misfit(NamedTuple):
    """The problems of an invalid rule in a list, as pairs of a field and its problem."""

    problems: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _OrMisfit:
    """Turns an invalid rule into a ``Misfit``, so that the refusal of a list can name the problems of all its rules."""

    @staticmethod
    def checked(value: object, handler: ValidatorFunctionWrapHandler) -> RuleBody | Misfit:
        try:
            rule: RuleBody = handler(value)
        except ValidationError as invalid:
            return Misfit([(".".join(map(str, each["loc"])), text_of_error(each)) for each in invalid.errors()])
        return rule

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self.checked, handler.generate_schema(RuleBody))


ListedRules = Annotated[list[Annotated[RuleBody | Misfit, _OrMisfit()]], Field(min_length=1, max_length=MAX_LISTED)]


def rules_in(listed: list[RuleBody | Misfit], now: int) -> tuple[dict[int, PriceRule], list[Problem]]:
    """The valid rules of a list by their index, and the problems of the others.

    Raises Invalid if the rules and their aliases together are more than ``MAX_LISTED``.
    """
    rules: dict[int, PriceRule] = {}
    problems: list[Problem] = []
    for index, each in enumerate(listed):
        if isinstance(each, Misfit):
            problems += (Problem(index, field, problem) for field, problem in each.problems)
            continue
        try:
            rules[index] = each.rule(now)
        except Invalid as invalid:
            problems.append(Problem(index, **invalid.details["errors"][0]))
    if sum(1 + len(rule.aliases) for rule in rules.values()) > MAX_LISTED:
        raise Invalid.field("rules", f"at most {MAX_LISTED} rules and aliases")
    return rules, problems


def _card(rates: SomeRates, tiers: list[TierBody] | None) -> RateCard:
    return RateCard(rates.rates(), _tiers(tiers))


def _tiers(tiers: list[TierBody] | None) -> tuple[Tier, ...]:
    return tuple(Tier(tier.above_input_tokens, tier.rates.rates()) for tier in tiers or ())
