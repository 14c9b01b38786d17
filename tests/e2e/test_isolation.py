"""No user reaches another user's data with a session id, cursor, idempotency key, user id or e-mail address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.e2e.books import audited, items_of
from tests.e2e.client import MODEL, Person, assert_refused, described, new_id

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People


@pytest.fixture
def owner_and_stranger(people: People) -> tuple[Person, Person]:
    """Return an owner and a stranger, both with some history."""
    owner, stranger = people(credits=100), people(credits=50)
    for person in (owner, stranger):
        for _ in range(3):
            person.finalize(person.open(), 500)
    return owner, stranger


def test_another_users_session_is_not_found(service: Stack, owner_and_stranger: tuple[Person, Person]) -> None:
    owner, stranger = owner_and_stranger
    session_id = owner.open(10_000)
    before = items_of(service, owner.id)

    for answer in (stranger.heartbeat(session_id, 1), stranger.finalize(session_id, 0), stranger.abort(session_id)):
        assert_refused(answer, 404, "SESSION_NOT_ACTIVE", "Active streaming session not found")
    assert stranger.ok("GET", "streaming-sessions/active") == []
    assert items_of(service, owner.id) == before


def test_the_same_session_id_means_another_session_for_another_user(
    service: Stack, owner_and_stranger: tuple[Person, Person]
) -> None:
    owner, stranger = owner_and_stranger
    session_id = owner.open(10_000)

    stranger.open(2000, session_id=session_id)
    assert stranger.finalize(session_id, 1000).json()["actualCredits"] == 1

    assert [session["sessionId"] for session in owner.ok("GET", "streaming-sessions/active")] == [session_id]
    assert audited(service, owner).balance["heldCredits"] == 12


def test_a_cursor_does_not_open_another_users_list(people: People, owner_and_stranger: tuple[Person, Person]) -> None:
    owner, stranger = owner_and_stranger
    for path, key in (("credits/ledger", "entries"), ("credits/allocations", "allocations")):
        cursor = owner.ok("GET", path, params={"limit": 1}).get("nextCursor", "MTAw")
        mine = {str(each) for each in stranger.ok("GET", path)[key]}
        found = stranger.ok("GET", path, params={"cursor": cursor})[key]
        assert {str(each) for each in found} <= mine
    supervisor = people("supervisor")
    cursor = supervisor.get(f"streaming-sessions/recent/{owner.id}", limit=1).headers["x-next-cursor"]
    found = supervisor.ok("GET", f"streaming-sessions/recent/{stranger.id}", params={"cursor": cursor})
    assert {session["userId"] for session in found} <= {stranger.id}


def test_the_same_idempotency_key_means_another_request_for_another_caller(people: People) -> None:
    one, other, user = people("admin"), people("admin"), people()
    grant, key = {"userId": user.id, "credits": 5}, new_id("key")

    first = one.post("credits/allocate", grant, Idempotency_Key=key)
    second = other.post("credits/allocate", grant, Idempotency_Key=key)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert "idempotency-replayed" not in second.headers
    assert user.balance()["totalCredits"] == 10


def test_a_user_id_that_looks_like_an_address_or_an_item_key_is_only_an_id(
    http: httpx.Client, token: Mint, owner_and_stranger: tuple[Person, Person]
) -> None:
    owner, _ = owner_and_stranger
    for name in (
        owner.email,
        f"{owner.id}#WALLET",
        f"USER#{owner.id}",
        f"ACCOUNT#user:{owner.id}",
        f"user:{owner.id}",
        owner.id.upper(),
        f"{owner.id}%20",
    ):
        imposter = Person(http, name, token(name, email=""))
        assert imposter.balance()["totalCredits"] == 0
        assert imposter.ok("GET", "credits/ledger")["entries"] == []
        assert imposter.ok("GET", "streaming-sessions/active") == []
    assert owner.balance()["totalCredits"] == 97


def without_user(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "userId"}


def test_a_user_id_in_the_body_or_a_header_does_not_change_who_the_caller_is(
    owner_and_stranger: tuple[Person, Person],
) -> None:
    owner, stranger = owner_and_stranger
    before = owner.balance()

    body = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 10, "userId": owner.id}
    assert_refused(stranger.post("streaming-sessions/initialize", body), 400, "VALIDATION_ERROR")
    stranger.ok(
        "POST", "streaming-sessions/initialize", without_user(body), headers={"X-User-Id": owner.id, "userId": owner.id}
    )
    record = {"service": "s", "operation": "o", "credits": 1, "deduct": True, "userId": owner.id}
    assert_refused(stranger.post("usage/record", record), 400, "VALIDATION_ERROR")
    stranger.ok("POST", "usage/record", without_user(record), headers={"X-User-Id": owner.id})
    beat = {"sessionId": body["sessionId"], "tokensGenerated": 5, "userId": owner.id}
    assert stranger.ok("POST", "streaming-sessions/heartbeat", beat)["ignored"] == ["userId"]

    assert owner.balance() == before


def test_a_user_who_asks_by_their_own_address_sees_only_their_own_data(people: People) -> None:
    """The address now belongs to a newer user."""
    now = int(time.time())
    address = f"{new_id('moved')}@example.com"
    old = people(email=address, iat=now - 100)
    new = people(email=address, iat=now - 10)
    new.ok("POST", "usage/record", {"service": "s", "operation": "o", "credits": 7, "metadata": {"prompt": "private"}})

    for path in ("users", "usage/stats", "credits/allocations", "streaming-sessions/active"):
        for spelled in (address, address.upper(), quote(address, safe="")):
            answer = old.get(f"{path}/{spelled}")
            assert answer.status_code == 200, described(answer)
            assert "private" not in answer.text
            assert new.id not in answer.text
    assert old.ok("GET", f"users/{address}")["userId"] == old.id


def test_a_user_whose_email_is_another_users_id_gets_nothing_of_that_user(
    http: httpx.Client, token: Mint, people: People
) -> None:
    plain, address = people(), new_id("id") + "@example.com"
    with_address = Person(http, address, token(address, email=None))
    with_address.balance()
    for victim in (plain, with_address):
        victim.ok("POST", "usage/record", {"service": "private", "operation": "o", "credits": 1})
        imposter = people(email=victim.id)
        for path in ("users", "usage/stats", "credits/allocations", "streaming-sessions/active"):
            answer = imposter.get(f"{path}/{victim.id}")
            assert answer.status_code in (200, 403), described(answer)
            assert "private" not in answer.text
            assert answer.json() == [] or answer.json().get("userId", imposter.id) == imposter.id
        administrator = people("admin", email=victim.id)
        assert administrator.ok("POST", "credits/allocate", {"userId": plain.id, "credits": 1})["userId"] == plain.id


def test_a_user_whose_id_is_another_users_address_gets_nothing_of_that_user(
    http: httpx.Client, token: Mint, people: People, admin: Person
) -> None:
    owner = people()
    imposter = Person(http, owner.email, token(owner.email, email=None))
    imposter.balance()

    assert admin.ok("POST", "credits/allocate", {"userId": owner.email, "credits": 9})["userId"] == owner.id
    assert owner.balance()["totalCredits"] == 9
    for path in (f"users/{owner.email}", f"usage/stats/{owner.email}"):
        answer = imposter.get(path)
        assert owner.id not in answer.json().values()
    assert imposter.ok("GET", f"users/{owner.email}")["userId"] == imposter.id
    assert imposter.ok("GET", "credits/allocations")["total"] == 0
    assert imposter.ok("GET", "credits/ledger")["entries"] == []


def test_a_user_cannot_take_over_an_address_without_verifying_it(people: People, admin: Person) -> None:
    owner = people()
    for verified in (False, "false"):
        other = people("supervisor", email=owner.email, email_verified=verified)
        assert other.ok("GET", f"credits/balance/{owner.email}")["userId"] == owner.id
        assert_refused(people(email=owner.email, email_verified=verified).get(f"users/{owner.email}"), 403, "FORBIDDEN")

    assert admin.ok("POST", "credits/allocate", {"userId": owner.email, "credits": 5})["userId"] == owner.id


def test_an_address_returns_to_the_earlier_user_when_the_later_user_gives_it_up(
    http: httpx.Client, token: Mint, people: People, admin: Person
) -> None:
    now = int(time.time())
    owner = people(iat=now - 60)
    taker = people(email=owner.email, iat=now - 40)
    assert admin.ok("GET", f"users/{owner.email}")["userId"] == taker.id

    Person(http, taker.id, token(taker.id, iat=now - 20)).balance()

    assert admin.ok("GET", f"users/{owner.email}")["userId"] == owner.id
    assert admin.ok("GET", f"users/{taker.email}")["userId"] == taker.id
