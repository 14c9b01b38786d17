"""Runs (budgets of one task each): how they begin and end, what they sum up, and who may see them."""

from typing import Any

import pytest

from accounting.domain.budgets import Spender
from accounting.domain.errors import (
    AccountNotFound,
    Invalid,
    RunEnded,
    RunExists,
    RunNotFound,
)
from accounting.domain.runs import LONGEST_LIFE
from accounting.domain.usage import digest
from accounting.operations import runs, sessions, settling, usage
from accounting.operations.budgets import Requester
from accounting.operations.sweep import sweep
from accounting.store import entries, keys, table
from accounting.times import DAY, HOUR
from tests.audit import assert_books_balance
from tests.integration import acme
from tests.integration.acme import ACME, BOSS, MakeUser, finalize, stream
from tests.integration.conftest import ACCOUNT, NOW


@pytest.fixture(autouse=True)
def _acme(table_name: str) -> None:
    acme.make_organization()


def test_a_run_has_the_sums_of_its_sessions_and_records(user: MakeUser) -> None:
    user("u1", 100)
    runs.begin(Spender("u1", ACCOUNT), "r1", 50, expires_at=None, metadata={"task": "t"}, now=NOW)

    for session_id, model, tokens in (("a", "m", 3_000), ("b", "m", 1_000), ("c", "n", 2_000)):
        sessions.initialize("u1", session_id, model, 5_000, now=NOW, run_id="r1")
        settling.finalize("u1", session_id, tokens, success=True, now=NOW)
    stream("swept", account_id=ACCOUNT, run_id="r1")
    sessions.heartbeat("u1", "swept", 4_000, now=NOW)
    sweep(NOW + 2 * HOUR, lambda: True)
    settling.finalize("u1", "swept", 1_000, success=True, now=NOW + 3 * HOUR)
    stream("open", account_id=ACCOUNT, run_id="r1")

    summary = runs.show(ACCOUNT, "r1", by=Requester("u1"))
    run = summary.run
    assert (run.committed, run.spent, run.sessions, run.records) == (7 + 6, 7, 5, 5)
    assert summary.by_model == {"m": 5, "n": 2}
    assert summary.metadata == {"task": "t"}
    found = usage.statistics("u1", None, None).recent
    assert sum(each.credits for each in found if each.run_id == "r1") == run.spent
    kinds = {each.kind for each in entries.page(ACCOUNT, first=1, last=99, limit=99) if each.run_id == "r1"}
    assert kinds == {"hold", "settle"}
    assert_books_balance("u1")


def test_a_stopped_run_accepts_no_new_sessions_but_its_open_sessions_settle() -> None:
    before = runs.begin(Spender("u1", ACME), "r1", 50, expires_at=None, metadata={}, now=NOW).run
    stream("s1", run_id="r1")

    stopped = runs.stop(ACME, "r1", by=Requester("u1"), now=NOW + 1)
    assert runs.stop(ACME, "r1", by=Requester("u1"), now=NOW + 2) == stopped
    with pytest.raises(RunEnded) as refused:
        stream("s2", run_id="r1")
    assert refused.value.details == {"runId": "r1", "status": "stopped"}
    assert stream("s1", run_id="r1").active, "a repeat must get the first answer"
    finalize("s1", 4_000)

    run = runs.show(ACME, "r1", by=BOSS).run
    assert (run.status(NOW), run.committed, run.spent, run.sessions, run.records) == ("stopped", 4, 4, 1, 1)
    assert before.status(NOW) == "active"


def test_a_run_expires() -> None:
    runs.begin(Spender("u1", ACME), "r1", 50, expires_at=NOW + HOUR, metadata={}, now=NOW)

    with pytest.raises(RunEnded) as refused:
        stream("s1", run_id="r1", now=NOW + HOUR)

    assert refused.value.details["status"] == "expired"
    for wrong in (NOW, NOW - 1, NOW + 367 * DAY):
        with pytest.raises(Invalid):
            runs.begin(Spender("u1", ACME), "r2", 50, expires_at=wrong, metadata={}, now=NOW)


def test_a_run_is_made_once_and_belongs_to_one_account(user: MakeUser) -> None:
    user("u1", 100)
    spender = Spender("u1", ACME)
    made = runs.begin(spender, "r1", 50, expires_at=None, metadata={}, now=NOW)

    again = runs.begin(spender, "r1", 50, expires_at=None, metadata={}, now=NOW + 5)
    assert (again.run, again.replayed) == (made.run, True)
    for other in ((spender, 51), (Spender("u2", ACME), 50)):
        with pytest.raises(RunExists):
            runs.begin(other[0], "r1", other[1], expires_at=None, metadata={}, now=NOW)
    with pytest.raises(Invalid):
        sessions.initialize("u1", "s1", "m", 5_000, now=NOW, run_id="r1")
    with pytest.raises(AccountNotFound):
        runs.begin(Spender("stranger", ACME), "r2", 50, expires_at=None, metadata={}, now=NOW)
    with pytest.raises(RunNotFound):
        runs.show(ACME, "r1", by=Requester("u2"))
    with pytest.raises(RunNotFound):
        runs.stop(ACME, "none", by=BOSS, now=NOW)
    with pytest.raises(AccountNotFound):
        runs.show(ACME, "r1", by=Requester("stranger"))
    assert runs.show(ACME, "r1", by=Requester("owner")).run == made.run
    stream("s1", run_id="r1", user_id="u2")


def test_what_a_run_spent_on_a_model_expires_but_not_before_the_run() -> None:
    end = NOW + LONGEST_LIFE
    runs.begin(Spender("u1", ACME), "r1", 50, expires_at=end, metadata={}, now=NOW)
    stream("s1", run_id="r1")
    finalize("s1", 2_000)

    whole = table.get(keys.run(ACME, "r1"))
    part = table.get(keys.run_model(ACME, "r1", digest("m")))

    assert whole is not None
    assert part is not None
    assert whole["ttl"] <= part["ttl"]


def test_a_session_that_settles_after_its_run_was_deleted_does_not_bring_the_run_back(
    dynamodb: Any, table_name: str
) -> None:
    runs.begin(Spender("u1", ACME), "r1", 50, expires_at=None, metadata={}, now=NOW)
    for session_id in ("s1", "s2", "s3"):
        stream(session_id, run_id="r1")
    key = keys.run(ACME, "r1")
    dynamodb.delete_item(TableName=table_name, Key=table.pack(key))

    finalize("s1", 2_000)

    left = table.get(key)
    assert left is not None
    assert left == {**key, "committed": -4, "spent": 2, "records": 1, "format": 1, "ttl": left["ttl"]}
    assert NOW < left["ttl"] * 1000 <= NOW + 2 * DAY
    for refused in (runs.show, runs.stop):
        with pytest.raises(RunNotFound):
            refused(ACME, "r1", by=BOSS, **({"now": NOW} if refused is runs.stop else {}))
    with pytest.raises(Invalid, match="no such run"):
        stream("s4", run_id="r1")
    with pytest.raises(Invalid, match="no such run"):
        sessions.heartbeat("u1", "s2", 9_000, now=NOW)
    again = runs.begin(Spender("u1", ACME), "r1", 60, expires_at=None, metadata={}, now=NOW)
    assert not again.replayed
    assert (again.run.limit, again.run.committed) == (60, 0)
    stream("s5", run_id="r1")
    finalize("s3", 1_000)
    assert runs.show(ACME, "r1", by=BOSS).run.committed == 6 - 5
