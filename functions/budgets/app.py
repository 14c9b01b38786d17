"""Budgets and runs: hard limits on what is spent from an account."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from http import HTTPStatus
from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from accounting.domain.budgets import Spender
from accounting.operations import budgets, runs
from accounting.operations.budgets import BudgetValues, Requester
from accounting.store import users
from accounting.times import clock, from_iso
from accounting.web.access import Access, Who
from accounting.web.api import Api, handler_of
from accounting.web.budgets import (
    BeginRun,
    BegunView,
    BudgetDeletedView,
    BudgetsView,
    BudgetView,
    RunView,
    SetBudget,
    SubjectInPath,
    SummaryView,
)
from accounting.web.paging import DEFAULT_LIMIT, Cursor, Limit, cursor_of, subject_in
from accounting.web.types import AccountInPath, IdentifierInPath, UserId

BUDGET_ACCESS = Access(Who.ACCOUNTS)
BEGIN_RUN_ACCESS = Access(Who.USERS, "sessions:write", introduce=users.introduce)
RUN_ACCESS = Access(Who.ACCOUNTS, "sessions:write")
BEGIN_RUN_RESPONSES: dict[int, OpenAPIResponse] = {
    201: {"description": "The run was made"},
    200: {"description": "The run existed already; this request changed nothing"},
}

api = Api()


@api.put(
    "/api/budgets/<account_id>/<subject>",
    access=BUDGET_ACCESS,
    codes=("ACCOUNT_NOT_FOUND", "MEMBER_NOT_FOUND", "API_KEY_NOT_FOUND", "TOO_MANY_BUDGETS"),
)
def set_budget(account_id: AccountInPath, subject: SubjectInPath, body: SetBudget) -> BudgetView:
    """Set the budget of one member or API key, or a budget for each member who has none of their own.

    A budget counts the credits that are held or charged. If only its limit changes, the count stays. If the window or
    the time zone changes, the count begins at 0. Owners and admins set the budgets of an organization. Users set the
    budgets of their own account, except those that an administrator has set.
    """
    wanted = BudgetValues(body.limit_credits, body.window, body.time_zone or "UTC", body.warn_at_percent or ())
    return BudgetView.of(budgets.put(account_id, subject, wanted, by=_requester(), now=clock()))


@api.get("/api/budgets/<account_id>", access=BUDGET_ACCESS, codes=("ACCOUNT_NOT_FOUND",))
def list_budgets(
    account_id: AccountInPath,
    user_id: Annotated[UserId | None, Query(alias="userId")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> BudgetsView:
    """List an account's budgets. Members see the budgets that limit them.

    The account's owners and admins, and the platform's administrators, see all budgets. With ``userId``, they see only
    the budgets that limit this user.
    """
    found, position = budgets.page(
        account_id, by=_requester(), user_id=user_id, after=subject_in(cursor), limit=limit, now=clock()
    )
    return BudgetsView(
        budgets=[BudgetView.of(each) for each in found], next_cursor=cursor_of(position) if position else None
    )


@api.delete(
    "/api/budgets/<account_id>/<subject>", access=BUDGET_ACCESS, codes=("ACCOUNT_NOT_FOUND", "BUDGET_NOT_FOUND")
)
def delete_budget(account_id: AccountInPath, subject: SubjectInPath) -> BudgetDeletedView:
    """Delete a budget. If the same subject gets a new budget, its count begins at 0."""
    budgets.delete(account_id, subject, by=_requester())
    return BudgetDeletedView(message="Budget deleted")


@api.post(
    "/api/runs",
    status_code=201,
    access=BEGIN_RUN_ACCESS,
    codes=("ACCOUNT_NOT_FOUND", "ORGANIZATION_CLOSED", "RUN_EXISTS"),
    responses=BEGIN_RUN_RESPONSES,
)
def begin_run(body: BeginRun) -> tuple[BegunView, int]:
    """Make a run: a limit that sessions and usage records share until the run is stopped or expires.

    A repeat with the same values answers 200 with the run as it is now.
    """
    spender = Spender(api.caller.user_id, api.caller.account(body.account_id), api.caller.key_id)
    begun = runs.begin(
        spender,
        body.run_id,
        body.limit_credits,
        expires_at=None if body.expires_at is None else from_iso(body.expires_at),
        metadata=body.metadata or {},
        now=clock(),
    )
    view = BegunView(**RunView.of(begun.run).model_dump(), replayed=begun.replayed or None)
    return view, HTTPStatus.OK if begun.replayed else HTTPStatus.CREATED


@api.get("/api/runs/<account_id>/<run_id>", access=RUN_ACCESS, codes=("ACCOUNT_NOT_FOUND", "RUN_NOT_FOUND"))
def show_run(account_id: AccountInPath, run_id: IdentifierInPath) -> SummaryView:
    """Show a run, and what it spent on each model.

    The user who made the run, the account's owners and admins, and the platform's administrators may see it.
    """
    api.caller.require_key_for(account_id)
    summary = runs.show(account_id, run_id, by=_requester())
    view = RunView.of(summary.run).model_dump()
    return SummaryView(**view, by_model=summary.by_model, metadata=summary.metadata)


@api.post("/api/runs/<account_id>/<run_id>/stop", access=RUN_ACCESS, codes=("ACCOUNT_NOT_FOUND", "RUN_NOT_FOUND"))
def stop_run(account_id: AccountInPath, run_id: IdentifierInPath) -> RunView:
    """Stop a run: it admits nothing new, and its open sessions still settle. Stopping again changes nothing."""
    api.caller.require_key_for(account_id)
    return RunView.of(runs.stop(account_id, run_id, by=_requester(), now=clock()))


def _requester() -> Requester:
    return Requester(api.caller.user_id, is_administrator=api.caller.permissions is None and api.caller.is_admin())


handler = handler_of(api)
