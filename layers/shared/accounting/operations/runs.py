"""A run is a limit that sessions and usage records of one account share until the run is stopped or expires."""

from typing import Any, NamedTuple

from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId
from accounting.domain.budgets import Spender
from accounting.domain.errors import RunExists, RunNotFound
from accounting.domain.runs import Run, end_of
from accounting.operations.budgets import Requester, membership
from accounting.operations.commit import retry_conflicts
from accounting.store import allowances
from accounting.store import runs as store
from accounting.store.table import transact


class BegunRun(NamedTuple):
    """A run, and whether the request to make it is a repeat."""

    run: Run
    replayed: bool = False


class Summary(NamedTuple):
    """A run, what it spent on each model, and the metadata that its maker sent."""

    run: Run
    by_model: dict[str, int]
    metadata: dict[str, Any]


def begin(
    spender: Spender, run_id: str, limit: int, *, expires_at: int | None, metadata: dict[str, Any], now: int
) -> BegunRun:
    """Make a run whose held and charged credits may add up to ``limit``. By default, it expires after 30 days.

    A repeat gets the run as it is now. Raises AccountNotFound if the user may not spend from the account. Raises
    RunExists if the account has a run with this id and other values. Also raises UserDisabled, OrganizationClosed,
    Invalid, Contention.
    """
    wallet, allowance = allowances.read(spender._replace(run_id=None))
    if allowance.refusal:
        raise allowance.refusal
    decisions.require_enabled(wallet)
    known = store.find(spender.account_id, run_id)
    if known is None:
        ends_at = end_of(expires_at, now)
        made = Run(spender.account_id, run_id, spender.user_id, limit, now, ends_at, has_metadata=bool(metadata))
        try:
            retry_conflicts(lambda: transact(store.open_new(made, metadata)))
        except store.RunTaken as taken:
            known = taken.run
        else:
            return BegunRun(made)
    if not known.same_request(spender.user_id, limit, expires_at):
        raise RunExists("A run with this id has different values", runId=run_id)
    return BegunRun(known, replayed=True)


def show(account_id: AccountId, run_id: str, *, by: Requester) -> Summary:
    """Raises AccountNotFound, and RunNotFound if there is no such run or ``by`` may not see it."""
    run, by_model = store.with_models(account_id, run_id)
    known = _visible(run, account_id, run_id, by)
    return Summary(known, by_model, store.metadata_of(known))


def stop(account_id: AccountId, run_id: str, *, by: Requester, now: int) -> Run:
    """Stop a run. It admits nothing new, but its open sessions still settle. A repeat changes nothing.

    Raises as ``show`` does.
    """
    _visible(store.find(account_id, run_id), account_id, run_id, by)
    stopped = store.stop(account_id, run_id, now)
    if stopped is None:
        raise RunNotFound("Run not found", runId=run_id)
    return stopped


def _visible(run: Run | None, account_id: AccountId, run_id: str, by: Requester) -> Run:
    """The run, if ``by`` may see it. A member who does not manage the account sees only the runs that they made.

    Raises as ``show`` does.
    """
    member = membership(account_id, by)
    if run is None or (member is not None and not member.manages and run.user_id != by.user_id):
        raise RunNotFound("Run not found", runId=run_id)
    return run
