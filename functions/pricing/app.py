"""Price rules of models. Each rule has a beginning and may have an end.

A model without a rule has a built-in price or the default price. With ``UnknownModels=refuse``, there is no default
price.
"""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import Field

from accounting.domain.price_lists import Difference
from accounting.domain.pricing import DEFAULT_CARD, DEFAULT_CARDS, price_of
from accounting.operations import price_lists
from accounting.operations import prices as operations
from accounting.settings import settings
from accounting.store import prices
from accounting.times import clock, from_iso, iso
from accounting.web.access import ADMINS, Access, Who
from accounting.web.api import Api, handler_of
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import Cursor, cursor_of, model_in, number_in
from accounting.web.price_views import PriceFields, RuleView, rule_fields
from accounting.web.prices import ListedRules, RuleBody, rules_in
from accounting.web.types import (
    ONLY_DIGITS,
    ModelIdInPath,
    RequestModel,
    ResponseModel,
    StrictFlag,
    Timestamp,
    TimestampInPath,
    left_out,
)

MAX_MODELS_LISTED = 1000
MAX_HISTORY = 100
DIGITS_OF_INSTANTS = 15
ListLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_MODELS_LISTED), ONLY_DIGITS], Query()]
HistoryLimit = Annotated[Annotated[int, Field(ge=1, le=MAX_HISTORY), ONLY_DIGITS], Query()]

READERS = Access(Who.USERS, "credits:read")

api = Api()


class EndRule(RequestModel):
    """The time at which a rule ends."""

    effective_to: Timestamp


class PricesView(ResponseModel):
    """A page of the prices in force, sorted by model.

    ``defaultPrice`` is the price of a model that has neither a rule in force nor a built-in price: credits for 1,000
    tokens. It is left out if the service refuses such models (``UnknownModels=refuse``).
    """

    default_price: int | float | None = left_out()
    models: list[RuleView]
    next_cursor: str | None = left_out()


class PriceView(PriceFields):
    """A model's price in force. An alias (another id of a model) has the price of its model.

    If no rule is in force, ``effectiveFrom`` is null, and the price is the model's built-in price. A model without a
    built-in price has the default price. If the service has no default price (``UnknownModels=refuse``), such a model
    has no price in force, and ``pricePerThousandTokens`` and ``rates`` are left out.

    ``history`` is a page of the model's rules, newest first.
    """

    built_in: bool | None = left_out("True if the price is built in; left out for any other price")
    history: list[RuleView]
    next_cursor: str | None = left_out()


class ImportRules(RequestModel):
    """A list of rules. With ``dryRun``, nothing is written, and the answer says what would change."""

    rules: ListedRules
    dry_run: StrictFlag | None = None


class ChangeView(ResponseModel):
    """A rule in the list (``after``), and the stored rule that would be in force without it (``before``)."""

    model_id: str
    before: RuleView
    after: RuleView


class ProblemView(ResponseModel):
    """A problem with one field of a rule in the list."""

    index: int
    field: str
    problem: str


class ImportView(ResponseModel):
    """How a list differs from the stored rules.

    ``problems`` is always empty, because the answer to a list with problems is an error with status 400,
    which lists all of them.
    """

    added: list[RuleView]
    changed: list[ChangeView] = Field(
        description="Models whose price changes, and aliases that the list takes from another model"
    )
    unchanged: list[str] = Field(description="Models whose rule in the list changes nothing")
    problems: list[ProblemView]

    @classmethod
    def of(cls, found: Difference) -> Self:
        """Build the response from a difference."""
        return cls(
            added=[RuleView.of(rule) for rule in found.added],
            changed=[
                ChangeView(model_id=after.model_id, before=RuleView.of(before), after=RuleView.of(after))
                for before, after in found.changed
            ]
            + [
                ChangeView(model_id=alias, before=RuleView.of(before), after=RuleView.of(after))
                for alias, before, after in found.taken
            ],
            unchanged=found.unchanged,
            problems=[],
        )


class WithdrawnView(ResponseModel):
    """A confirmation."""

    message: str


