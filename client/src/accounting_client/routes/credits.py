"""Credits: balances, costs, grants, and the commands with which supervisors move credits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from accounting_client.call import Call, Listing, Page, as_, command, get, json_fields, paged, path, require_not_both


@dataclass(frozen=True)
class Lot:
    """Credits of one grant that can be spent until they expire."""

    id: str
    credits: int
    expires_at: datetime
    allocated_at: datetime


@dataclass(frozen=True)
class Balance:
    """The credits that an account can spend now, and the lots that contain them, soonest expiry first.

    Here and below, ``user_id`` is the owner of a personal account. It is None if the account is an organization's.
    """

    total_credits: int
    held_credits: int
    debt: int
    active_allocations: tuple[Lot, ...]
    account_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Sufficiency:
    """Whether the spendable ``credits`` cover ``required_credits``."""

    sufficient: bool
    credits: int
    required_credits: int
    message: str | None = None


@dataclass(frozen=True)
class CostLine:
    """The exact cost of one class of tokens in a usage. For requests and web searches, ``tokens`` is their number."""

    class_: str
    tokens: int
    credits_per_million: Decimal
    credits: Decimal


@dataclass(frozen=True)
class Cost:
    """What a usage of a model costs now: the sum of its lines, rounded up once.

    ``rule_id`` is None if no price rule applies, or if only a number of tokens was given. ``tier`` is the threshold
    of the context tier that the usage is in.
    """

    model_id: str
    tokens: int
    credits: int
    price_per_thousand_tokens: Decimal
    rule_id: str | None = None
    usage: dict[str, int] | None = None
    lines: tuple[CostLine, ...] = ()
    tier: int | None = None


@dataclass(frozen=True)
class Granted:
    """A grant as it was made. ``remaining_credits`` is what is left of the grant after it repaid a debt."""

    id: str
    credits: int
    remaining_credits: int
    total_credits: int
    debt: int
    expires_at: datetime
    message: str
    account_id: str | None = None
    user_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class CreditsSet:
    """What a user can spend now, and what the user could spend before."""

    total_credits: int
    previous_credits: int
    debt: int
    account_id: str | None = None
    user_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class CreditsRemoved:
    """What was taken away, and what is left."""

    removed_credits: int
    total_credits: int
    account_id: str | None = None
    user_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class CreditsAdjusted:
    """What was adjusted, and what the user can spend now."""

    adjustment: int
    total_credits: int
    debt: int
    account_id: str | None = None
    user_id: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class Allocation:
    """A grant as it was made, and how much of it can still be spent."""

    id: str
    total_credits: int
    remaining_credits: int
    allocated_by: str
    allocated_at: datetime
    expires_at: datetime
    notes: str


@dataclass(frozen=True)
class _Allocations:
    total: int
    total_pages: int
    allocations: tuple[Allocation, ...]
    next_cursor: str | None = None


def balance(user_id: str | None = None, *, account_id: str | None = None) -> Call[Balance]:
    """Return what the caller can spend now.

    A supervisor may give another user's id or e-mail address as ``user_id``, or any account as ``account_id``. A member
    of an organization may give its account as ``account_id``. Raises UserNotFound, AccountNotFound.
    """
    if user_id is None:
        return get("/api/credits/balance", Balance, account_id=account_id)
    require_not_both(user_id, account_id)
    return get(path("/api/credits/balance/{}", user_id), Balance)


def check(required_credits: int, *, account_id: str | None = None) -> Call[Sufficiency]:
    """Check whether the balance of the caller or of an account covers this many credits. No credits are held.

    Raises AccountNotFound.
    """
    body = json_fields(required_credits=required_credits, account_id=account_id)
    return Call("POST", "/api/credits/check", as_(Sufficiency), body=body, repeatable=True)


def calculate(
    model_id: str,
    tokens: int | None = None,
    *,
    usage: Mapping[str, Any] | None = None,
    usage_format: str | None = None,
    variant: str | None = None,
) -> Call[Cost]:
    """Calculate what a usage of a model costs now.

    ``usage`` is in canonical form or, with ``usage_format``, as the provider sent it. Alternatively, pass a number of
    tokens. Raises ModelUnknown if the service refuses models without a price.
    """
    body = json_fields(model_id=model_id, tokens=tokens, usage=usage, usage_format=usage_format, variant=variant)
    return Call("POST", "/api/credits/calculate", as_(Cost), body=body, repeatable=True)


def allocate(
    user_id: str | None,
    credits: int,
    *,
    expiry_days: int | None = None,
    expires_at: datetime | str | None = None,
    notes: str | None = None,
    account_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Granted]:
    """As a supervisor, or as a service with the right ``credits:grant``, grant credits to a user.

    By default, they expire after 30 days. To grant them to an organization, give None as the user, and its account as
    ``account_id``. A repeat with the same ``idempotency_key`` grants nothing more. By default, each call gets a new
    key. Raises UserNotFound, AccountNotFound, OrganizationClosed, TooManyAllocations, IdempotencyConflict.
    """
    body = json_fields(**_holder(user_id, account_id), credits=credits, **_expiry(expiry_days, expires_at), notes=notes)
    return command("POST", "/api/credits/allocate", Granted, body, idempotency_key)


def set_credits(
    user_id: str | None,
    credits: int,
    *,
    expiry_days: int | None = None,
    expires_at: datetime | str | None = None,
    notes: str | None = None,
    account_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[CreditsSet]:
    """As a supervisor, set the spendable credits of a user or an account to an exact amount, and the debt to 0.

    Raises UserNotFound, AccountNotFound, OrganizationClosed, TooManyAllocations, IdempotencyConflict.
    """
    body = json_fields(**_holder(user_id, account_id), credits=credits, **_expiry(expiry_days, expires_at), notes=notes)
    return command("POST", "/api/credits/set", CreditsSet, body, idempotency_key)


def remove(
    user_id: str | None,
    credits: int,
    *,
    notes: str | None = None,
    account_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[CreditsRemoved]:
    """As a supervisor, take credits away from a user or, with ``account_id``, from an account.

    Raises InsufficientCredits (nothing is taken), UserNotFound, AccountNotFound, OrganizationClosed,
    IdempotencyConflict.
    """
    body = json_fields(**_holder(user_id, account_id), credits=credits, notes=notes)
    return command("DELETE", "/api/credits/remove", CreditsRemoved, body, idempotency_key)


def adjust(
    user_id: str | None,
    adjustment: int,
    *,
    expiry_days: int | None = None,
    expires_at: datetime | str | None = None,
    notes: str | None = None,
    account_id: str | None = None,
    idempotency_key: str | None = None,
) -> Call[CreditsAdjusted]:
    """As a supervisor, grant a user or account credits (positive) or take them away (negative).

    Raises InsufficientCredits (nothing is taken), UserNotFound, AccountNotFound, OrganizationClosed,
    TooManyAllocations, IdempotencyConflict.
    """
    expiry = _expiry(expiry_days, expires_at)
    body = json_fields(**_holder(user_id, account_id), adjustment=adjustment, **expiry, notes=notes)
    return command("PUT", "/api/credits/adjust", CreditsAdjusted, body, idempotency_key)


def allocations_page(
    user_id: str | None = None,
    *,
    page: int | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    account_id: str | None = None,
) -> Call[Page[Allocation]]:
    """A page of the grants to the caller, to another user (for administrators), or to an account, newest first.

    ``limit`` is 1 to 100, by default 20; ``page`` counts from 1, and ``cursor`` is the previous page's ``next_cursor``.
    Raises UserNotFound, AccountNotFound.
    """
    require_not_both(user_id, account_id)
    where = "/api/credits/allocations" if user_id is None else path("/api/credits/allocations/{}", user_id)
    reads = paged(_Allocations, lambda found: found.allocations)
    query = json_fields(page=page, limit=limit, cursor=cursor, account_id=account_id)
    return Call("GET", where, reads, query=query, repeatable=True)


def allocations(
    user_id: str | None = None, *, page_size: int = 100, account_id: str | None = None
) -> Listing[Allocation]:
    """All grants to the caller, to another user (for administrators), or to an account, newest first.

    Raises UserNotFound, AccountNotFound.
    """
    return lambda cursor: allocations_page(user_id, limit=page_size, cursor=cursor, account_id=account_id)


def _expiry(days: int | None, at: datetime | str | None) -> dict[str, Any]:
    """Return the fields that say when a grant expires. Raises ValueError if both are given."""
    if days is not None and at is not None:
        raise ValueError("give expiry_days or expires_at, not both")
    return {"expiry_days": days, "expires_at": at}


def _holder(user_id: str | None, account_id: str | None) -> dict[str, Any]:
    """The user or account whose credits change. Raises ValueError if both or neither are given."""
    if (user_id is None) == (account_id is None):
        raise ValueError("give either user_id or account_id")
    return {"user_id": user_id, "account_id": account_id}
