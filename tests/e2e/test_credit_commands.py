"""The commands allocate, set, remove and adjust over HTTP, and their idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal
from accounting.domain.ledger import Cause
from accounting.domain.lots import MAX_LOTS
from accounting.domain.wallet import Wallet, grant
from accounting.store import wallets
from accounting.store.table import pack
from accounting.times import DAY, clock
from tests.e2e.books import audited, dynamodb, items_of
from tests.e2e.client import Person, assert_refused, described, new_id, references
from tests.e2e.credits import about_now, each_command

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.conftest import People

UNKNOWN = "nobody-at-all"


# ---------------------------------------------------------------------------------------------------------- commands


def test_allocate_grants_a_lot(service: Stack, people: People, admin: Person) -> None:
    person = people()

    answer = admin.post(
        "credits/allocate", {"userId": person.id, "credits": 100, "expiryDays": 7, "notes": "Welcome\nto you ☺"}
    )

    assert answer.status_code == 201
    grant = answer.json()
    assert {"id", "userId", "credits", "remainingCredits", "expiresAt", "message"} <= set(grant)
    assert (grant["userId"], grant["credits"], grant["remainingCredits"]) == (person.id, 100, 100)
    assert about_now(grant["expiresAt"], days=7)
    assert isinstance(grant["message"], str)
    (lot,) = person.balance()["activeAllocations"]
    assert (lot["id"], lot["credits"], lot["expiresAt"]) == (grant["id"], 100, grant["expiresAt"])
    (entry,) = audited(service, person).ledger
    assert (entry["kind"], entry["credits"], entry["allocationId"]) == ("grant", 100, grant["id"])
    assert (entry["actor"], entry["reason"]) == (admin.id, "Welcome\nto you ☺")


def test_credits_expire_after_30_days_by_default(people: People, admin: Person) -> None:
    person = people()

    granted = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1})
    admin.ok("POST", "credits/set", {"userId": person.id, "credits": 2})
    admin.ok("PUT", "credits/adjust", {"userId": person.id, "adjustment": 3})

    assert about_now(granted["expiresAt"], days=30)
    lots = person.balance()["activeAllocations"]
    assert [lot["credits"] for lot in lots] == [1, 1, 3]
    assert all(about_now(lot["expiresAt"], days=30) for lot in lots)


def test_credits_can_last_from_one_day_to_ten_years(people: People, admin: Person) -> None:
    person = people()

    for days in (1, 3650):
        granted = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1, "expiryDays": days})
        assert about_now(granted["expiresAt"], days=days)


def test_set_makes_the_balance_exactly_the_amount(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=100)
    person.open(tokens=10_000)

    def set_credits(credits: int) -> Any:
        answer = admin.post("credits/set", {"userId": person.id, "credits": credits, "notes": "as agreed"})
        assert answer.status_code == 200
        return answer.json()

    assert {"userId": person.id, "totalCredits": 30, "previousCredits": 88}.items() <= set_credits(30).items()
    assert {"userId": person.id, "totalCredits": 500, "previousCredits": 30}.items() <= set_credits(500).items()
    assert {"userId": person.id, "totalCredits": 500, "previousCredits": 500}.items() <= set_credits(500).items()
    assert {"userId": person.id, "totalCredits": 0, "previousCredits": 500}.items() <= set_credits(0).items()

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (0, 12)
    changes = [(entry["credits"], entry["reason"]) for entry in books.ledger if entry["kind"] == "set"]
    assert changes == [(-58, "as agreed"), (470, "as agreed"), (0, "as agreed"), (-500, "as agreed")]


@pytest.mark.parametrize("place", ["body", "query"])
def test_remove_takes_credits_away(service: Stack, people: People, admin: Person, place: str) -> None:
    person = people(credits=100)
    request = {"userId": person.id, "credits": 30, "notes": "expired voucher"}

    if place == "body":
        answer = admin.call("DELETE", "credits/remove", request)
    else:
        answer = admin.call("DELETE", "credits/remove", params=request)

    assert answer.status_code == 200
    assert answer.json() == {
        "userId": person.id,
        "accountId": f"user:{person.id}",
        "removedCredits": 30,
        "totalCredits": 70,
    }
    entry = audited(service, person).ledger[-1]
    assert (entry["kind"], entry["credits"], entry["actor"], entry["reason"]) == (
        "remove",
        -30,
        admin.id,
        "expired voucher",
    )


def test_adjust_grants_and_takes_away(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=100)

    for adjustment, total in ((25, 125), (-125, 0), (1, 1)):
        answer = admin.call("PUT", "credits/adjust", {"userId": person.id, "adjustment": adjustment})
        assert answer.status_code == 200
        expected = {"userId": person.id, "adjustment": adjustment, "totalCredits": total}
        assert expected.items() <= answer.json().items()

    assert [entry["credits"] for entry in audited(service, person).ledger] == [100, 25, -125, 1]


@each_command
@pytest.mark.parametrize("field", ["userId", "targetUserId"])
def test_a_command_takes_a_user_id_or_an_email_address(
    people: People, admin: Person, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    person = people(credits=50)

    for name, reference in references(person).items():
        answer = admin.call(method, path, {field: reference, **body})
        assert answer.is_success, (name, described(answer))
        assert answer.json()["userId"] == person.id


@each_command
def test_a_command_on_an_unknown_user_is_refused(admin: Person, method: str, path: str, body: dict[str, Any]) -> None:
    for reference in (UNKNOWN, "nobody@nowhere.example", "nobody%40nowhere.example", "__proto__", "constructor"):
        answer = admin.call(method, path, {"userId": reference, **body})
        assert assert_refused(answer, 404, "USER_NOT_FOUND", "User not found") == {"user": reference}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "credits/remove", {"credits": 39}),
        ("PUT", "credits/adjust", {"adjustment": -39}),
    ],
)
def test_more_credits_than_available_cannot_be_taken(
    service: Stack, people: People, admin: Person, method: str, path: str, body: dict[str, int]
) -> None:
    person = people(credits=50)
    person.open(tokens=10_000)
    before = items_of(service, person.id)

    details = assert_refused(admin.call(method, path, {"userId": person.id, **body}), 402, "INSUFFICIENT_CREDITS")

    assert details == {"requiredCredits": 39, "availableCredits": 38, "heldCredits": 12, "shortfall": 1}
    assert items_of(service, person.id) == before


def _fill_with_lots(service: Stack, person: Person) -> None:
    """Store as many lots as a wallet can have, none of which can be merged.

    Every second lot has grace (more time after its expiry), and lots with and without grace are never merged.
    """
    wallet, now = Wallet(personal(person.id)), clock()
    for number in range(MAX_LOTS):
        wallet = grant(wallet, 1, expires_at=now + DAY + number * 1_000, cause=Cause("test", now)).wallet
    lots = tuple(lot._replace(grace=bool(lot.number % 2)) for lot in wallet.lots)
    item = pack(wallets.to_item(wallet._replace(lots=lots)))
    dynamodb(service).put_item(TableName=service.table_name, Item=item)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "credits/allocate", {"credits": 1}),
        ("POST", "credits/set", {"credits": MAX_LOTS + 1}),
        ("PUT", "credits/adjust", {"adjustment": 1}),
    ],
)
def test_one_lot_too_many_is_refused(
    service: Stack, people: People, admin: Person, method: str, path: str, body: dict[str, int]
) -> None:
    person = people()
    _fill_with_lots(service, person)
    before = items_of(service, person.id)

    answer = admin.call(method, path, {"userId": person.id, **body})

    assert_refused(answer, 409, "TOO_MANY_ALLOCATIONS")
    assert items_of(service, person.id) == before
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 1})
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1})


# ------------------------------------------------------------------------------------------------------- idempotency


@each_command
def test_a_repeated_key_gets_the_first_answer_and_changes_nothing(
    service: Stack, people: People, admin: Person, method: str, path: str, body: dict[str, Any]
) -> None:
    person = people(credits=50)
    headers = {"Idempotency-Key": new_id("key")}
    request = {"userId": person.id, **body}
    first = admin.call(method, path, request, headers=headers)
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1000})
    before = items_of(service, person.id)

    again = admin.call(method, path, dict(reversed(request.items())), headers=headers)

    assert first.is_success
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert items_of(service, person.id) == before


@each_command
def test_the_same_key_for_another_request_is_a_conflict(
    service: Stack, people: People, admin: Person, method: str, path: str, body: dict[str, Any]
) -> None:
    person = people(credits=50)
    headers = {"Idempotency-Key": new_id("key")}
    assert admin.call(method, path, {"userId": person.id, **body}, headers=headers).is_success
    before = items_of(service, person.id)

    for other in ({**body, "notes": "other"}, {name: value + 1 for name, value in body.items()}):
        answer = admin.call(method, path, {"userId": person.id, **other}, headers=headers)
        assert_refused(answer, 409, "IDEMPOTENCY_CONFLICT")

    assert items_of(service, person.id) == before


def test_a_key_belongs_to_one_caller_and_one_route(service: Stack, people: People, admin: Person) -> None:
    person, other = people(), people("supervisor")
    headers = {"Idempotency-Key": new_id("key")}
    body = {"userId": person.id, "credits": 5}

    for caller, path in ((admin, "credits/allocate"), (other, "credits/allocate"), (admin, "credits/set")):
        answer = caller.call("POST", path, body, headers=headers)
        assert answer.is_success
        assert "idempotency-replayed" not in answer.headers

    assert audited(service, person).kinds() == ["grant", "grant", "set"]


def test_a_refusal_does_not_use_up_its_key(people: People, admin: Person) -> None:
    person = people(credits=10)
    headers = {"Idempotency-Key": "~" * 128}
    body = {"userId": person.id, "credits": 30}
    assert_refused(admin.call("DELETE", "credits/remove", body, headers=headers), 402, "INSUFFICIENT_CREDITS")
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 20})

    answer = admin.call("DELETE", "credits/remove", body, headers=headers)

    assert answer.json()["totalCredits"] == 0
    assert "idempotency-replayed" not in answer.headers