@api.get("/api/pricing", access=READERS)
def list_prices(limit: ListLimit = MAX_MODELS_LISTED, cursor: Cursor = None) -> PricesView:
    """List the prices of all models that have a rule in force."""
    rules, position = prices.in_force(clock(), after=model_in(cursor), limit=limit)
    return PricesView(
        default_price=None if settings().refuse_unknown_models else price_of(DEFAULT_CARD.number_rate),
        models=[RuleView.of(rule) for rule in rules],
        next_cursor=cursor_of(position) if position else None,
    )


@api.get("/api/pricing/<model_id>", access=READERS, codes=("MODEL_UNKNOWN",))
def price_in_force(
    model_id: ModelIdInPath,
    limit: HistoryLimit = MAX_HISTORY,
    cursor: Cursor = None,
) -> PriceView:
    """Show a model's price in force, and its rules.

    For an alias, these are the rules of its model. A model with neither a rule nor a built-in price has the default
    price, or is refused if the service has no default price (``UnknownModels=refuse``).
    """
    now = clock()
    rule = prices.rule_at(model_id, now)
    price = rule or prices.without_rule(model_id)
    history, before = prices.history(model_id, before=number_in(cursor, digits=DIGITS_OF_INSTANTS), limit=limit)
    return PriceView(
        **(rule_fields(price) if price else {"model_id": model_id, "effective_to": None}),
        effective_from=iso(rule.effective_from) if rule else None,
        built_in=True if rule is None and model_id in DEFAULT_CARDS else None,
        history=[RuleView.of(known) for known in history],
        next_cursor=cursor_of(before) if before is not None else None,
    )


@api.post("/api/pricing", status_code=201, access=ADMINS, idempotency="pricing", codes=("PRICE_EXISTS",))
def add(body: RuleBody) -> RuleView:
    """Add a price rule. Of the rules that have begun and not ended, the newest applies.

    A rate is a number or a string, with at most six decimals. A tier's rates apply to the whole request. A tier or a
    variant replaces the rates of the classes that it names. The other classes keep their rates. An alias is another id
    of the model, with the same price.
    """
    now = clock()
    added = operations.add(body.rule(now), now=now, key=key_of(api, body))
    if added.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return RuleView.of(added.rule)


@api.post("/api/pricing/import", access=ADMINS, idempotency="import")
def import_list(body: ImportRules) -> ImportView:
    """Import a list of price rules: all of them, or none.

    Each rule in the list is compared with the stored rule that is in force when the listed rule begins. If the two
    rules are the same except for beginning and source version, the listed rule is skipped. Otherwise, it is added. So a
    second import of the same list changes nothing. No stored rule is overwritten. A list has at most 99 rules and
    aliases. If there are problems, nothing is written, and the answer is 400. Its ``details.problems`` lists the index,
    the field and the text of each problem.
    """
    now = clock()
    key = key_of(api, body)
    imported = price_lists.repeated(key, now) or price_lists.import_rules(
        *rules_in(body.rules, now), dry_run=body.dry_run or False, now=now, key=key
    )
    if imported.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return ImportView.of(imported.difference)


@api.put("/api/pricing/<model_id>/<effective_from>", access=ADMINS, codes=("PRICE_NOT_FOUND", "PRICE_ENDED"))
def end(model_id: ModelIdInPath, effective_from: TimestampInPath, body: EndRule) -> RuleView:
    """Set the end of a price rule. After a rule has ended, its end cannot change."""
    begins, ends = from_iso(effective_from), from_iso(body.effective_to)
    return RuleView.of(operations.end(model_id, begins, ends, clock()))


@api.delete("/api/pricing/<model_id>/<effective_from>", access=ADMINS, codes=("PRICE_NOT_FOUND", "PRICE_BEGUN"))
def withdraw(model_id: ModelIdInPath, effective_from: TimestampInPath) -> WithdrawnView:
    """Withdraw a price rule that begins in two minutes or later. No session has used it yet."""
    operations.withdraw(model_id, from_iso(effective_from), clock())
    return WithdrawnView(message="Price rule withdrawn")


handler = handler_of(api)
