"""Every credits and health route answers as documented, with each of its refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal
from accounting.domain.ledger import Cause
from accounting.domain.lots import MAX_LOTS
from accounting.domain.wallet import Wallet, grant
from accounting.store import wallets
from accounting.store.table import pack
from accounting.times import DAY, clock, from_iso, iso
from tests.e2e.books import audited, dynamodb, items_of
from tests.e2e.client import Person, assert_refused, described, new_id, path_references, references

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

UNKNOWN = "nobody-at-all"
SECURITY_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "strict-transport-security": "max-age=63072000; includeSubDomains",
}

COMMANDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "allocate": ("POST", "credits/allocate", {"credits": 5}),
    "set": ("POST", "credits/set", {"credits": 55}),
    "remove": ("DELETE", "credits/remove", {"credits": 5}),
    "adjust": ("PUT", "credits/adjust", {"adjustment": 5}),
}
"""The four commands, each with a body without its user, who has 50 credits."""

each_command = pytest.mark.parametrize(("method", "path", "body"), COMMANDS.values(), ids=COMMANDS)


def _about_now(text: str, days: int = 0) -> bool:
    """Whether a timestamp has the right format and is this many days from now."""
    at = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    assert text == iso(from_iso(text))
    return abs(datetime.now(UTC) + timedelta(days=days) - at) < timedelta(minutes=2)


def _tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


# ------------------------------------------------------------------------------------------------------------ health


@pytest.mark.parametrize("path", ["/api/health", "/health"])
def test_health_answers_anybody(http: httpx.Client, path: str) -> None:
    answer = http.get(path)

    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"status", "service", "version", "timestamp"}
    assert (body["status"], body["service"]) == ("ok", "accounting-service")
    assert body["version"]
    assert _about_now(body["timestamp"])
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
        assert _about_now(lot["allocatedAt"])


def test_a_supervisor_sees_a_balance_by_id_and_by_address(people: People) -> None:
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


def test_a_lot_lives_until_the_instant_that_is_named(people: People, admin: Person) -> None:
    person, until = people(), "2035-03-01T12:30:00.000Z"
    for method, path, body in (
        ("POST", "credits/allocate", {"credits": 5}),
        ("POST", "credits/set", {"credits": 9}),
        ("PUT", "credits/adjust", {"adjustment": 3}),
    ):
        admin.ok(method, path, {**body, "userId": person.id, "expiresAt": until})

    lots = person.balance()["activeAllocations"]
    assert [(lot["credits"], lot["expiresAt"]) for lot in lots] == [(5, until), (4, until), (3, until)]


def test_check_does_not_count_what_is_held(people: People) -> None:
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
def test_calculate_knows_the_documented_prices(
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
    assert _about_now(grant["expiresAt"], days=7)
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

    assert _about_now(granted["expiresAt"], days=30)
    lots = person.balance()["activeAllocations"]
    assert [lot["credits"] for lot in lots] == [1, 1, 3]
    assert all(_about_now(lot["expiresAt"], days=30) for lot in lots)


def test_expiry_days_reach_from_tomorrow_to_ten_years(people: People, admin: Person) -> None:
    person = people()

    for days in (1, 3650):
        granted = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1, "expiryDays": days})
        assert _about_now(granted["expiresAt"], days=days)


def test_set_makes_the_balance_exactly_the_amount(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=100)
    person.open(tokens=10_000)

    def put(credits: int) -> Any:
        answer = admin.post("credits/set", {"userId": person.id, "credits": credits, "notes": "as agreed"})
        assert answer.status_code == 200
        return answer.json()

    assert {"userId": person.id, "totalCredits": 30, "previousCredits": 88}.items() <= put(30).items()
    assert {"userId": person.id, "totalCredits": 500, "previousCredits": 30}.items() <= put(500).items()
    assert {"userId": person.id, "totalCredits": 500, "previousCredits": 500}.items() <= put(500).items()
    assert {"userId": person.id, "totalCredits": 0, "previousCredits": 500}.items() <= put(0).items()

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
def test_a_command_takes_an_id_or_an_address(
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


def _with_as_many_lots_as_there_may_be(service: Stack, person: Person) -> None:
    """None of the lots can be merged: no two neighbors have equal terms."""
    wallet, now = Wallet(personal(person.id)), clock()
    for number in range(MAX_LOTS):
        wallet = grant(wallet, 1, expires_at=now + DAY + number * 1_000, cause=Cause("test", now)).wallet
    lots = tuple(lot._replace(grace=bool(lot.number % 2)) for lot in wallet.lots)
    item = pack(wallets.to_item(replace(wallet, lots=lots)))
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
    _with_as_many_lots_as_there_may_be(service, person)
    before = items_of(service, person.id)

    answer = admin.call(method, path, {"userId": person.id, **body})

    assert_refused(answer, 409, "TOO_MANY_ALLOCATIONS")
    assert items_of(service, person.id) == before
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 1})
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1})


# ------------------------------------------------------------------------------------------------------- idempotency


@each_command
def test_a_repeated_key_gets_the_first_answer_and_moves_nothing(
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


# ------------------------------------------------------------------------------------------------------- allocations


@pytest.fixture(scope="module")
def granted(people: People, admin: Person) -> Person:
    """Return a user with five grants of 1 to 5 credits; the first one is used up."""
    person = people()
    for credits in range(1, 6):
        body = {"userId": person.id, "credits": credits, "expiryDays": 10 + credits, "notes": f"grant {credits}"}
        admin.ok("POST", "credits/allocate", body)
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 1})
    return person


def test_allocations_show_grants_as_made_and_what_is_left_of_them(granted: Person) -> None:
    page = granted.ok("GET", "credits/allocations")

    assert (page["total"], page["page"], page["totalPages"]) == (5, 1, 1)
    assert "nextCursor" not in page
    grants = page["allocations"]
    assert [(grant["totalCredits"], grant["remainingCredits"]) for grant in grants] == [
        (5, 5),
        (4, 4),
        (3, 3),
        (2, 2),
        (1, 0),
    ]
    for shown in grants:
        credits = shown["totalCredits"]
        assert set(shown) == {
            "id",
            "totalCredits",
            "remainingCredits",
            "allocatedBy",
            "allocatedAt",
            "expiresAt",
            "notes",
        }
        assert (shown["allocatedBy"], shown["notes"]) == ("boss", f"grant {credits}")
        assert _about_now(shown["allocatedAt"])
        assert _about_now(shown["expiresAt"], days=10 + credits)


def test_allocations_come_in_pages(granted: Person) -> None:
    def page(number: int) -> Any:
        return granted.ok("GET", "credits/allocations", params={"page": number, "limit": 2})

    pages = [page(number) for number in (1, 2, 3, 4)]

    assert [[grant["totalCredits"] for grant in page["allocations"]] for page in pages] == [[5, 4], [3, 2], [1], []]
    assert [(page["total"], page["page"], page["totalPages"]) for page in pages] == [
        (5, number, 3) for number in (1, 2, 3, 4)
    ]


def test_allocations_follow_their_cursor_to_the_end(granted: Person, admin: Person) -> None:
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = granted.ok("GET", "credits/allocations", params={"limit": 2, **cursor})
        seen += [grant["totalCredits"] for grant in page["allocations"]]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}

    assert seen == [5, 4, 3, 2, 1]
    assert not cursor
    for name, reference in path_references(granted).items():
        for caller in (admin, granted):
            assert caller.ok("GET", f"credits/allocations/{reference}")["total"] == 5, name


def test_a_grant_between_two_pages_does_not_shift_the_pages(people: People, admin: Person) -> None:
    person = people()
    for credits in (1, 2, 3):
        admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": credits})
    first = person.ok("GET", "credits/allocations", params={"limit": 2})
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 4})

    second = person.ok("GET", "credits/allocations", params={"limit": 2, "cursor": first["nextCursor"]})

    assert [grant["totalCredits"] for grant in second["allocations"]] == [1]


def test_a_user_without_allocations_has_none(people: People) -> None:
    assert people().ok("GET", "credits/allocations") == {"total": 0, "page": 1, "totalPages": 0, "allocations": []}


# ------------------------------------------------------------------------------------------------------------ ledger


@pytest.fixture(scope="module")
def storied(people: People, admin: Person) -> Person:
    """Return a user with a ledger of seven entries."""
    person = people(credits=100)
    session = person.open(tokens=10_000)
    assert person.finalize(session, 4000).is_success
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 10, "notes": "a fine"})
    admin.ok("PUT", "credits/adjust", {"userId": person.id, "adjustment": 4})
    admin.ok("POST", "credits/set", {"userId": person.id, "credits": 50})
    assert person.abort(person.open(tokens=10_000), tokensGenerated=0).is_success
    return person


def test_the_ledger_explains_every_change_newest_first(storied: Person, admin: Person) -> None:
    page = storied.ok("GET", "credits/ledger")

    assert "nextCursor" not in page
    entries = page["entries"]
    facts = [
        (entry["seq"], entry["kind"], entry["credits"], entry["availableAfter"], entry["heldAfter"], entry["actor"])
        for entry in entries
    ]
    assert facts == [
        (8, "release", 12, 50, 0, storied.id),
        (7, "hold", -12, 38, 12, storied.id),
        (6, "set", -40, 50, 0, admin.id),
        (5, "adjust", 4, 90, 0, admin.id),
        (4, "remove", -10, 86, 0, admin.id),
        (3, "settle", 8, 96, 0, storied.id),
        (2, "hold", -12, 88, 12, storied.id),
        (1, "grant", 100, 100, 0, admin.id),
    ]
    assert [entry["reason"] for entry in entries if entry["reason"]] == ["a fine"]
    by_seq = {entry["seq"]: entry for entry in entries}
    assert {seq for seq, entry in by_seq.items() if "sessionId" in entry} == {2, 3, 7, 8}
    assert {seq for seq, entry in by_seq.items() if "allocationId" in entry} == {1, 5}
    assert {seq for seq, entry in by_seq.items() if "usageId" in entry} == {3, 8}
    assert by_seq[2]["sessionId"] == by_seq[3]["sessionId"] != by_seq[7]["sessionId"]
    assert all(_about_now(entry["at"]) for entry in entries)


def test_the_ledger_follows_its_cursor_to_the_end(storied: Person, admin: Person) -> None:
    for caller, path in (
        (storied, "credits/ledger"),
        *((admin, f"credits/ledger/{reference}") for reference in path_references(storied).values()),
    ):
        pages: list[list[int]] = []
        cursor: dict[str, str] = {}
        for _ in range(3):
            page = caller.ok("GET", path, params={"limit": 3, **cursor})
            pages.append([entry["seq"] for entry in page["entries"]])
            cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}
        assert pages == [[8, 7, 6], [5, 4, 3], [2, 1]]
        assert not cursor


def test_the_ledger_of_a_period(storied: Person) -> None:
    def seqs(**period: str) -> list[int]:
        return [entry["seq"] for entry in storied.ok("GET", "credits/ledger", params=period)["entries"]]

    everything = [8, 7, 6, 5, 4, 3, 2, 1]
    at = {entry["seq"]: entry["at"] for entry in storied.ok("GET", "credits/ledger")["entries"]}
    since_5 = [seq for seq in everything if at[seq] >= at[5]]
    until_5 = [seq for seq in everything if at[seq] <= at[5]]

    assert seqs(startDate=_today()) == everything
    assert seqs(endDate=_today()) == everything
    assert seqs(startDate=_today(), endDate=_today()) == everything
    assert seqs(startDate=_tomorrow()) == []
    assert seqs(endDate="2020-01-01") == []
    assert seqs(startDate=at[5]) == since_5
    assert seqs(endDate=at[5]) == until_5
    assert seqs(startDate=at[5], endDate=at[5]) == [seq for seq in since_5 if seq in until_5]
    assert seqs(startDate=at[5], limit="1") == [8]
    assert seqs(startDate="2020-01-01T00:00:00+02:00") == everything


def test_a_periods_cursor_stays_in_the_period(storied: Person) -> None:
    at = {entry["seq"]: entry["at"] for entry in storied.ok("GET", "credits/ledger")["entries"]}
    wanted = [seq for seq in sorted(at, reverse=True) if at[4] <= at[seq] <= at[6]]
    seen: list[int] = []
    cursor: dict[str, str] = {}
    for _ in wanted:
        period = {"startDate": at[4], "endDate": at[6], "limit": "1"}
        page = storied.ok("GET", "credits/ledger", params={**period, **cursor})
        seen += [entry["seq"] for entry in page["entries"]]
        cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}

    assert seen == wanted
    assert not cursor


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


# ------------------------------------------------------------------------------------------------- whose address it is


def test_an_address_means_the_user_of_the_newest_token_that_claims_it(
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
def test_an_address_that_moved_shows_its_old_owner_nothing_of_the_new_owner(
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
