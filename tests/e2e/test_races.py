"""Many clients use one user's credits at once: every client gets an answer, and the ledger still balances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.books import audited, items_of
from tests.e2e.client import MODEL, Person, assert_refused, at_once, described, new_id, statuses, together

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

CLIENTS = 32
REPEATS = 16
WARMING_ROUNDS = 4


@pytest.fixture(scope="module", autouse=True)
def warm(http: httpx.Client, token: Mint, people: People) -> None:
    """Make the emulator start all workers that the tests need, so that concurrent requests meet in the database.

    A call that finds no free worker starts another worker, which takes a second of processor time. On a busy machine,
    some calls time out. The workers that these calls started keep running, so all calls are sent again.
    """
    anybody = people()
    paths = ("credits/balance", "streaming-sessions/active")

    def with_a_new_token(_: int) -> httpx.Response:
        return Person(http, anybody.id, token(anybody.id, jti=new_id("token"))).get("credits/balance")

    _until_all_succeed(2 * CLIENTS, lambda number: anybody.get(paths[number % 2]))
    _until_all_succeed(REPEATS, with_a_new_token)


def _until_all_succeed(count: int, call: Callable[[int], httpx.Response]) -> None:
    for _ in range(WARMING_ROUNDS):
        if all(answer.is_success for answer, _ in together(count, call)):
            return


def _without(answers: list[httpx.Response], name: str) -> list[dict[str, object]]:
    return [{key: value for key, value in answer.json().items() if key != name} for answer in answers]


def test_exactly_ten_of_32_sessions_begin_if_the_credits_cover_ten(service: Stack, people: People) -> None:
    person = people(credits=20)

    def initialize(number: int) -> httpx.Response:
        body = {"sessionId": f"session-{number}", "modelId": MODEL, "estimatedTokens": 1000}
        return person.post("streaming-sessions/initialize", body)

    answers = at_once(CLIENTS, initialize)

    assert statuses(answers) == {201: 10, 402: 22}
    for answer in answers:
        if answer.status_code == 402:
            details = assert_refused(answer, 402, "INSUFFICIENT_CREDITS")
            assert details["requiredCredits"] == 2
            assert details["availableCredits"] < 2
            assert details["availableCredits"] + details["heldCredits"] == 20
    books = audited(service, person)
    assert books.kinds() == ["grant"] + ["hold"] * 10
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (0, 20)
    opened = {answer.json()["sessionId"] for answer in answers if answer.status_code == 201}
    assert {session["session_id"] for session in books.sessions} == opened


def test_16_identical_initializations_hold_once(service: Stack, people: People) -> None:
    # The credits cover one session. The 15 repeats must get the same session, not INSUFFICIENT_CREDITS.
    person = people(credits=6)
    body = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 5000}

    answers = at_once(REPEATS, lambda _: person.post("streaming-sessions/initialize", body))

    assert statuses(answers) == {201: 1, 200: 15}
    first, *others = _without(answers, "replayed")
    assert all(other == first for other in others)
    assert {answer.json().get("replayed") for answer in answers if answer.status_code == 200} == {True}
    books = audited(service, person)
    assert books.kinds() == ["grant", "hold"]
    assert books.balance["heldCredits"] == 6


def test_16_identical_finalizes_settle_once_and_all_get_the_same_answer(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(tokens=50_000)

    answers = at_once(REPEATS, lambda _: person.finalize(session, 42_000))

    assert statuses(answers) == {200: 16}
    expected = {
        "sessionId": session,
        "status": "completed",
        "estimatedCredits": 50,
        "actualCredits": 42,
        "refund": 18,
        "overrun": 0,
        "debt": 0,
    }
    assert _without(answers, "replayed") == [expected] * 16
    assert [answer.json().get("replayed") for answer in answers].count(None) == 1
    books = audited(service, person)
    assert books.kinds() == ["grant", "hold", "settle"]
    assert books.ledger[-1]["credits"] == 18
    assert len(books.usage) == 1
    assert books.balance["totalCredits"] == 58


def test_of_16_different_finalizes_exactly_one_settles_the_session(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(tokens=50_000)

    answers = at_once(REPEATS, lambda number: person.finalize(session, 1000 * number))

    assert statuses(answers) == {200: 1, 404: 15}
    (winner,) = (answer.json() for answer in answers if answer.status_code == 200)
    books = audited(service, person)
    assert [record["credits"] for record in books.usage] == [winner["actualCredits"]]
    assert books.balance["totalCredits"] == 100 - winner["actualCredits"]


def test_concurrent_finalizes_and_aborts_settle_a_session_once(service: Stack, people: People) -> None:
    person = people(credits=100)
    spent = 0
    for _ in range(5):
        session = person.open(tokens=10_000)

        def end(number: int, session: str = session) -> httpx.Response:
            return person.finalize(session, 4000) if number % 2 else person.abort(session, tokensGenerated=3000)

        answers = at_once(REPEATS, end)

        aborts, finalizes = answers[::2], answers[1::2]
        winners, losers = (finalizes, aborts) if finalizes[0].is_success else (aborts, finalizes)
        assert statuses(winners) == {200: 8}, [described(answer) for answer in answers]
        assert [answer.json().get("replayed") for answer in winners].count(None) == 1
        outcome = ("completed", "finalized") if winners is finalizes else ("failed", "aborted")
        for loser in losers:
            details = assert_refused(loser, 404, "SESSION_NOT_ACTIVE", "Active streaming session not found")
            assert (details["status"], details["outcome"]) == outcome
        spent += 4 if winners is finalizes else 3
    books = audited(service, person)
    assert books.kinds() == ["grant"] + ["hold", "settle"] * 5
    assert len(books.usage) == 5
    assert books.balance["totalCredits"] == 100 - spent


@pytest.mark.parametrize(("credits", "each", "served"), [(20, 1, 20), (100, 7, 14)])
def test_32_removals_never_make_the_balance_negative(
    service: Stack, people: People, admin: Person, credits: int, each: int, served: int
) -> None:
    person = people(credits=credits)

    answers = at_once(CLIENTS, lambda _: admin.call("DELETE", "credits/remove", {"userId": person.id, "credits": each}))

    assert statuses(answers) == {200: served, 402: CLIENTS - served}
    totals = sorted(answer.json()["totalCredits"] for answer in answers if answer.status_code == 200)
    assert totals == [credits - each * number for number in range(served, 0, -1)]
    books = audited(service, person)
    assert books.kinds() == ["grant"] + ["remove"] * served
    assert books.balance["totalCredits"] == credits - served * each


def test_one_idempotency_key_sent_16_times_allocates_once(service: Stack, people: People, admin: Person) -> None:
    person = people()
    key = new_id("key")
    body = {"userId": person.id, "credits": 70}

    answers = at_once(REPEATS, lambda _: admin.post("credits/allocate", body, Idempotency_Key=key))

    assert statuses(answers) == {201: 16}
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert [answer.headers.get("idempotency-replayed") for answer in answers].count("true") == 15
    books = audited(service, person)
    assert books.kinds() == ["grant"]
    assert books.balance["totalCredits"] == 70


def test_an_adjustment_to_zero_sent_16_times_with_one_key_is_never_refused(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=70)
    key = {"Idempotency-Key": new_id("key")}
    body = {"userId": person.id, "adjustment": -70}

    answers = at_once(REPEATS, lambda _: admin.call("PUT", "credits/adjust", body, headers=key))

    assert statuses(answers) == {200: 16}
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert audited(service, person).kinds() == ["grant", "adjust"]


@pytest.mark.parametrize("tokens", ["the same token", "16 different tokens"])
def test_the_first_16_requests_of_a_new_user_all_succeed(
    service: Stack, http: httpx.Client, token: Mint, tokens: str
) -> None:
    user_id = new_id("newcomer")
    distinct = REPEATS if tokens == "16 different tokens" else 1
    newcomers = [Person(http, user_id, token(user_id, jti=str(number))) for number in range(distinct)]

    answers = at_once(REPEATS, lambda number: newcomers[number % distinct].get("credits/balance"))

    assert statuses(answers) == {200: 16}
    assert {answer.json()["userId"] for answer in answers} == {user_id}
    assert [item["sk"] for item in items_of(service, user_id)] == ["PROFILE"]


def test_if_the_credits_cover_16_sessions_all_16_begin(service: Stack, people: People) -> None:
    person = people(credits=2 * REPEATS)

    answers = at_once(
        REPEATS,
        lambda number: person.post(
            "streaming-sessions/initialize",
            {"sessionId": f"session-{number}", "modelId": MODEL, "estimatedTokens": 1000},
        ),
    )

    assert statuses(answers) == {201: 16}
    assert audited(service, person).balance["totalCredits"] == 0


def test_after_many_different_commands_at_once_the_ledger_balances(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=500)
    sessions = [person.open(tokens=20_000) for _ in range(4)]

    def anything(number: int) -> httpx.Response:
        session = sessions[number // 8]
        calls = (
            lambda: person.heartbeat(session, 30_000),
            lambda: person.finalize(session, 25_000),
            lambda: person.abort(session),
            lambda: person.post(
                "streaming-sessions/initialize",
                {"sessionId": f"other-{number}", "modelId": MODEL, "estimatedTokens": 1000},
            ),
            lambda: admin.call("DELETE", "credits/remove", {"userId": person.id, "credits": 10}),
            lambda: admin.post("credits/allocate", {"userId": person.id, "credits": 5}),
            lambda: admin.call("PUT", "credits/adjust", {"userId": person.id, "adjustment": -3}),
            lambda: person.heartbeat(session, 1000),
        )
        return calls[number % 8]()

    answers = at_once(CLIENTS, anything)

    refused = [answer for answer in answers if not answer.is_success]
    assert {answer.json()["code"] for answer in refused} <= {"SESSION_NOT_ACTIVE"}
    books = audited(service, person)
    assert len(books.usage) == 4
    assert sum(session["status"] == "active" for session in books.sessions) == 4
    assert books.wallet["granted"] == 520
    assert books.wallet["removed"] == 52
