"""The second part of `make demo`: a team that shares one balance, and an agent whose run reaches its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local.demo_caller import new_id, new_session_id, title

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.demo_caller import Caller

MODEL = "anthropic.claude-3-sonnet-20240229-v1:0"
GRANT = 1_000
MEMBER_LIMIT = 200
RUN_LIMIT = 50
STEP_OUTPUT_TOKENS = 5_000


def show_team(admin: Caller, newcomer: Callable[[str], Caller]) -> None:
    """Show a team of three and an agent's run. ``newcomer`` returns a caller for a new user with the given name."""
    title("A team of three shares one balance: an owner, a member, and an agent")
    ada, grace, agent = newcomer("ada"), newcomer("grace"), newcomer("agent")
    for person in (ada, grace, agent):
        print(person.get("/api/users/me")["userId"], "is known to the service")
    made = admin.post("/api/organizations", {"name": "Acme", "ownerId": ada.sub}, expect=201)
    print(f"{made['name']} has the account {made['accountId']}")
    members = f"/api/organizations/{made['organizationId']}/members"
    for person in (grace, agent):
        ada.call("PUT", f"{members}/{person.sub}", {"role": "member"})
        print(f"{person.sub} may spend from the account")
    grant = {"accountId": made["accountId"], "credits": GRANT, "notes": "Bought for the team"}
    print(admin.post("/api/credits/allocate", grant, expect=201)["message"])
    _budget(ada, grace, made["accountId"])
    _run(ada, agent, made["accountId"])


def _budget(ada: Caller, grace: Caller, account_id: str) -> None:
    title(f"The owner limits a member to {MEMBER_LIMIT} credits a month; a stream beyond that is refused")
    budget = {"limitCredits": MEMBER_LIMIT, "window": "month", "timeZone": "Europe/Vienna"}
    stored = ada.call("PUT", f"/api/budgets/{account_id}/member:{grace.sub}", budget)
    print(f"{stored['limitCredits']} credits until {stored['resetsAt']}")
    large = _session(account_id, 20 * STEP_OUTPUT_TOKENS)
    refusal = grace.post("/api/streaming-sessions/initialize", large, expect=402)
    (limit,) = refusal["details"]["limits"]
    print(f"{refusal['code']}: {limit['requiredCredits']} needed, {limit['remainingCredits']} left of {limit['limit']}")


def _run(ada: Caller, agent: Caller, account_id: str) -> None:
    title("An agent works in a run of its own, step by step, until the run's limit is reached")
    run_id = new_id()
    agent.post("/api/runs", {"runId": run_id, "limitCredits": RUN_LIMIT, "accountId": account_id}, expect=201)
    print(f"{RUN_LIMIT} credits for all of its steps")
    for _step in range(2):
        session = _session(account_id, STEP_OUTPUT_TOKENS, run_id)
        held = agent.post("/api/streaming-sessions/initialize", session, expect=201)["allocatedCredits"]
        print(f"{held} credits held")
        done = {"sessionId": session["sessionId"], "usage": {"inputTokens": 200, "outputTokens": STEP_OUTPUT_TOKENS}}
        used = agent.post("/api/streaming-sessions/finalize", {**done, "accountId": account_id})["actualCredits"]
        print(f"{used} credits used")
    refusal = agent.post(
        "/api/streaming-sessions/initialize", _session(account_id, 4 * STEP_OUTPUT_TOKENS, run_id), expect=402
    )
    print(f"{refusal['code']}: {', '.join(limit['limit'] for limit in refusal['details']['limits'])}")
    ada.post(f"/api/runs/{account_id}/{run_id}/stop", {})
    print("The owner stopped the run")
    summary = ada.get(f"/api/runs/{account_id}/{run_id}")
    print(f"{summary['status']}: {summary['spentCredits']} credits in {summary['sessions']} sessions")
    print(f"{ada.get(f'/api/credits/balance?accountId={account_id}')['totalCredits']} credits left for the team")


def _session(account_id: str, output_tokens: int, run_id: str | None = None) -> dict[str, object]:
    estimate = {"inputTokens": 200, "outputTokens": output_tokens}
    session: dict[str, object] = {"sessionId": new_session_id(), "modelId": MODEL, "estimatedUsage": estimate}
    return session | {"accountId": account_id} | ({"runId": run_id} if run_id else {})
