"""A run (the budget of one task) over HTTP, from its beginning to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.client import MODEL, assert_refused, new_id

if TYPE_CHECKING:
    from tests.e2e.conftest import People


def session_in(run_id: str) -> dict[str, Any]:
    """A request for a session in the run. A session for 1,000 tokens holds 2 credits."""
    return {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 1_000, "runId": run_id}


def test_a_run_limits_its_spending_and_accepts_nothing_new_once_it_is_stopped(people: People) -> None:
    person = people(credits=100)
    run_id = new_id("run")
    account = f"user:{person.id}"
    begin = {"runId": run_id, "limitCredits": 5, "metadata": {"task": "research"}}

    assert person.post("runs", begin).status_code == 201
    repeated = person.post("runs", begin)
    assert (repeated.status_code, repeated.json()["replayed"]) == (200, True)
    assert_refused(person.post("runs", {**begin, "limitCredits": 6}), 409, "RUN_EXISTS")
    assert_refused(person.get(f"runs/{account}/{new_id('run')}"), 404, "RUN_NOT_FOUND")

    first, second = session_in(run_id), session_in(run_id)
    for request in (first, second):
        assert person.post("streaming-sessions/initialize", request).status_code == 201
    details = assert_refused(person.post("streaming-sessions/initialize", session_in(run_id)), 402, "BUDGET_EXCEEDED")
    assert details["limits"] == [{"limit": f"run:{run_id}", "remainingCredits": 1, "requiredCredits": 2}]
    record = {"service": "search", "operation": "query", "credits": 1, "deduct": True, "runId": run_id}
    assert person.post("usage/record", record).status_code == 201

    assert person.post(f"runs/{account}/{run_id}/stop").json()["status"] == "stopped"
    assert person.post(f"runs/{account}/{run_id}/stop").json()["status"] == "stopped"
    assert_refused(person.post("streaming-sessions/initialize", session_in(run_id)), 409, "RUN_ENDED")
    assert_refused(person.post("usage/record", record), 409, "RUN_ENDED")
    assert person.finalize(first["sessionId"], 1_000).json()["actualCredits"] == 1
    assert person.abort(second["sessionId"], tokensGenerated=0).is_success

    summary = person.ok("GET", f"runs/{account}/{run_id}")
    records = person.ok("GET", "usage/stats")
    assert summary["spentCredits"] == summary["committedCredits"] == records["totalCredits"] == 2
    assert (summary["sessions"], summary["records"], summary["remainingCredits"]) == (2, 3, 3)
    assert summary["byModel"] == {MODEL: 1}
    assert summary["metadata"] == {"task": "research"}
