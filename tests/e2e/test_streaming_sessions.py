"""Initialize, heartbeat, finalize, abort and the lists of streaming sessions over HTTP, with their refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from accounting.times import HOUR, clock, from_iso
from local.uuid7 import uuid7
from tests.e2e.books import audited, items_of
from tests.e2e.client import MODEL, Person, assert_refused, described, new_id, path_references

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.conftest import People

FIELDS = {
    "sessionId",
    "userId",
    "modelId",
    "estimatedCredits",
    "allocatedCredits",
    "usedCredits",
    "status",
    "startedAt",
    "completedAt",
}
MESSAGE = "Active streaming session not found"


def _about(text: str, at: int) -> bool:
    return abs(from_iso(text) - at) < 120_000


# -------------------------------------------------------------------------------------------------------- initialize


@pytest.mark.parametrize(
    ("tokens", "estimated", "allocated"),
    [(1, 1, 2), (1000, 1, 2), (5000, 5, 6), (5001, 6, 8), (100_000, 100, 120)],
)
def test_initialize_holds_the_estimate_plus_20_percent(
    service: Stack, people: People, tokens: int, estimated: int, allocated: int
) -> None:
    person = people(credits=200)
    session_id = new_id("session")
    request = {"sessionId": session_id, "modelId": MODEL, "estimatedTokens": tokens}

    answer = person.post("streaming-sessions/initialize", request)

    assert answer.status_code == 201
    body = answer.json()
    expected = {"sessionId": session_id, "allocatedCredits": allocated, "estimatedCredits": estimated}
    assert expected.items() <= body.items()
    assert isinstance(body["message"], str)
    assert "replayed" not in body
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (200 - allocated, allocated)


def test_a_repeated_initialize_gets_the_same_answer_and_holds_no_more_credits(service: Stack, people: People) -> None:
    person = people(credits=100)
    request: dict[str, Any] = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 50_000}
    first = person.post("streaming-sessions/initialize", request)
    before = items_of(service, person.id)

    again = person.post("streaming-sessions/initialize", request)

    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "replayed": True}
    assert items_of(service, person.id) == before


def test_a_repeated_initialize_gets_the_first_answer_even_after_the_hold_was_raised(
    service: Stack, people: People
) -> None:
    person = people(credits=100)
    request: dict[str, Any] = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 50_000}
    first = person.post("streaming-sessions/initialize", request)
    assert person.heartbeat(request["sessionId"], 70_000).is_success
    before = items_of(service, person.id)

    again = person.post("streaming-sessions/initialize", request)

    assert (again.status_code, again.json()) == (200, first.json() | {"replayed": True})
    assert items_of(service, person.id) == before


@pytest.mark.parametrize("other", [{"estimatedTokens": 50_001}, {"modelId": "another-model"}])
def test_initialize_refuses_the_id_of_an_active_session_with_other_values(
    service: Stack, people: People, other: dict[str, Any]
) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    before = items_of(service, person.id)
    request = {"sessionId": session, "modelId": MODEL, "estimatedTokens": 50_000, **other}

    details = assert_refused(person.post("streaming-sessions/initialize", request), 409, "SESSION_EXISTS")

    assert details == {"sessionId": session}
    assert items_of(service, person.id) == before


def test_two_users_can_use_the_same_session_id(service: Stack, people: People) -> None:
    one, other = people(credits=100), people(credits=100)
    session = one.open(50_000)

    other.open(10_000, session_id=session)
    assert other.abort(session).is_success

    assert audited(service, one).balance["heldCredits"] == 60
    assert audited(service, other).balance["totalCredits"] == 100


def test_a_refusal_for_too_few_credits_shows_the_affordable_estimate(service: Stack, people: People) -> None:
    person = people(credits=100)
    person.open(10_000)
    before = items_of(service, person.id)
    request = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 75_000}

    details = assert_refused(person.post("streaming-sessions/initialize", request), 402, "INSUFFICIENT_CREDITS")

    assert details == {
        "requiredCredits": 90,
        "availableCredits": 88,
        "heldCredits": 12,
        "shortfall": 2,
        "affordableTokens": 73_000,
        "limits": [{"limit": "balance", "remainingCredits": 88, "requiredCredits": 90}],
    }
    assert items_of(service, person.id) == before
    request["estimatedTokens"] = 73_001
    assert_refused(person.post("streaming-sessions/initialize", request), 402, "INSUFFICIENT_CREDITS")
    request["estimatedTokens"] = 73_000
    assert person.post("streaming-sessions/initialize", request).status_code == 201


# --------------------------------------------------------------------------------------------------------- heartbeat


def test_a_heartbeat_reports_progress_and_keeps_the_session_alive(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(50_000)

    answer = person.heartbeat(session, 20_000)

    assert answer.status_code == 200
    body = answer.json()
    assert {"sessionId": session, "tokensGenerated": 20_000, "allocatedCredits": 60}.items() <= body.items()
    assert _about(body["expiresAt"], clock() + HOUR)
    (shown,) = person.ok("GET", "streaming-sessions/active")
    assert shown["usedCredits"] == 20
    assert audited(service, person).kinds() == ["grant", "hold"]


def test_a_heartbeat_never_lowers_the_number_of_tokens(people: People) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    assert person.heartbeat(session, 20_000).is_success

    assert person.heartbeat(session, 10_000).json()["tokensGenerated"] == 20_000
    assert person.abort(session).json()["partialCredits"] == 20


def test_a_heartbeat_raises_the_hold_when_the_stream_outgrows_it(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(10_000)

    assert person.heartbeat(session, 12_000).json()["allocatedCredits"] == 12
    raised = person.heartbeat(session, 50_000)

    assert raised.json() | {"expiresAt": ""} == {
        "sessionId": session,
        "tokensGenerated": 50_000,
        "allocatedCredits": 60,
        "expiresAt": "",
    }
    books = audited(service, person)
    assert books.kinds() == ["grant", "hold", "hold"]
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (40, 60)


def test_a_heartbeat_that_cannot_raise_the_hold_is_refused_but_its_tokens_are_charged(
    service: Stack, people: People
) -> None:
    person = people(credits=20)
    session = person.open(10_000)

    details = assert_refused(person.heartbeat(session, 21_000), 402, "INSUFFICIENT_CREDITS")

    assert {"requiredCredits", "availableCredits", "heldCredits", "shortfall"} <= set(details)
    assert details["shortfall"] == 1
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (8, 12)
    assert person.abort(session).json()["partialCredits"] == 21
    assert audited(service, person).balance["debt"] == 1


# ---------------------------------------------------------------------------------------------- finalize and abort


@pytest.mark.parametrize(
    ("success", "status", "service_name"),
    [
        ({}, "completed", "chat-streaming"),
        ({"success": True}, "completed", "chat-streaming"),
        ({"success": False}, "failed", "chat-streaming-failed"),
    ],
)
def test_finalize_charges_what_was_used_and_returns_the_rest(
    service: Stack, people: People, success: dict[str, bool], status: str, service_name: str
) -> None:
    person = people(credits=100)
    session = person.open(50_000)

    answer = person.finalize(session, 42_001, **success)

    assert answer.status_code == 200
    assert answer.json() == {
        "sessionId": session,
        "status": status,
        "estimatedCredits": 50,
        "actualCredits": 43,
        "refund": 17,
        "overrun": 0,
        "debt": 0,
    }
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (57, 0)
    (record,) = books.usage
    assert (record["service"], record["operation"], record["credits"]) == (service_name, MODEL, 43)
    metadata = json.loads(record["metadata"])
    duration = metadata.pop("duration")
    assert metadata == {"sessionId": session, "tokens": 42_001, "estimatedCredits": 50}
    assert 0 <= duration < 60
    assert books.ledger[-1]["usageId"] == record["id"]


def test_a_repeated_finalize_gets_the_first_answer(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    first = person.finalize(session, 42_000)
    person.open(10_000)
    before = items_of(service, person.id)

    again = person.finalize(session, 42_000, success=True)

    assert again.status_code == 200
    assert again.json() == {**first.json(), "replayed": True}
    assert items_of(service, person.id) == before


@pytest.mark.parametrize("generated", [{}, {"tokensGenerated": 0}], ids=["no number", "zero"])
def test_a_stream_that_never_began_costs_nothing(service: Stack, people: People, generated: dict[str, int]) -> None:
    person = people(credits=100)
    session = person.open(50_000)

    answer = person.abort(session, **generated)

    assert answer.status_code == 200
    expected = {"sessionId": session, "status": "aborted", "partialCredits": 0, "refund": 60}
    assert expected.items() <= answer.json().items()
    books = audited(service, person)
    assert books.balance["totalCredits"] == 100
    assert [record["service"] for record in books.usage] == ["chat-streaming-aborted"]


@pytest.mark.parametrize(("report", "partial"), [({}, 20), ({"tokensGenerated": 31_000}, 31)])
def test_abort_charges_what_was_generated(service: Stack, people: People, report: dict[str, int], partial: int) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    assert person.heartbeat(session, 20_000).is_success

    first, again = person.abort(session, **report), person.abort(session, **report)

    expected = {"sessionId": session, "status": "aborted", "partialCredits": partial, "refund": 60 - partial}
    assert expected.items() <= first.json().items()
    assert (again.status_code, again.json()) == (200, {**first.json(), "replayed": True})
    books = audited(service, person)
    assert books.balance["totalCredits"] == 100 - partial
    assert [record["credits"] for record in books.usage] == [partial]


@pytest.mark.parametrize(
    ("ended", "status", "outcome"),
    [("finalized", "completed", "finalized"), ("failed", "failed", "finalized"), ("aborted", "failed", "aborted")],
)
def test_an_ended_session_accepts_no_other_reports(
    service: Stack, people: People, ended: str, status: str, outcome: str
) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    if ended == "aborted":
        first = person.abort(session, tokensGenerated=40_000)
    else:
        first = person.finalize(session, 40_000, success=ended == "finalized")
    assert first.is_success
    before = items_of(service, person.id)
    others = [
        person.finalize(session, 40_001),
        person.finalize(session, 40_001, success=False),
        person.finalize(session, 40_000, success=ended != "finalized"),
        person.abort(session, tokensGenerated=39_000),
        person.heartbeat(session, 41_000),
    ]

    for answer in others:
        details = assert_refused(answer, 404, "SESSION_NOT_ACTIVE", MESSAGE)
        assert details == {"sessionId": session, "status": status, "outcome": outcome}
    assert items_of(service, person.id) == before


def test_another_users_session_is_not_found(people: People) -> None:
    person, other = people(credits=100), people(credits=100)
    session = other.open()

    for answer in (person.heartbeat(session, 1), person.finalize(session, 1), person.abort(session)):
        details = assert_refused(answer, 404, "SESSION_NOT_ACTIVE", MESSAGE)
        assert details == {"sessionId": session}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("initialize", {"modelId": MODEL, "estimatedTokens": 1000}),
        ("heartbeat", {"tokensGenerated": 1}),
        ("finalize", {"actualTokens": 1}),
        ("abort", {}),
    ],
)
def test_a_body_that_is_too_large_is_refused(service: Stack, people: People, path: str, body: dict[str, Any]) -> None:
    person = people(credits=100)
    session = person.open()
    before = items_of(service, person.id)
    padded = {"sessionId": session, **body, "ignored": "x" * 65_536}

    answer = person.post(f"streaming-sessions/{path}", padded)

    assert_refused(answer, 413, "PAYLOAD_TOO_LARGE")
    assert items_of(service, person.id) == before


# ------------------------------------------------------------------------------------------------------------- lists


@pytest.fixture(scope="module")
def busy(people: People) -> Person:
    """Return a user with five sessions; the first and the third have ended."""
    person = people(credits=1000)
    for number in range(1, 6):
        person.open(1000 * number, session_id=f"{person.id}-{number}")
    assert person.finalize(f"{person.id}-1", 3000).is_success
    assert person.abort(f"{person.id}-3").is_success
    assert person.heartbeat(f"{person.id}-5", 2000).is_success
    return person


def _numbers(sessions: list[dict[str, Any]], person: Person) -> list[int]:
    return [int(shown["sessionId"].rpartition("-")[2]) for shown in sessions if shown["userId"] == person.id]


def _all_pages(caller: Person, path: str, limit: int) -> list[list[dict[str, Any]]]:
    """Return the pages of a list, following the cursor in the header."""
    pages: list[list[dict[str, Any]]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = caller.get(path, limit=limit, **cursor)
        assert answer.status_code == 200, described(answer)
        pages.append(answer.json())
        assert len(pages[-1]) <= limit
        if "x-next-cursor" not in answer.headers:
            return pages
        cursor = {"cursor": answer.headers["x-next-cursor"]}


def test_active_shows_the_callers_active_sessions_newest_first(busy: Person) -> None:
    sessions = busy.ok("GET", "streaming-sessions/active")

    assert _numbers(sessions, busy) == [5, 4, 2]
    newest = sessions[0]
    assert set(newest) >= FIELDS
    assert {
        "sessionId": f"{busy.id}-5",
        "userId": busy.id,
        "modelId": MODEL,
        "estimatedCredits": 5,
        "allocatedCredits": 6,
        "usedCredits": 2,
        "status": "active",
        "completedAt": None,
    }.items() <= newest.items()
    assert _about(newest["startedAt"], clock())


def test_active_is_empty_for_a_user_without_sessions(people: People) -> None:
    assert people().ok("GET", "streaming-sessions/active") == []


def test_active_shows_a_users_sessions_by_user_id_and_by_email(busy: Person, people: People) -> None:
    own, supervisor = busy.ok("GET", "streaming-sessions/active"), people("supervisor")

    for name, reference in path_references(busy).items():
        for caller in (busy, supervisor):
            assert caller.ok("GET", f"streaming-sessions/active/{reference}") == own, name


def test_active_all_shows_everybodys_sessions_in_pages(busy: Person, people: People, admin: Person) -> None:
    other = people(credits=10)
    session = other.open()

    everything = [shown for page in _all_pages(admin, "streaming-sessions/active/all", 100) for shown in page]
    in_sevens = [shown for page in _all_pages(admin, "streaming-sessions/active/all", 7) for shown in page]

    assert in_sevens == everything
    assert _numbers(everything, busy) == [5, 4, 2]
    assert session in {shown["sessionId"] for shown in everything}
    assert {shown["status"] for shown in everything} == {"active"}
    assert set(everything[0]) >= FIELDS


def test_recent_shows_a_users_active_and_ended_sessions_newest_first(busy: Person, people: People) -> None:
    supervisor = people("supervisor")

    for name, reference in path_references(busy).items():
        sessions = supervisor.ok("GET", f"streaming-sessions/recent/{reference}")
        assert _numbers(sessions, busy) == [5, 4, 3, 2, 1], name
    by_number = dict(zip(_numbers(sessions, busy), sessions, strict=True))
    assert {number: shown["status"] for number, shown in by_number.items()} == {
        1: "completed",
        2: "active",
        3: "failed",
        4: "active",
        5: "active",
    }
    assert set(by_number[1]) >= FIELDS
    assert by_number[1]["usedCredits"] == 3
    assert _about(by_number[1]["completedAt"], clock())
    assert by_number[1]["completedAt"] >= by_number[1]["startedAt"]


def test_recent_shows_a_users_sessions_in_pages(busy: Person, people: People) -> None:
    pages = _all_pages(people("supervisor"), f"streaming-sessions/recent/{busy.id}", 2)

    assert [_numbers(page, busy) for page in pages] == [[5, 4], [3, 2], [1]]


def test_recent_shows_sessions_newest_first_even_if_only_some_ids_are_uuid7s(people: People) -> None:
    person, supervisor = people(credits=100), people("supervisor")
    ids = [person.open(session_id=uuid7(clock()) if number % 2 else None) for number in range(6)]
    assert person.finalize(ids[1], 0).is_success
    assert person.finalize(ids[4], 0).is_success

    found = _all_pages(supervisor, f"streaming-sessions/recent/{person.id}", 2)

    assert [shown["sessionId"] for page in found for shown in page] == ids[::-1]


def test_recent_shows_everybodys_sessions_newest_first_in_pages(busy: Person, people: People) -> None:
    supervisor, other = people("supervisor"), people(credits=10)
    session = other.open()

    newest, *_ = supervisor.ok("GET", "streaming-sessions/recent", params={"limit": 1})
    everything = [shown for page in _all_pages(supervisor, "streaming-sessions/recent", 100) for shown in page]
    in_sevens = [shown for page in _all_pages(supervisor, "streaming-sessions/recent", 7) for shown in page]

    assert newest["sessionId"] == session
    assert in_sevens == everything
    assert _numbers(everything, busy) == [5, 4, 3, 2, 1]
    assert [shown["startedAt"] for shown in everything] == sorted(
        (shown["startedAt"] for shown in everything), reverse=True
    )


def test_a_session_that_ends_between_the_requests_for_two_pages_is_listed_once(people: People, admin: Person) -> None:
    person = people(credits=100)
    sessions = [person.open() for _ in range(4)]
    path = f"streaming-sessions/recent/{person.id}"
    first = admin.get(path, limit=2)
    assert person.finalize(sessions[0], 0).is_success
    assert person.finalize(sessions[3], 0).is_success

    second = admin.get(path, limit=2, cursor=first.headers["x-next-cursor"])

    seen = [shown["sessionId"] for shown in first.json() + second.json()]
    assert seen == sessions[::-1]


@pytest.mark.parametrize("path", ["active", "recent"])
def test_the_sessions_of_an_unknown_user_are_not_found(admin: Person, path: str) -> None:
    for reference in ("nobody-at-all", "nobody@nowhere.example", "nobody%40nowhere.example", "__proto__"):
        assert_refused(admin.get(f"streaming-sessions/{path}/{reference}"), 404, "USER_NOT_FOUND", "User not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "streaming-sessions"),
        ("GET", "streaming-sessions/initialize"),
        ("PUT", "streaming-sessions/finalize"),
        ("GET", "streaming-sessions/nothing"),
    ],
)
def test_an_unknown_route_is_not_found(admin: Person, method: str, path: str) -> None:
    assert_refused(admin.call(method, path), 404, "ROUTE_NOT_FOUND")
