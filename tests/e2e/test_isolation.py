"""Nobody reaches anybody else's data: not by a session's id, a cursor, an idempotency key or a borrowed name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.books import audited, items_of
from tests.e2e.client import MODEL, Person, assert_refused, new_id

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People


@pytest.fixture
def two(people: People) -> tuple[Person, Person]:
    """Return an owner and a stranger, with some history each."""
    owner, stranger = people(credits=100), people(credits=50)
    for person in (owner, stranger):
        for _ in range(3):
            person.finalize(person.open(), 500)
    return owner, stranger


def test_somebody_elses_session_is_not_there(service: Stack, two: tuple[Person, Person]) -> None:
    owner, stranger = two
    session_id = owner.open(10_000)
    before = items_of(service, owner.id)

    for answer in (stranger.heartbeat(session_id, 1), stranger.finalize(session_id, 0), stranger.abort(session_id)):
        assert_refused(answer, 404, "SESSION_NOT_ACTIVE", "Active streaming session not found")
    assert stranger.ok("GET", "streaming-sessions/active") == []
    assert items_of(service, owner.id) == before


def test_the_same_session_id_is_another_session_of_another_user(service: Stack, two: tuple[Person, Person]) -> None:
    owner, stranger = two
    session_id = owner.open(10_000)

    stranger.open(2000, session_id=session_id)
    assert stranger.finalize(session_id, 1000).json()["actualCredits"] == 1

    assert [session["sessionId"] for session in owner.ok("GET", "streaming-sessions/active")] == [session_id]
    assert audited(service, owner).balance["heldCredits"] == 12


def test_a_cursor_opens_nobody_elses_list(people: People, two: tuple[Person, Person]) -> None:
    owner, stranger = two
    for path, key in (("credits/ledger", "entries"), ("credits/allocations", "allocations")):
        cursor = owner.ok("GET", path, params={"limit": 1}).get("nextCursor", "MTAw")
        mine = {str(each) for each in stranger.ok("GET", path)[key]}
        found = stranger.ok("GET", path, params={"cursor": cursor})[key]
        assert {str(each) for each in found} <= mine
    supervisor = people("supervisor")
    cursor = supervisor.get(f"streaming-sessions/recent/{owner.id}", limit=1).headers["x-next-cursor"]
    found = supervisor.ok("GET", f"streaming-sessions/recent/{stranger.id}", params={"cursor": cursor})
    assert {session["userId"] for session in found} <= {stranger.id}


def test_an_idempotency_key_is_its_callers_own(people: People) -> None:
    one, other, user = people("admin"), people("admin"), people()
    grant, key = {"userId": user.id, "credits": 5}, new_id("key")

    first = one.post("credits/allocate", grant, Idempotency_Key=key)
    second = other.post("credits/allocate", grant, Idempotency_Key=key)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert "idempotency-replayed" not in second.headers
    assert user.balance()["totalCredits"] == 10


def test_an_id_that_looks_like_somebodys_address_or_key_is_only_an_id(
    http: httpx.Client, token: Mint, two: tuple[Person, Person]
) -> None:
    owner, _ = two
    for name in (owner.email, f"{owner.id}#WALLET", f"USER#{owner.id}", owner.id.upper(), f"{owner.id}%20"):
        imposter = Person(http, name, token(name, email=""))
        assert imposter.balance()["totalCredits"] == 0
        assert imposter.ok("GET", "credits/ledger")["entries"] == []
        assert imposter.ok("GET", "streaming-sessions/active") == []
    assert owner.balance()["totalCredits"] == 97


def test_what_a_user_sends_as_their_own_id_is_not_believed(two: tuple[Person, Person]) -> None:
    owner, stranger = two
    before = owner.balance()

    body = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 10, "userId": owner.id}
    stranger.ok("POST", "streaming-sessions/initialize", body, headers={"X-User-Id": owner.id})
    record = {"service": "s", "operation": "o", "credits": 1, "deduct": True, "userId": owner.id}
    stranger.ok("POST", "usage/record", record)

    assert owner.balance() == before
