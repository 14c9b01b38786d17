"""Health, balance, check and calculate; refusals of the credits routes; users who share an e-mail address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounting.times import clock
from tests.e2e.books import items_of
from tests.e2e.client import SECURITY_HEADERS, Person, assert_refused, described, new_id, path_references
from tests.e2e.credits import about_now, each_command

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

UNKNOWN = "nobody-at-all"


# ------------------------------------------------------------------------------------------------------------ health


@pytest.mark.parametrize("path", ["/api/health", "/health"])
def test_health_answers_anybody(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"status", "service", "version", "timestamp"}
    assert (body["status"], body["service"]) == ("ok", "accounting-service")
    assert body["version"]
    assert about_now(body["timestamp"])
    assert answer.headers["content-type"] == "application/json"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


def test_health_ignores_an_invalid_token(http: httpx.Client) -> None:
    assert http.get("/api/health", headers={"Authorization": "Bearer nonsense"}).status_code == 200


# ----------------------------------------------------------------------------------------------------------- balance


def test_a_new_user_has_nothing(people: People) -> None:
    person = people()

    assert person.balance() == {
        "userId": person.id,
        "accountId": f"user:{person.id}",
        "totalCredits": 0,
        "heldCredits": 0,
        "debt": 0,
        "activeAllocations": [],
    }


def test_a_balance_lists_lots_by_expiry_and_shows_held_credits_separately(people: People, admin: Person) -> None:
    person = people()
    late = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 100, "expiryDays": 30})
    soon = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 50, "expiryDays": 3})
    person.open(tokens=10_000)

    balance = person.balance()

    lots = balance.pop("activeAllocations")
    assert balance == {
        "userId": person.id,
        "accountId": f"user:{person.id}",
        "totalCredits": 138,
        "heldCredits": 12,
        "debt": 0,
    }
    assert [(lot["id"], lot["credits"], lot["expiresAt"]) for lot in lots] == [
        (soon["id"], 38, soon["expiresAt"]),
        (late["id"], 100, late["expiresAt"]),
    ]
    for lot in lots:
        assert set(lot) == {"id", "credits", "expiresAt", "allocatedAt"}
        assert about_now(lot["allocatedAt"])


def test_a_supervisor_sees_a_balance_by_user_id_and_by_email_address(people: People) -> None:
    person, supervisor = people(credits=50), people("supervisor")
    own = person.balance()

    for name, reference in path_references(person).items():
        assert supervisor.ok("GET", f"credits/balance/{reference}") == own, name


def test_answers_have_the_security_headers(people: People) -> None:
    person = people()

    for answer in (person.get("credits/balance"), person.get("credits/ledger", limit=0)):
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items(), described(answer)
        assert answer.headers["content-type"] == "application/json"


# ----------------------------------------------------------------------------------------------- check and calculate


@pytest.mark.parametrize("field", ["requiredCredits", "credits"])
def test_check_says_whether_the_credits_suffice(service: Stack, people: People, field: str) -> None:
    person = people(credits=50)
    before = items_of(service, person.id)

    assert person.ok("POST", "credits/check", {field: 50}) == {
        "sufficient": True,
        "credits": 50,
        "requiredCredits": 50,
    }
    answer = person.post("credits/check", {field: 51})
    assert answer.status_code == 200
    assert answer.json() == {
        "sufficient": False,
        "credits": 50,
        "requiredCredits": 51,
        "message": "Insufficient credits",
    }
    nothing = {"sufficient": True, "credits": 50, "requiredCredits": 0}
    assert person.ok("POST", "credits/check", {field: 0}) == nothing
    assert items_of(service, person.id) == before


def test_a_lot_expires_at_the_instant_that_the_request_names(people: People, admin: Person) -> None:
    person, until = people(), "2035-03-01T12:30:00.000Z"
    for method, path, body in (
        ("POST", "credits/allocate", {"credits": 5}),
        ("POST", "credits/set", {"credits": 9}),
        ("PUT", "credits/adjust", {"adjustment": 3}),
    ):
        admin.ok(method, path, {**body, "userId": person.id, "expiresAt": until})

    lots = person.balance()["activeAllocations"]
    assert [(lot["credits"], lot["expiresAt"]) for lot in lots] == [(5, until), (4, until), (3, until)]


def test_check_does_not_count_held_credits(people: People) -> None:
    person = people(credits=50)
    person.open(tokens=10_000)

    assert person.ok("POST", "credits/check", {"requiredCredits": 39})["sufficient"] is False
    assert person.ok("POST", "credits/check", {"requiredCredits": 38})["sufficient"] is True


@pytest.mark.parametrize(
    ("model", "tokens", "credits", "price"),
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0", 1000, 3, 3),
        ("anthropic.claude-3-sonnet-20240229-v1:0", 1001, 4, 3),
        ("anthropic.claude-3-haiku-20240307-v1:0", 4000, 1, 0.25),
        ("anthropic.claude-3-haiku-20240307-v1:0", 4001, 2, 0.25),
        ("anthropic.claude-instant-v1", 10_000, 8, 0.8),
        ("anthropic.claude-instant-v1", 1, 1, 0.8),
        ("amazon.titan-text-express-v1", 10_000, 3, 0.3),
        ("a-model-of-the-future", 12_345, 13, 1),
        ("a-model-of-the-future", 0, 0, 1),
        ("anthropic.claude-3-sonnet-20240229-v1:0", 10**9, 3_000_000, 3),
    ],
)
def test_calculate_uses_the_documented_prices(
    people: People, model: str, tokens: int, credits: int, price: float
) -> None:
    answer = people().post("credits/calculate", {"modelId": model, "tokens": tokens})

    assert answer.status_code == 200
    assert answer.json() == {
        "modelId": model,
        "tokens": tokens,
        "credits": credits,
        "pricePerThousandTokens": price,
    }


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("path", ["credits/balance", "credits/allocations", "credits/ledger"])
def test_routes_about_an_unknown_user_answer_not_found(admin: Person, path: str) -> None:
    for reference in (UNKNOWN, "nobody@nowhere.example", "nobody%40nowhere.example", "__proto__", "constructor"):
        assert_refused(admin.get(f"{path}/{reference}"), 404, "USER_NOT_FOUND", "User not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "credits"),
        ("GET", "credits/nothing"),
        ("GET", "nothing"),
        ("PATCH", "credits/balance"),
        ("GET", "credits/allocate"),
        ("POST", "credits/remove"),
        ("GET", "credits/balance/a/b"),
    ],
)
def test_an_unknown_route_is_not_found(admin: Person, method: str, path: str) -> None:
    assert_refused(admin.call(method, path), 404, "ROUTE_NOT_FOUND")


@each_command
def test_a_body_too_large_is_refused(
    service: Stack, people: People, admin: Person, method: str, path: str, body: dict[str, Any]
) -> None:
    person = people(credits=50)
    before = items_of(service, person.id)

    answer = admin.call(method, path, {"userId": person.id, **body, "ignored": "x" * 65_536})

    assert_refused(answer, 413, "PAYLOAD_TOO_LARGE")
    assert items_of(service, person.id) == before


# --------------------------------------------------------------------------------------------------------- addresses


def test_an_email_address_belongs_to_the_user_of_the_newest_token_with_the_address(
    http: httpx.Client, token: Mint, admin: Person
) -> None:
    address = f"{new_id('shared')}@example.com"
    now = clock() // 1000
    first, second = new_id("first"), new_id("second")
    earlier = Person(http, first, token(first, email=address, iat=now - 100))
    later = Person(http, second, token(second, email=address, iat=now))

    earlier.balance()
    assert admin.ok("GET", f"credits/balance/{address}")["userId"] == first
    later.balance()
    assert admin.ok("GET", f"credits/balance/{address}")["userId"] == second


@pytest.mark.parametrize("path", ["credits/allocations", "streaming-sessions/active"])
def test_the_old_owner_of_an_email_address_sees_nothing_of_the_new_owner(
    http: httpx.Client, token: Mint, admin: Person, path: str
) -> None:
    address = f"{new_id('shared')}@example.com"
    now = clock() // 1000
    first, second = new_id("first"), new_id("second")
    earlier = Person(http, first, token(first, email=address, iat=now - 100))
    later = Person(http, second, token(second, email=address, iat=now))
    earlier.balance()
    later.balance()
    admin.ok("POST", "credits/allocate", {"userId": second, "credits": 50})
    later.open()

    assert earlier.ok("GET", f"{path}/{address}") == earlier.ok("GET", path)
    assert later.ok("GET", f"{path}/{address}") == later.ok("GET", path) != earlier.ok("GET", path)
