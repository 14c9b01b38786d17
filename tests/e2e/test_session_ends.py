"""The id of an ended session cannot be used again. Usage that arrives after a sweep is settled once.

Reports of usage may have unknown fields.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.books import audited, items_of
from tests.e2e.client import MODEL, assert_refused, at_once, new_id, path_references

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

INITIALIZE = "streaming-sessions/initialize"


def force_end(by: Person, of: Person, session: str, reason: str = "stuck") -> Any:
    return by.ok("POST", f"streaming-sessions/{of.id}/{session}/end", {"reason": reason})


@pytest.mark.parametrize("outcome", ["finalized", "aborted", "swept"])
def test_the_id_of_an_ended_session_cannot_be_used_again(
    service: Stack, people: People, admin: Person, outcome: str
) -> None:
    person, session = people(credits=100), new_id("session")
    request = {"sessionId": session, "modelId": MODEL, "estimatedTokens": 10_000}
    person.open(10_000, session_id=session)
    if outcome == "finalized":
        person.finalize(session, 9_000)
    elif outcome == "aborted":
        person.abort(session)
    else:
        force_end(admin, person, session)
    before = items_of(service, person.id)

    for again in (request, request | {"estimatedTokens": 1}, request | {"modelId": "another-model"}):
        details = assert_refused(person.post(INITIALIZE, again), 409, "SESSION_ENDED")
        status = "completed" if outcome == "finalized" else "failed"
        assert details == {"sessionId": session, "status": status, "outcome": outcome}

    assert items_of(service, person.id) == before
    assert person.balance()["heldCredits"] == 0


def test_initialize_and_finalize_at_the_same_time_leave_nothing_held(people: People) -> None:
    """Before the session's end, initialize is a repeat and answers 200. After the end, initialize answers 409."""
    person = people(credits=1_000)
    session = person.open(10_000)
    request = {"sessionId": session, "modelId": MODEL, "estimatedTokens": 10_000}

    answers = at_once(6, lambda n: person.finalize(session, 9_000) if n == 0 else person.post(INITIALIZE, request))

    assert {answer.status_code for answer in answers[1:]} <= {200, 409}
    assert person.balance() | {"activeAllocations": []} == {
        "userId": person.id,
        "accountId": f"user:{person.id}",
        "totalCredits": 991,
        "heldCredits": 0,
        "debt": 0,
        "activeAllocations": [],
    }


