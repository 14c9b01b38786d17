"""Concurrent requests under the limits of a wallet, a budget and a run: the tightest limit decides how many succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.client import MODEL, assert_refused, at_once, new_id, statuses
from tests.e2e.test_races import CLIENTS, warm

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.e2e.client import Person
    from tests.e2e.conftest import People

__all__ = ["warm"]

PRICE = 2
"""The credits that each call takes: the hold for a thousand tokens, or the cost of a usage record."""

WALLET, BUDGET, RUN = 10, 6, 4
"""How many calls each limit covers."""

type Call = Callable[[Person, dict[str, Any]], httpx.Response]


def initialize(person: Person, payer: dict[str, Any]) -> httpx.Response:
    body = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 1000}
    return person.post("streaming-sessions/initialize", body | payer)


def record(person: Person, payer: dict[str, Any]) -> httpx.Response:
    body = {"service": "images", "operation": "draw", "credits": PRICE, "deduct": True}
    return person.post("usage/record", body | payer)


@pytest.mark.parametrize(
    ("call", "kind", "tightest", "covers"),
    [
        (initialize, "hold", "run", RUN),
        (record, "charge", "member", BUDGET),
        pytest.param(initialize, "hold", "member", BUDGET, marks=pytest.mark.slow),
        pytest.param(initialize, "hold", "balance", WALLET, marks=pytest.mark.slow),
        pytest.param(record, "charge", "run", RUN, marks=pytest.mark.slow),
        pytest.param(record, "charge", "balance", WALLET, marks=pytest.mark.slow),
    ],
)
def test_32_requests_get_exactly_what_the_tightest_limit_covers(
    admin: Person, people: People, call: Call, kind: str, tightest: str, covers: int
) -> None:
    owner, member = people(), people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})
    account = made["accountId"]
    owner.ok("PUT", f"organizations/{made['organizationId']}/members/{member.id}", {"role": "member"})
    admin.ok("POST", "credits/allocate", {"accountId": account, "credits": PRICE * WALLET})
    if tightest != "balance":
        budget = {"limitCredits": PRICE * BUDGET, "window": "month"}
        owner.ok("PUT", f"budgets/{account}/member:{member.id}", budget)
    payer = {"accountId": account}
    if tightest == "run":
        member.ok("POST", "runs", {**payer, "runId": "r1", "limitCredits": PRICE * RUN})
        payer["runId"] = "r1"

    answers = at_once(CLIENTS, lambda _: call(member, payer))

    assert statuses(answers) == {201: covers, 402: CLIENTS - covers}
    name = {"run": "run:r1", "member": f"member:{member.id}", "balance": "balance"}[tightest]
    code = "INSUFFICIENT_CREDITS" if tightest == "balance" else "BUDGET_EXCEEDED"
    for answer in answers:
        if answer.status_code == 402:
            (limit,) = assert_refused(answer, 402, code)["limits"]
            assert (limit["limit"], limit["requiredCredits"]) == (name, PRICE)
            assert limit["remainingCredits"] < PRICE
    committed = PRICE * covers
    balance = owner.ok("GET", "credits/balance", params={"accountId": account})
    held = committed if kind == "hold" else 0
    assert (balance["totalCredits"], balance["heldCredits"]) == (PRICE * WALLET - committed, held)
    entries = owner.ok("GET", "credits/ledger", params={"accountId": account})["entries"]
    assert [entry["kind"] for entry in entries] == [kind] * covers + ["grant"]
    assert {entry["actor"] for entry in entries[:covers]} == {member.id}
    assert admin.ok("GET", f"credits/audit/{account}")["intact"]
    if tightest != "balance":
        (budget,) = owner.ok("GET", f"budgets/{account}")["budgets"]
        assert (budget["committedCredits"], budget["remainingCredits"]) == (committed, PRICE * BUDGET - committed)
    if tightest == "run":
        run = member.ok("GET", f"runs/{account}/r1")
        sums = (run["committedCredits"], run["sessions"] + run["records"])
        assert sums == (committed, covers)
