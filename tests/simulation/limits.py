"""Checks that the sums of budget counters and runs are right, and that nothing new exceeds a limit.

A run is the budget of one task. An active session commits its hold to its counters and its run, and an ended session
commits its charge. A usage record without a session commits its credits.
"""

from __future__ import annotations

from collections import Counter as Count
from collections import defaultdict
from collections.abc import Iterator

from accounting.domain.accounts import AccountId, organization_of
from accounting.domain.budgets import MEMBERS, Budget, Counter, Spender, of_member
from accounting.domain.runs import Run
from accounting.domain.sessions import Session
from accounting.domain.usage import UsageRecord
from accounting.store import budgets, keys, runs
from accounting.store import sessions as session_store
from accounting.store.table import Item
from tests.simulation.database import Database, Key


class Limits:
    """All counters and runs, with what sessions and usage records commit to them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._committed: dict[Key, int] = {}
        self._runs: dict[Key, Run] = {}
        self._sessions: dict[tuple[str, str], Session] = {}
        self._of_sessions: defaultdict[Key, dict[tuple[str, str], int]] = defaultdict(dict)
        self._of_records: Count[Key] = Count()
        self._in_run: defaultdict[Key, list[UsageRecord]] = defaultdict(list)
        self._sessions_in_run: Count[Key] = Count()

    def take(self, items: dict[Key, Item], records: list[UsageRecord]) -> None:
        """Add what one call to DynamoDB wrote, and check the sums and limits.

        ``records`` are the usage records among ``items``. A call writes everything or nothing, so the sums must be
        right after each call.
        """
        sessions = [session_store.from_item(item) for key, item in items.items() if key[1].startswith("SESSION#")]
        direct = [record for record in records if "sessionId" not in record.metadata]
        opened_or_raised = [self._take_session(session) for session in sessions]
        commits_more = bool(direct) or any(opened_or_raised)
        counters = {key: item["committed"] for key, item in items.items() if key[0].startswith("COUNTER#")}
        touched = {key: runs.from_item(item) for key, item in items.items() if key[1] == "RUN"}
        for record in records:
            if record.run_id is not None:
                self._in_run[_run_key(record.account_id, record.run_id)].append(record)
        for record in direct:
            if record.run_id is not None:
                self._of_records[_run_key(record.account_id, record.run_id)] += record.credits
            for key in counters:
                self._of_records[key] += record.credits
        for session in sessions if commits_more else []:
            self._check_member(session.spender)
        for key, committed in counters.items():
            assert committed == self._expected(key), f"{key} is not the sum of what sessions and records committed"
            if commits_more and committed > self._committed.get(key, 0):
                self._check_limit(key, committed, [*(each.spender for each in sessions), *map(_spender, direct)])
            self._committed[key] = committed
        for key, run in touched.items():
            self._check_run(key, run, commits_more=commits_more)
            self._runs[key] = run

    def _take_session(self, session: Session) -> bool:
        """Add a session. Return whether the call opened it or raised its hold."""
        name = session.user_id, session.session_id
        known = self._sessions.get(name)
        self._sessions[name] = session
        committed = session.allocated_credits if session.active else session.settled.credits
        for key in _keys_of(session):
            self._of_sessions[key][name] = committed
        if known is None and session.run_id is not None:
            self._sessions_in_run[_run_key(session.account_id, session.run_id)] += 1
        return session.active and (known is None or session.allocated_credits > known.allocated_credits)

    def _expected(self, key: Key) -> int:
        return sum(self._of_sessions[key].values()) + self._of_records[key]

    def _check_limit(self, key: Key, committed: int, spenders: list[Spender]) -> None:
        """Check that ``committed``, the new value of the counter ``key``, is within the current limit of its budget."""
        for spender in spenders:
            for budget in self._budgets_of(spender):
                if any(_key(budgets.counter_key(spender, each)) == key for each in _counters(budget, key)):
                    assert committed <= budget.limit, f"{key} has {committed}, more than {budget}"

    def _budgets_of(self, spender: Spender) -> Iterator[Budget]:
        for subject in (of_member(spender.user_id), MEMBERS, *spender.subjects):
            item = self._database.item(_key(keys.budget(spender.account_id, subject)))
            if item:
                yield budgets.from_item(item)

    def _check_member(self, spender: Spender) -> None:
        organization_id = organization_of(spender.account_id)
        if organization_id is not None:
            member = self._database.item(_key(keys.member(organization_id, spender.user_id)))
            assert member is not None, f"{spender} holds credits and is not a member"

    def _check_run(self, key: Key, run: Run, *, commits_more: bool) -> None:
        known = self._runs.get(key)
        records = self._in_run[key]
        assert run.committed == self._expected(key), f"committed is not the sum of a run's commitments: {run}"
        assert run.spent == sum(record.credits for record in records), f"spent is not the sum of a run's records: {run}"
        assert (run.records, run.sessions) == (len(records), self._sessions_in_run[key]), (
            f"a run counts its records or sessions wrongly: {run}"
        )
        by_model: Count[str] = Count()
        for record in records:
            by_model[str(record.model_id)] += record.credits
        by_model.pop("None", None)
        assert self._models_of(run) == dict(by_model), f"a run's models differ from its records: {run}"
        if commits_more and known is not None and run.committed > known.committed:
            assert run.committed <= run.limit, f"a run exceeds its limit: {run}"
            assert known.stopped_at is None, f"a run grew after it was stopped: {run}"

    def _models_of(self, run: Run) -> dict[str, int]:
        pk, everything = keys.run(run.account_id, run.id)["pk"], self._database.keys()
        items = (self._database.item(key) for key in everything if key[0] == pk and key[1] != "RUN")
        return {item["model"]: item["spent"] for item in items if item}


def _keys_of(session: Session) -> Iterator[Key]:
    for counter in session.counters:
        yield _key(budgets.counter_key(session.spender, counter))
    if session.run_id is not None:
        yield _run_key(session.account_id, session.run_id)


def _counters(budget: Budget, key: Key) -> Iterator[Counter]:
    """Yield the counter of a budget in the window of ``key``, if ``key`` is a counter of this budget."""
    begun, window = key[0].split("#")[1:3]
    if int(begun) == budget.begun:
        yield Counter("key" if budget.subject.startswith("key:") else "member", int(begun), window)


def _spender(record: UsageRecord) -> Spender:
    return Spender(record.user_id, record.account_id, record.key_id, record.run_id)


def _run_key(account_id: AccountId, run_id: str) -> Key:
    return _key(keys.run(account_id, run_id))


def _key(key: keys.Key) -> Key:
    return key["pk"], key["sk"]
