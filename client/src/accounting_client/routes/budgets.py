"""Budgets and runs: hard limits on what is spent from an account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from accounting_client.call import Call, Done, Listing, Page, as_, get, identifier, json_fields, paged, path

Window = Literal["day", "week", "month", "total"]


@dataclass(frozen=True)
class Budget:
    """A budget and its current window. ``committed_credits`` is what is held and what was spent in this window.

    A budget of ``members`` counts each member separately. Its ``committed_credits`` and ``remaining_credits`` are None,
    unless you ask for the budgets of one member. ``from_administrator`` is true for a budget that an administrator has
    set. On a user's own account, only an administrator can change such a budget.
    """

    account_id: str
    subject: str
    limit_credits: int
    window: str
    time_zone: str
    committed_credits: int | None = None
    remaining_credits: int | None = None
    window_starts_at: datetime | None = None
    resets_at: datetime | None = None
    warn_at_percent: tuple[int, ...] = ()
    from_administrator: bool = False


@dataclass(frozen=True)
class _Budgets:
    budgets: tuple[Budget, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Run:
    """A run. ``committed_credits`` is what its sessions hold, and what its sessions and records have spent.

    ``status`` is ``active``, ``stopped`` or ``expired``. Only the function `run` fills in ``by_model`` and
    ``metadata``; they are empty elsewhere.
    """

    account_id: str
    run_id: str
    user_id: str
    status: str
    limit_credits: int
    committed_credits: int
    spent_credits: int
    remaining_credits: int
    sessions: int
    records: int
    created_at: datetime
    expires_at: datetime
    stopped_at: datetime | None = None
    by_model: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    replayed: bool = False


def set_budget(
    account_id: str,
    subject: str,
    limit_credits: int,
    *,
    window: Window,
    time_zone: str | None = None,
    warn_at_percent: Sequence[int] | None = None,
) -> Call[Budget]:
    """Limit what ``member:<user id>``, ``members`` or ``key:<key id>`` spends from an account in each window.

    ``time_zone`` is an IANA name, by default UTC. If only the limit changes, the count of committed credits stays.
    If the window or the time zone changes, the count begins at 0. Raises AccountNotFound, MemberNotFound,
    ApiKeyNotFound, TooManyBudgets.
    """
    warnings = None if warn_at_percent is None else list(warn_at_percent)
    body = json_fields(limit_credits=limit_credits, window=window, time_zone=time_zone, warn_at_percent=warnings)
    return Call("PUT", _budget(account_id, subject), as_(Budget), body=body, repeatable=True)


def budgets_page(
    account_id: str, *, user_id: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[Page[Budget]]:
    """A page of an account's budgets.

    Members get the budgets that limit them. Owners and admins get all budgets or, with ``user_id``, those that limit
    this user. ``limit`` is 1 to 100, by default 20. Raises AccountNotFound.
    """
    reads = paged(_Budgets, lambda page: page.budgets)
    query = json_fields(user_id=user_id, limit=limit, cursor=cursor)
    return Call("GET", path("/api/budgets/{}", account_id), reads, query=query, repeatable=True)


def budgets(account_id: str, *, user_id: str | None = None, page_size: int = 100) -> Listing[Budget]:
    """An account's budgets.

    Members get the budgets that limit them. Owners and admins get all budgets or, with ``user_id``, those that limit
    this user. Raises AccountNotFound.
    """
    return lambda cursor: budgets_page(account_id, user_id=user_id, limit=page_size, cursor=cursor)


def delete_budget(account_id: str, subject: str) -> Call[Done]:
    """End a budget. A new budget for the same subject begins at 0. Raises AccountNotFound, BudgetNotFound."""
    return Call("DELETE", _budget(account_id, subject), as_(Done))


def begin_run(
    run_id: str,
    limit_credits: int,
    *,
    account_id: str | None = None,
    expires_at: datetime | str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Call[Run]:
    """Make a run: a limit that sessions and usage records share until the run is stopped or expires.

    By default, the run belongs to the caller's own account and expires after 30 days. A repeat with the same values
    returns the run as it is now. Raises AccountNotFound, OrganizationClosed, RunExists.
    """
    body = json_fields(
        run_id=run_id, limit_credits=limit_credits, account_id=account_id, expires_at=expires_at, metadata=metadata
    )
    return Call("POST", "/api/runs", as_(Run), body=body, repeatable=True)


def run(account_id: str, run_id: str) -> Call[Run]:
    """A run with the credits that it spent on each model, and its metadata.

    The user who made the run can read it, and so can those who manage the account. Raises AccountNotFound, RunNotFound.
    """
    return get(path("/api/runs/{}/{}", account_id, identifier(run_id)), Run)


def stop_run(account_id: str, run_id: str) -> Call[Run]:
    """Stop a run: new sessions and usage records are refused. Open sessions can still be settled.

    Raises AccountNotFound, RunNotFound.
    """
    target = path("/api/runs/{}/{}/stop", account_id, identifier(run_id))
    return Call("POST", target, as_(Run), repeatable=True)


def _budget(account_id: str, subject: str) -> str:
    return path("/api/budgets/{}/{}", account_id, subject)
