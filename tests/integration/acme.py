"""Acme, an organization for tests of budgets and runs, and short functions for the calls of its members."""

from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain.accounts import stored
from accounting.domain.organizations import Member
from accounting.operations import api_keys, budgets, credits, sessions, settling
from accounting.operations.budgets import BudgetValues, Requester
from accounting.operations.credits import Request
from accounting.store import organizations
from accounting.store.table import transact
from tests.integration.conftest import NOW
from tests.members import organization_with

type MakeUser = Callable[..., str]

ACME = stored("org:acme")
BOSS = Requester("boss", is_administrator=True)


def make_organization() -> None:
    """Make Acme, with a thousand credits, two members and an owner."""
    organization_with(ACME, "u1", "u2", now=NOW)
    transact([organizations.add_member(Member("acme", "owner", "owner", NOW))])
    grant(1_000)


def grant(amount: int, account_id: Any = ACME, now: int = NOW) -> None:
    credits.allocate(Request("boss", "", "", 365, now, account_id=account_id), amount)


def budget(subject: str, limit: int, account_id: Any = ACME, by: Requester = BOSS, now: int = NOW, **more: Any) -> Any:
    return budgets.put(account_id, subject, BudgetValues(limit, more.pop("window", "total"), **more), by=by, now=now)


def stream(session_id: str, tokens: int = 5_000, user_id: str = "u1", account_id: Any = ACME, **more: Any) -> Any:
    """Open a session. The default of 5,000 tokens costs 5 credits, and 6 are held."""
    now = more.pop("now", NOW)
    return sessions.initialize(user_id, session_id, "m", tokens, now=now, account_id=account_id, **more).session


def finalize(session_id: str, tokens: int, user_id: str = "u1", now: int = NOW) -> Any:
    return settling.finalize(user_id, session_id, tokens, success=True, now=now, account_id=ACME).session


def committed(subject: str, account_id: Any = ACME, user_id: str | None = None, now: int = NOW) -> int:
    found, _ = budgets.page(account_id, by=BOSS, user_id=user_id, after=None, limit=100, now=now)
    (state,) = [each for each in found if each.budget.subject == subject]
    assert state.committed is not None
    return state.committed


def make_key(user_id: str = "u1") -> str:
    made = api_keys.create(user_id, "a key", ("sessions:write",), expires_at=None, now=NOW, idempotency_key=None)
    return made.key.id


def limits(refused: pytest.ExceptionInfo[Any]) -> list[tuple[str, int, int]]:
    failing = refused.value.details["limits"]
    return [(each["limit"], each["remainingCredits"], each["requiredCredits"]) for each in failing]
