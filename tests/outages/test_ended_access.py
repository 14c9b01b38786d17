"""A caller loses access if they leave the organization or are disabled, or if their API key is revoked.

30 seconds later, the caller cannot begin anything new. Their open sessions are still settled on the organization's
account, and the organization's statistics keep their usage.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.client import MODEL, Person, assert_refused, at_once, described, new_id, statuses, with_key
from tests.outages.late import LATE_SECONDS, sleep_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.e2e.conftest import People

CONCURRENT_CALLS = 6
"""Enough calls at once to reach several processes of each function. Every process has its own cache of callers."""
ONE_BURST = threading.Lock()
"""Held during a burst of CONCURRENT_CALLS requests, because the tests run in parallel. Overlapping bursts would start
more processes of a function than a single burst reaches."""


@dataclass(frozen=True)
class KeyHolder(Person):
    """A user who sends an API key instead of the token."""

    key: str

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> httpx.Response:
        return with_key(self.http, method, path, self.key, body)


def initialize(person: Person, account: str) -> httpx.Response:
    session = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 1000, "accountId": account}
    return person.post("streaming-sessions/initialize", session)


def charge(person: Person, account: str) -> httpx.Response:
    event = {"service": "images", "operation": "draw", "credits": 1, "deduct": True, "accountId": account}
    return person.post("usage/record", event)


def record(person: Person, account: str) -> httpx.Response:
    event = {"service": "images", "operation": "draw", "credits": 1, "deduct": False, "accountId": account}
    return person.post("usage/record", event)


def begin_run(person: Person, account: str) -> httpx.Response:
    return person.post("runs", {"runId": new_id("run"), "limitCredits": 5, "accountId": account})


SPENDING = (initialize, charge, record, begin_run)


@pytest.mark.waits
@pytest.mark.parametrize(
    ("ending", "refusal"),
    [
        ("leaves", (404, "ACCOUNT_NOT_FOUND")),
        ("is disabled", (403, "USER_DISABLED")),
        ("revokes the key", (401, "API_KEY_INVALID")),
    ],
)
def test_a_caller_who_lost_access_can_begin_nothing_new_but_their_open_session_is_settled(
    admin: Person, people: People, ending: str, refusal: tuple[int, str]
) -> None:
    owner, member = people(), people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})
    account, membership = made["accountId"], f"organizations/{made['organizationId']}/members/{member.id}"
    owner.ok("PUT", membership, {"role": "member"})
    admin.ok("POST", "credits/allocate", {"accountId": account, "credits": 1000})
    wanted = {"name": "ci", "permissions": ["sessions:write", "usage:write"], "accountId": account}
    key = member.ok("POST", "api-keys", wanted)
    holder = KeyHolder(member.http, member.id, member.token, key["key"])
    callers: list[Person] = [holder] if ending == "revokes the key" else [member, holder]
    spending = [partial(spend, caller, account) for caller in callers for spend in SPENDING]
    for spend in spending:
        assert statuses(_at_once(spend)) == {201: CONCURRENT_CALLS}
    open_session = initialize(holder, account).json()["sessionId"]

    if ending == "leaves":
        member.ok("DELETE", membership)
    elif ending == "is disabled":
        admin.ok("POST", f"users/{member.id}/disable")
    else:
        member.ok("POST", f"api-keys/{key['id']}/revoke")
    deadline = time.monotonic() + LATE_SECONDS

    for spend in spending:
        _wait_until_refused(spend, deadline)
    sleep_until(deadline)
    before = owner.ok("GET", "credits/ledger", params={"accountId": account})["entries"]
    heartbeats = [partial(caller.heartbeat, open_session, 90_000) for caller in callers]
    for answer in (answer for spend in (*spending, *heartbeats) for answer in _at_once(spend)):
        assert_refused(answer, *refusal)
    assert owner.ok("GET", "credits/ledger", params={"accountId": account})["entries"] == before

    settled = member.finalize(open_session, 900, accountId=account)
    assert settled.json()["actualCredits"] == 1, described(settled)
    newest = owner.ok("GET", "credits/ledger", params={"accountId": account, "limit": 1})["entries"][0]
    assert (newest["kind"], newest["actor"], newest["sessionId"]) == ("settle", member.id, open_session)
    assert newest["charged"] == 1
    used = owner.ok("GET", "usage/stats", params={"accountId": account, "userId": member.id})
    assert used["totalCredits"] >= 1 + 2 * CONCURRENT_CALLS * len(callers)
    assert admin.ok("GET", f"credits/audit/{account}")["intact"]


def _at_once(spend: Callable[[], httpx.Response]) -> list[httpx.Response]:
    return _burst(spend)[1]


def _burst(spend: Callable[[], httpx.Response]) -> tuple[float, list[httpx.Response]]:
    """Send CONCURRENT_CALLS requests at the same moment; return that moment and the answers."""
    with ONE_BURST:
        return time.monotonic(), at_once(CONCURRENT_CALLS, lambda _: spend())


def _wait_until_refused(spend: Callable[[], httpx.Response], deadline: float) -> None:
    """Repeat the burst until all of its requests are refused. Fail if one that began after the deadline is not."""
    while True:
        began, answers = _burst(spend)
        if not any(answer.is_success for answer in answers):
            return
        assert began < deadline, f"still accepted after {LATE_SECONDS} seconds"
        time.sleep(1)
