"""Credits: balances, costs, and the commands of supervisors."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from accounting.domain.accounts import AccountId, user_of
from accounting.domain.errors import Invalid
from accounting.domain.lots import allocation_id
from accounting.domain.pricing import price_of
from accounting.domain.rates import AMOUNT_SCALE, RATE_NAMES, RATE_SCALE, Line
from accounting.operations import credits as operations
from accounting.operations.credits import Balance, CreditChange, Request
from accounting.store import prices, users
from accounting.store.users import ById, Reference
from accounting.times import clock, from_iso, iso
from accounting.web.access import SUPERVISORS, Access, Arguments, Disabled, Who
from accounting.web.accounts import AccountInQuery
from accounting.web.api import Api, handler_of
from accounting.web.caller import Caller
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.rate_texts import CLASS_NAMES, decimal_text
from accounting.web.sight import Sight
from accounting.web.subject import named_by
from accounting.web.types import (
    DEFAULT_EXPIRY_DAYS,
    AccountText,
    Adjustment,
    Credits,
    CreditsOrZero,
    ExpiryDays,
    Instant,
    ModelId,
    Notes,
    QueryCredits,
    QuestionModel,
    RequestModel,
    ResponseModel,
    Timestamp,
    Tokens,
    UserInPath,
    UserReference,
    left_out,
)
from accounting.web.usage import UsageFormat, UsageObject, UsageView, Variant, usage_in

READERS = Access(Who.USERS, "credits:read")
BALANCE_READERS = Access(
    Who.USERS, "credits:read", Disabled.OPERATION_DECIDES, sight=Sight("member", Caller.require_supervisor)
)


def _granted_to(caller: Caller, arguments: Arguments) -> Reference:
    """The user whom a grant names. If the grant names a personal account, the user is the owner of this account.

    If the grant names an organization's account, the result is the empty id, which no user has.
    """
    user, account_id = arguments["body"].user(), arguments["body"].account_id
    return ById(user_of(account_id) or "") if user is None else named_by(caller, user)


def _refuse_nobody(_caller: Caller) -> None:
    """Do nothing, because the route is only for supervisors and administrators, who may name every account."""


COMMANDERS = Access(Who.SUPERVISORS, sight=Sight(None, _refuse_nobody))
GRANTERS = COMMANDERS._replace(subject=_granted_to, service_right="credits:grant", introduce=users.introduce)
COMMAND_CODES = ("USER_NOT_FOUND", "ORGANIZATION_CLOSED")
GRANT_CODES = (*COMMAND_CODES, "TOO_MANY_ALLOCATIONS")

api = Api()


class Check(QuestionModel):
    """The account to check, by default the caller's, and the credits that it must be able to spend."""

    account_id: AccountText | None = None

    required_credits: CreditsOrZero = Field(
        validation_alias=AliasChoices("requiredCredits", "credits"), description="Can also be sent as `credits`"
    )


class Calculate(QuestionModel):
    """The usage to price or, if it is not known, a number of tokens."""

    model_id: ModelId
    tokens: Tokens | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    variant: Variant | None = None


class _Command(RequestModel):
    account_id: AccountText | None = None
    user_id: UserReference | None = Field(
        default=None,
        validation_alias=AliasChoices("userId", "targetUserId"),
        description="An id or e-mail address; can also be sent as `targetUserId`",
    )
    notes: Notes | None = None

    def user(self) -> str | None:
        """The user whom the command names, or None if it names an account. Raises Invalid for both or neither."""
        if (self.user_id is None) == (self.account_id is None):
            raise Invalid.field("userId", "either this or accountId is required")
        return self.user_id


class _Grant(_Command):
    """A command that may grant credits. They expire after ``expiryDays`` (default 30), or at ``expiresAt``."""

    expiry_days: ExpiryDays | None = None
    expires_at: Timestamp | None = None

    @field_validator("expires_at")
    @classmethod
    def _has_one_expiry(cls, expires_at: str | None, info: ValidationInfo) -> str | None:
        if expires_at is not None and info.data.get("expiry_days") is not None:
            raise ValueError("send either this or expiryDays")
        return expires_at


class Allocate(_Grant):
    """Credits to grant. They expire after ``expiryDays`` (default 30), or at ``expiresAt``."""

    credits: Credits


class SetCredits(_Grant):
    """The exact number of credits to make available.

    Added credits expire after ``expiryDays`` (default 30), or at ``expiresAt``.
    """

    credits: CreditsOrZero


class Remove(_Command):
    """Credits to take away."""

    credits: Credits


class Adjust(_Grant):
    """Credits to grant (positive) or to take away (negative).

    Granted credits expire after ``expiryDays`` (default 30), or at ``expiresAt``.
    """

    adjustment: Adjustment