def test_usage_that_arrives_late_is_settled_once(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    person.heartbeat(session, 20_000)
    ended = force_end(admin, person, session, "no sign of life since noon")
    assert (ended["status"], ended["outcome"], ended["usedCredits"]) == ("failed", "swept", 20)
    assert person.balance()["totalCredits"] == 80

    first = person.finalize(session, 45_000)
    again = person.finalize(session, 45_000)

    assert first.status_code == 200
    assert {
        "status": "completed",
        "actualCredits": 45,
        "lateCredits": 25,
        "overrun": 25,
        "refund": 0,
        "debt": 0,
    }.items() <= first.json().items()
    assert again.json() == first.json() | {"replayed": True}
    assert_refused(person.finalize(session, 46_000), 404, "SESSION_NOT_ACTIVE")
    assert_refused(person.abort(session), 404, "SESSION_NOT_ACTIVE")
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (55, 0)
    assert [record["credits"] for record in books.usage] == [20, 25]
    statistics = person.ok("GET", "usage/stats")
    assert (statistics["totalCredits"], statistics["byModel"]) == (45, {MODEL: 45})
    (shown,) = admin.ok("GET", f"streaming-sessions/recent/{person.id}")
    assert (shown["usedCredits"], shown["lateCredits"], shown["reportedTokens"]) == (45, 25, 20_000)


def test_late_usage_below_what_the_sweep_charged_refunds_the_difference(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=100)
    session = person.open(50_000)
    person.heartbeat(session, 40_000)
    force_end(admin, person, session)

    answer = person.abort(session, tokensGenerated=10_000).json()

    assert (answer["partialCredits"], answer["lateCredits"], answer["refund"]) == (10, -30, 30)
    assert audited(service, person).balance["totalCredits"] == 90
    assert person.ok("GET", "usage/stats")["totalCredits"] == 10


def test_a_supervisor_can_end_a_session_of_a_user_given_by_id_or_email(people: People) -> None:
    person, supervisor = people(credits=100), people("supervisor")
    for name in path_references(person).values():
        session = f"s/{new_id('session')}"
        person.open(1_000, session_id=session)
        in_path = session.replace("/", "%252F")
        ended = supervisor.ok("POST", f"streaming-sessions/{name}/{in_path}/end", {"reason": "a test"})
        assert (ended["sessionId"], ended["outcome"]) == (session, "swept")

    entry = person.ok("GET", "credits/ledger", params={"limit": 1})["entries"][0]
    assert (entry["actor"], entry["reason"]) == (supervisor.id, "a test")
    assert person.balance()["heldCredits"] == 0


def test_only_an_active_session_can_be_ended(service: Stack, people: People, admin: Person) -> None:
    person, other = people(credits=100), people(credits=100)
    session = person.open(1_000)
    person.finalize(session, 500)
    path = "streaming-sessions/{}/{}/end"
    for user, named in ((person.id, session), (person.id, "nothing"), (other.id, session)):
        assert_refused(admin.post(path.format(user, named), {"reason": "x"}), 404, "SESSION_NOT_ACTIVE")
    assert_refused(admin.post(path.format("nobody-at-all", session), {"reason": "x"}), 404, "USER_NOT_FOUND")
    assert [record["credits"] for record in audited(service, person).usage] == [1]


def test_the_answer_to_a_report_lists_its_unknown_fields_and_parameters(people: People) -> None:
    person = people(credits=100)
    one, other = person.open(1_000), person.open(1_000)
    more = {"tokenGenerated": 5, "usages": {"input_tokens": 5}}

    beat = person.post("streaming-sessions/heartbeat", {"sessionId": one, "tokensGenerated": 500, **more})
    finalized = person.post("streaming-sessions/finalize?debug=1", {"sessionId": one, "actualTokens": 800, **more})
    aborted = person.abort(other, tokensGenerated=100, **more)

    assert beat.json()["ignored"] == ["tokenGenerated", "usages"]
    assert finalized.json()["ignored"] == ["debug", "tokenGenerated", "usages"]
    assert aborted.json()["ignored"] == ["tokenGenerated", "usages"]
    assert "ignored" not in person.finalize(one, 800).json()
    assert person.balance()["totalCredits"] == 98


@pytest.mark.parametrize(
    "field",
    ['"\\ud83d": 1', '"zz": "\\ud83d"', f'"zz": 1e{"9" * 19}', '"zz": NaN', f'"zz": {"[" * 20_000}{"]" * 20_000}'],
    ids=lambda field: field[:16],
)
def test_a_report_is_accepted_whatever_unknown_field_it_has(service: Stack, people: People, field: str) -> None:
    person = people(credits=1000)
    session, other = person.open(1000), person.open(1000)
    reports = [
        ("heartbeat", f'"sessionId": "{session}", "tokensGenerated": 10'),
        ("finalize", f'"sessionId": "{session}", "actualTokens": 2000, "success": null'),
        ("abort", f'"sessionId": "{other}", "tokensGenerated": 10'),
    ]

    for name, known in reports:
        answer = person.call("POST", f"streaming-sessions/{name}", f"{{{known}, {field}}}".encode())
        assert (answer.status_code, len(answer.json()["ignored"])) == (200, 1), answer.text
        answer.content.decode()
        if name == "heartbeat":
            (active,) = [each for each in person.ok("GET", "streaming-sessions/active") if each["sessionId"] == session]
            assert active["tokensGenerated"] == 10
    books = audited(service, person)
    recorded = {}
    for record in books.usage:
        metadata = json.loads(record["metadata"])
        recorded[metadata["sessionId"]] = (metadata["tokens"], record["credits"])
    assert recorded == {session: (2000, 2), other: (10, 1)}
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (997, 0)
