"""Each step of a session counts once in the wallet, the budget and the run, even after conflicts or lost answers."""

import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest

from accounting.domain.accounts import stored
from accounting.domain.budgets import Spender
from accounting.domain.errors import Unavailable
from accounting.operations import budgets, credits, runs, sessions, settling, usage
from accounting.operations.budgets import BudgetValues, Requester
from accounting.operations.credits import Request
from accounting.operations.usage import Event
from accounting.store.table import wire as wire_module
from tests.audit import assert_books_balance
from tests.calls import the_wire
from tests.faults import Fault, Faults, answer_lost, cancelled
from tests.integration.conftest import NOW
from tests.members import organization_with

ACME = stored("org:acme")
BOSS = Requester("boss", is_administrator=True)
TRANSACT = "TransactWriteItems"
LOST_FOR_GOOD = (answer_lost,) * 3
"""The store sends a transaction at most three times, so the caller gets no answer if three answers are lost."""


@pytest.fixture
def wire(table_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The store's connection to DynamoDB. Tests can make it fail. It repeats failed requests without pauses.

    The organization's member u1 has a budget of 20 credits and a run of 20 credits.
    """
    monkeypatch.setattr(wire_module, "time", SimpleNamespace(**vars(time) | {"sleep": lambda _seconds: None}))
    organization_with(ACME, "u1", now=NOW)
    credits.allocate(Request("boss", "", "", 365, NOW, account_id=ACME), 100)
    budgets.put(ACME, "member:u1", BudgetValues(20, "month"), by=BOSS, now=NOW)
    runs.begin(Spender("u1", ACME), "r1", 20, expires_at=None, metadata={}, now=NOW)
    with Faults.of(the_wire()) as between:
        yield between


def assert_counted(committed: int, spent: int, opened: int, records: int) -> None:
    """Check that the member's budget and the run have these counts, and that the account's books balance."""
    ((budget,), _) = budgets.page(ACME, by=BOSS, user_id=None, after=None, limit=9, now=NOW)
    run = runs.show(ACME, "r1", by=BOSS).run
    assert (budget.committed, run.committed) == (committed, committed)
    assert (run.spent, run.sessions, run.records) == (spent, opened, records)
    wallet = assert_books_balance("u1", ACME)
    assert (wallet.held, wallet.charged) == (committed - spent, spent)


@pytest.mark.parametrize(
    "faults",
    [
        (answer_lost,),
        (answer_lost,) * 2,
        LOST_FOR_GOOD,
        (cancelled("TransactionConflict"),) * 4,
        (cancelled("ThrottlingError"),) * 2,
        (answer_lost, cancelled("TransactionConflict")),
    ],
    ids=["lost", "lost twice", "lost for good", "conflicts", "throttled", "lost and then a conflict"],
)
def test_each_step_of_a_session_counts_once(wire: Faults, faults: tuple[Fault, ...]) -> None:
    initialize = partial(sessions.initialize, "u1", "s1", "m", 5_000, now=NOW, account_id=ACME, run_id="r1")
    steps = (  # with the counts after each step: committed, spent, sessions, records
        (initialize, (6, 0, 1, 0)),
        (partial(sessions.heartbeat, "u1", "s1", 9_000, now=NOW), (11, 0, 1, 0)),
        (partial(settling.finalize, "u1", "s1", 8_000, success=True, now=NOW, account_id=ACME), (8, 8, 1, 1)),
    )
    for step, counted in steps:
        wire.fail(TRANSACT, *faults)

        with suppress(Unavailable):  # the caller does not know whether the step took effect, and repeats it
            step()
        step()

        assert wire.exhausted
        assert_counted(*counted)


def test_a_charge_whose_answer_was_lost_counts_once(wire: Faults) -> None:
    wire.fail(TRANSACT, answer_lost, answer_lost)

    usage.record(Event("u1", "images", "draw", 5, {}, deduct=True, account_id=ACME, run_id="r1"), now=NOW, key=None)

    assert wire.exhausted
    assert_counted(5, 5, 0, 1)