class ActiveAllocation(ResponseModel):
    """What is left of one grant."""

    id: str
    credits: int
    expires_at: Instant
    allocated_at: Instant


class _OfAccount(ResponseModel):
    account_id: AccountId
    user_id: str | None = left_out("The owner of a personal account; left out for an organization's account")


class BalanceView(_OfAccount):
    """The credits that can be spent now from an account, and their lots, soonest expiry first."""

    total_credits: int
    held_credits: int
    debt: int
    active_allocations: list[ActiveAllocation]

    @classmethod
    def of(cls, balance: Balance) -> Self:
        return cls(
            account_id=balance.account_id,
            user_id=user_of(balance.account_id),
            total_credits=balance.available,
            held_credits=balance.held,
            debt=balance.debt,
            active_allocations=[
                ActiveAllocation(
                    id=allocation_id(balance.account_id, lot.number),
                    credits=lot.credits,
                    expires_at=iso(lot.expires_at),
                    allocated_at=iso(lot.granted_at),
                )
                for lot in balance.lots
            ],
        )


class CheckView(ResponseModel):
    """Whether the balance covers the required credits."""

    sufficient: bool
    credits: int
    required_credits: int
    message: str | None = left_out()


class LineView(ResponseModel):
    """The cost of one class of a usage, before rounding."""

    name: str = Field(alias="class", description="The name of the class in `rates` of a price rule")
    tokens: int = Field(
        description="How many tokens; in the classes `request` and `webSearch`, how many requests or searches"
    )
    credits_per_million: str = Field(description="Exact; for a million tokens, requests or searches")
    credits: str = Field(description="Exact")

    @classmethod
    def of(cls, line: Line) -> Self:
        return cls(
            name=CLASS_NAMES[RATE_NAMES.get(line.name, line.name)],
            tokens=line.units,
            credits_per_million=decimal_text(line.amount // line.units, RATE_SCALE),
            credits=decimal_text(line.amount, AMOUNT_SCALE),
        )


class CalculateView(ResponseModel):
    """The cost of a usage of a model now: the sum of ``lines``, rounded up once.

    ``ruleId`` is the id of the price rule that applied. It is left out if no price rule applied, or if the request has
    only a number of tokens. ``tier`` is the threshold of the context tier that the usage is in.
    """

    model_id: str
    tokens: int
    credits: int
    price_per_thousand_tokens: int | float
    rule_id: str | None = left_out()
    usage: UsageView | None = left_out()
    lines: list[LineView] | None = left_out()
    tier: int | None = left_out()


class AllocateView(_OfAccount):
    """A grant as it was made. ``remainingCredits`` is what was left after it repaid a debt."""

    id: str
    credits: int
    remaining_credits: int
    total_credits: int
    debt: int
    expires_at: Instant
    message: str


class SetView(_OfAccount):
    """The credits that could be spent before, and those that can be spent now."""

    total_credits: int
    previous_credits: int
    debt: int


class RemoveView(_OfAccount):
    """The credits that were taken away, and those that can still be spent."""

    removed_credits: int
    total_credits: int


class AdjustView(_OfAccount):
    """The credits that were granted or taken away, and those that can be spent now."""

    adjustment: int
    total_credits: int
    debt: int


@api.get("/api/credits/balance", access=BALANCE_READERS)
def own_balance(account_id: AccountInQuery = None) -> BalanceView:
    """Show what can be spent now from the caller's own account, or from the account in ``accountId``."""
    return BalanceView.of(_balance())


@api.get("/api/credits/balance/<user_id>", access=SUPERVISORS)
def balance_of(user_id: UserInPath) -> BalanceView:
    """Show what a user can spend now."""
    return BalanceView.of(operations.balance_of(api.subject, clock()))


@api.post("/api/credits/calculate", access=READERS, any_query=True, codes=("MODEL_UNKNOWN",))
def calculate(body: Calculate) -> CalculateView:
    """Calculate what a usage of a model costs now, class by class.

    The usage has the canonical form or, with ``usageFormat``, the form in which the provider sent it. Without a usage,
    ``tokens`` are priced at the higher of the input and output rates.
    """
    rule, card = prices.price_at(body.model_id, clock(), body.variant)
    found = usage_in(body)
    if (found is None) == (body.tokens is None):
        raise Invalid.field("tokens", "send either this or usage")
    usage = found[0] if found else None
    tier = card.tier_of(usage.input) if usage else None
    tokens = body.tokens or 0
    return CalculateView(
        model_id=body.model_id,
        tokens=usage.input + usage.output if usage else tokens,
        credits=card.cost(usage) if usage else card.cost_of_number(tokens),
        price_per_thousand_tokens=price_of(card.number_rate),
        rule_id=rule.id if rule and usage else None,
        usage=UsageView.of(usage) if usage else None,
        lines=[LineView.of(line) for line in card.lines(usage)] if usage else None,
        tier=tier.above_input if tier else None,
    )


@api.post("/api/credits/check", access=BALANCE_READERS, any_query=True)
def check(body: Check) -> CheckView:
    """Check whether the balance covers an amount. No credits are held."""
    balance = _balance()
    sufficient = balance.available >= body.required_credits
    return CheckView(
        sufficient=sufficient,
        credits=balance.available,
        required_credits=body.required_credits,
        message=None if sufficient else "Insufficient credits",
    )


@api.post("/api/credits/allocate", status_code=201, access=GRANTERS, idempotency="allocate", codes=GRANT_CODES)
def allocate(body: Allocate) -> AllocateView:
    """Grant credits to a user or an account."""
    change = operations.allocate(_request(body, api.subject), body.credits)
    allocation = _marked_if_replayed(change).allocation
    if allocation is None:
        raise LookupError("allocate has made no allocation")
    return AllocateView(
        id=allocation.id,
        account_id=change.account_id,
        user_id=user_of(change.account_id),
        credits=change.credits,
        remaining_credits=change.remaining,
        total_credits=change.available,
        debt=change.debt,
        expires_at=iso(allocation.expires_at),
        message=f"Allocated {change.credits} credits",
    )


@api.post("/api/credits/set", access=COMMANDERS, idempotency="set", codes=GRANT_CODES)
def set_credits(body: SetCredits) -> SetView:
    """Set the spendable credits of an account to an exact number, and its debt to 0."""
    change = _marked_if_replayed(operations.set_available(_request(body), body.credits))
    return SetView(
        account_id=change.account_id,
        user_id=user_of(change.account_id),
        total_credits=change.available,
        previous_credits=change.previous,
        debt=change.debt,
    )


@api.delete(
    "/api/credits/remove",
    access=COMMANDERS,
    idempotency="remove",
    codes=(*COMMAND_CODES, "INSUFFICIENT_CREDITS"),
)
def remove(
    body: Remove | None = None,
    user_id: Annotated[UserReference | None, Query(alias="userId")] = None,
    credits: Annotated[QueryCredits | None, Query()] = None,
    notes: Annotated[Notes | None, Query()] = None,
    account_id: AccountInQuery = None,
) -> RemoveView:
    """Take credits away from an account. Send all fields in the body, or all fields in the query."""
    fields = {"userId": user_id, "credits": credits, "notes": notes, "accountId": account_id}
    in_query = {name: value for name, value in fields.items() if value is not None}
    if body and in_query:
        raise Invalid.field(next(iter(in_query)), "send all fields in the body or all in the query")
    command = body or Remove.model_validate(in_query)
    change = _marked_if_replayed(operations.remove(_request(command), command.credits))
    return RemoveView(
        account_id=change.account_id,
        user_id=user_of(change.account_id),
        removed_credits=change.credits,
        total_credits=change.available,
    )


@api.put("/api/credits/adjust", access=COMMANDERS, idempotency="adjust", codes=(*GRANT_CODES, "INSUFFICIENT_CREDITS"))
def adjust(body: Adjust) -> AdjustView:
    """Grant credits to an account, or take them away."""
    change = _marked_if_replayed(operations.adjust(_request(body), body.adjustment))
    return AdjustView(
        account_id=change.account_id,
        user_id=user_of(change.account_id),
        adjustment=change.credits,
        total_credits=change.available,
        debt=change.debt,
    )


def _balance() -> Balance:
    """The balance of the account that the request is about.

    For the caller's own account, `operations.own_balance` raises UserDisabled if the caller is disabled. For any other
    account, the route's access check has already refused disabled callers.
    """
    read = operations.own_balance if api.account.id == api.caller.own_account else operations.balance
    return read(api.account.id, clock())


def _request(body: _Command, user: Reference | None = None) -> Request:
    """Build the operation's request from the body. If ``user`` is given, it replaces the user whom the body names.

    Raises Invalid if the body names both a user and an account, or neither.
    """
    named = body.user()
    return Request(
        actor=api.caller.actor,
        user=user or (None if named is None else named_by(api.caller, named)),
        account_id=body.account_id,
        notes=body.notes or "",
        expiry_days=(body.expiry_days if isinstance(body, _Grant) else None) or DEFAULT_EXPIRY_DAYS,
        expires_at=from_iso(body.expires_at) if isinstance(body, _Grant) and body.expires_at else None,
        now=clock(),
        key=key_of(api, body),
    )


def _marked_if_replayed(change: CreditChange) -> CreditChange:
    """Return the change. If it is a replay, add the header that marks replayed answers."""
    if change.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return change


handler = handler_of(api)
