"""How many credits a command may **commit** (hold or charge), and the writes that count them in budgets and runs.

A command writes the wallet, the budgets' counters and the run in one transaction. The values that the command has read
may be old, so only the conditions of these writes guarantee that the credits fit. A **bound** is the limit of one
budget or of the run, and **room** is what the balance and all bounds allow.
"""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from accounting.domain import wallet as decisions
from accounting.domain.budgets import Allowance, Bound, Counter, Room, Spender
from accounting.domain.errors import BudgetExceeded, InsufficientCredits
from accounting.domain.pricing import Estimate, affordable, hold_for
from accounting.domain.runs import Run
from accounting.operations.commit import Snapshot
from accounting.settings import settings
from accounting.store import allowances, budgets, runs
from accounting.store.stale import StaleRead
from accounting.store.table import Write
from accounting.telemetry import count, logger
from accounting.times import iso

NO_SUMS: Mapping[str, int] = MappingProxyType({})


def read(spender: Spender) -> Snapshot:
    """The wallet, and what limits the spender."""
    wallet, allowance = allowances.read(spender)
    return Snapshot(wallet, allowance=allowance)


def reader(spender: Spender, now: int) -> Callable[[], Snapshot]:
    """A function that does what ``read`` does and, from its second call on, also reads the budgets' counters.

    The function is called again after a conflict, when other commands spend at the same time. If the counters show that
    a limit is reached, the command can be refused without another conflict.
    """
    first = True

    def read_again() -> Snapshot:
        nonlocal first
        snapshot, again = read(spender), not first
        first = False
        if again and snapshot.allowance.budgets and not snapshot.allowance.refusal:
            counted = allowances.with_current_counters(snapshot.allowance, snapshot.allowance.bounds(now))
            return snapshot._replace(allowance=counted)
        return snapshot

    return read_again


def read_with_session(spender: Spender, session_id: str) -> Snapshot:
    """The wallet, what limits the spender, and the session."""
    wallet, allowance, session = allowances.read_with_session(spender, session_id)
    return Snapshot(wallet, session, allowance)


def admit(snapshot: Snapshot, now: int) -> None:
    """Raise an error if the spender may not commit any credits.

    ``allowance.refusal`` comes first, so that a spender who may not see the account learns nothing about it.
    """
    allowance = snapshot.allowance
    if allowance.refusal:
        raise allowance.refusal
    decisions.require_enabled(snapshot.wallet)
    if allowance.run:
        allowance.run.require_active(now)


def room_for(
    wanted: int, snapshot: Snapshot, *, now: int, at: int | None = None, stored: Collection[Counter] | None = None
) -> Room:
    """How many credits can be committed now. ``at`` is when the session or usage record began; None means now.

    The counters in the snapshot may be old. If they leave less than ``wanted``, the current counters are read, so that
    a refusal names exactly the limits that ``wanted`` exceeds. ``stored`` is as in ``Allowance.bounds``. Raises
    what ``admit`` raises.
    """
    admit(snapshot, now)
    allowance, began_at = snapshot.allowance, now if at is None else at
    bounds = allowance.bounds(began_at, stored)
    room = Room(snapshot.wallet.spendable(now), snapshot.wallet.held, bounds)
    if bounds and wanted > room.credits:
        allowance = allowances.with_current_counters(allowance, bounds)
        room = room._replace(bounds=allowance.bounds(began_at, stored))
    return room


def refusal(room: Room, required: int, **details: Any) -> InsufficientCredits | BudgetExceeded:
    """The error to raise if ``required`` exceeds the room. The error names each limit that ``required`` exceeds."""
    failed = [
        {"limit": bound.name, "remainingCredits": bound.remaining, "requiredCredits": required}
        | ({} if bound.ends_at is None else {"resetsAt": iso(bound.ends_at)})
        for bound in room.bounds
        if required > bound.remaining
    ]
    if required > room.available:
        balance = {"limit": "balance", "remainingCredits": room.available, "requiredCredits": required}
        return InsufficientCredits(required, room.available, room.held, limits=[balance, *failed], **details)
    return BudgetExceeded(required, room.credits, limits=failed, **details)


def hold_in(room: Room, estimate: Estimate) -> int:
    """The credits that a session holds for its estimate. Raises InsufficientCredits or BudgetExceeded."""
    percent, reduce = settings().hold_buffer_percent, settings().reduce_short_holds
    wanted = hold_for(estimate.credits, room.credits, percent=percent, reduce=reduce)
    if wanted > room.credits:
        most = affordable(room.credits, percent=percent, reduce=reduce)
        raise refusal(room, wanted, **estimate.affordable(most))
    return wanted


def commitments(
    allowance: Allowance,
    bounds: Collection[Bound],
    credits: int,
    now: int,
    *,
    stored: Collection[Counter] = (),
    in_run: Mapping[str, int] = NO_SUMS,
) -> list[Write]:
    """The writes that count ``credits`` in the counter of each bound, and in the run.

    ``stored`` are the counters that the session stores. The credits are also added to each of these that no longer
    belongs to a bound, without a condition. ``in_run`` has what to add to the run's counts of sessions, records and
    tokens. A refused write raises StaleRead with the allowance as it is now.
    """
    spender, writes = allowance.spender, list[Write]()
    for bound in bounds:
        if bound.counter:
            writes.append(budgets.commit(spender, bound, credits, _stale_counter(allowance, bound.counter)))
    bounded = {bound.counter for bound in bounds}
    writes += budgets.add(spender, [counter for counter in stored if counter not in bounded], credits, now)
    if allowance.run:

        def ended_or_full(newer: Run) -> StaleRead:
            return StaleRead(allowance=allowance._replace(run=newer))

        writes.append(runs.commit(allowance.run, credits, ended_or_full, in_run))
    return writes


def warn(spender: Spender, bounds: Collection[Bound], credits: int) -> None:
    """Log a warning for each bound that reached a new warning level when ``credits`` were committed.

    If a bound reached several levels at once, only the highest is logged.
    """
    for bound in bounds:
        level = bound.level_reached(credits)
        if level is not None:
            count("BudgetWarnings")
            logger.warning(
                "a budget has reached a warning level",
                account_id=spender.account_id,
                budget=bound.name,
                user_id=spender.user_id,
                level_credits=level,
                limit_credits=bound.limit,
            )


def _stale_counter(allowance: Allowance, counter: Counter) -> Callable[[int, int], StaleRead]:
    return lambda committed, warned: StaleRead(
        allowance=allowance.with_counters({counter: committed}, {counter: warned})
    )
