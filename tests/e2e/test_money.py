"""Where credits go: overruns and debt, refunds that keep the expiry of their lot, exact prices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.lots import SECOND
from accounting.domain.pricing import PriceRule
from accounting.store import lots, prices
from accounting.store.table import pack
from accounting.times import DAY, clock
from tests.e2e.books import audited, dynamodb, items_of
from tests.e2e.client import Person, assert_refused, new_id
from tests.prices import per_thousand

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.stack import Stack
    from tests.e2e.conftest import People


# ----------------------------------------------------------------------------------------------------------- overrun


def test_an_overrun_is_charged_from_the_remaining_credits(service: Stack, people: People) -> None:
    person = people(credits=100)
    session = person.open(3000)  # holds 4

    answer = person.finalize(session, 60_000)

    assert answer.json() == {
        "sessionId": session,
        "status": "completed",
        "estimatedCredits": 3,
        "actualCredits": 60,
        "refund": 0,
        "overrun": 56,
        "debt": 0,
    }
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"], books.balance["debt"]) == (40, 0, 0)
    assert (books.ledger[-1]["kind"], books.ledger[-1]["charged"], books.ledger[-1]["credits"]) == ("settle", 60, -56)


def test_an_uncovered_overrun_becomes_debt_that_the_next_grants_repay(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=20)
    session = person.open(3000)

    answer = person.finalize(session, 60_000).json()

    assert (answer["actualCredits"], answer["refund"], answer["overrun"], answer["debt"]) == (60, 0, 56, 40)
    balance = audited(service, person).balance
    assert (balance["totalCredits"], balance["heldCredits"], balance["debt"]) == (0, 0, 40)
    assert_refused(
        person.post("streaming-sessions/initialize", {"sessionId": "x", "modelId": "m", "estimatedTokens": 1}),
        402,
        "INSUFFICIENT_CREDITS",
    )

    part = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 15})
    rest = admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 30})

    assert (part["credits"], part["remainingCredits"]) == (15, 0)
    assert (rest["credits"], rest["remainingCredits"]) == (30, 5)
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["debt"]) == (5, 0)
    assert [(entry["kind"], entry["credits"], entry["debtAfter"]) for entry in books.ledger[-4:]] == [
        ("grant", 15, 40),
        ("repay", -15, 25),
        ("grant", 30, 25),
        ("repay", -25, 0),
    ]
    remaining = [grant["remainingCredits"] for grant in person.ok("GET", "credits/allocations")["allocations"]]
    assert remaining == [5, 0, 0]


def test_a_refund_of_another_session_repays_the_debt(service: Stack, people: People) -> None:
    person = people(credits=24)
    other, session = person.open(10_000), person.open(10_000)
    assert person.finalize(session, 20_000).json()["debt"] == 8

    assert person.abort(other).json()["refund"] == 12

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["debt"]) == (4, 0)
    assert books.kinds()[-2:] == ["release", "repay"]


def test_setting_the_balance_writes_off_the_debt(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=20)
    assert person.finalize(person.open(3000), 60_000).json()["debt"] == 40

    answer = admin.ok("POST", "credits/set", {"userId": person.id, "credits": 10})

    assert answer["totalCredits"] == 10
    balance = audited(service, person).balance
    assert (balance["totalCredits"], balance["debt"]) == (10, 0)


# ----------------------------------------------------------------------------------------------------------- refunds


@pytest.mark.parametrize(
    ("end", "used"),
    [
        (lambda person, session: person.finalize(session, 0), 0),
        (lambda person, session: person.finalize(session, 300_000), 300),
        (lambda person, session: person.finalize(session, 800_000), 800),
        (lambda person, session: person.abort(session), 0),
        (lambda person, session: person.abort(session, tokensGenerated=300_000), 300),
    ],
    ids=["unused", "used in part", "overrun", "aborted", "aborted, used in part"],
)
def test_refunded_credits_keep_their_expiry(
    service: Stack, people: People, admin: Person, end: Callable[[Person, str], Any], used: int
) -> None:
    person = people()
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 1000, "expiryDays": 1})
    (before,) = person.balance()["activeAllocations"]
    session = person.open(500_000)

    assert end(person, session).is_success

    (after,) = person.balance()["activeAllocations"]
    assert after == {**before, "credits": 1000 - used}
    assert audited(service, person).balance["totalCredits"] == 1000 - used


def test_settling_a_hold_from_two_lots_charges_the_lot_that_expires_sooner_first(
    service: Stack, people: People, admin: Person
) -> None:
    person = people()
    for credits, days in ((100, 20), (40, 1)):
        admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": credits, "expiryDays": days})
    before = person.balance()["activeAllocations"]
    session = person.open(100_000)
    assert [lot["credits"] for lot in person.balance()["activeAllocations"]] == [20]

    assert person.finalize(session, 50_000).is_success

    after = person.balance()["activeAllocations"]
    assert after == [{**before[1], "credits": 90}]
    session = person.open(70_000)
    assert person.abort(session).is_success
    assert person.balance()["activeAllocations"] == after
    assert audited(service, person).balance["totalCredits"] == 90


def _let_lots_expire(service: Stack, person: Person) -> None:
    """Move the expiry of all of a user's lots, in the wallet and in holds, into the past."""
    past = (clock() - DAY) // SECOND * SECOND
    for item in items_of(service, person.id):
        attribute = {"WALLET": "lots", "SESSION": "parts"}.get(item["sk"].partition("#")[0])
        if attribute:
            expired = lots.to_text(lot._replace(expires_at=past) for lot in lots.from_text(item[attribute]))
            dynamodb(service).put_item(TableName=service.table_name, Item=pack({**item, attribute: expired}))


def test_expired_credits_cannot_be_spent_and_the_next_command_records_the_expiry(
    service: Stack, people: People, admin: Person
) -> None:
    person = people(credits=100)
    _let_lots_expire(service, person)
    before = items_of(service, person.id)

    balance = person.balance()
    assert (balance["totalCredits"], balance["activeAllocations"]) == (0, [])
    assert person.ok("POST", "credits/check", {"requiredCredits": 1})["sufficient"] is False
    remove = admin.call("DELETE", "credits/remove", {"userId": person.id, "credits": 1})
    assert assert_refused(remove, 402, "INSUFFICIENT_CREDITS")["availableCredits"] == 0
    assert items_of(service, person.id) == before

    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 5})
    books = audited(service, person)
    assert [(entry["kind"], entry["credits"], entry["actor"]) for entry in books.ledger] == [
        ("grant", 100, admin.id),
        ("expire", -100, "system"),
        ("grant", 5, admin.id),
    ]
    assert books.wallet["expired"] == 100


def test_a_refund_of_credits_that_expired_while_held_is_valid_for_one_day(service: Stack, people: People) -> None:
    person = people(credits=60)
    session = person.open(50_000)
    _let_lots_expire(service, person)

    assert person.finalize(session, 10_000).json()["refund"] == 50

    (lot,) = person.balance()["activeAllocations"]
    books = audited(service, person)
    lifetime = lots.from_text(books.wallet["lots"])[0].expires_at - clock()
    assert lot["credits"] == 50
    assert DAY - 120_000 < lifetime <= DAY + SECOND


# ------------------------------------------------------------------------------------------------------------ prices


def _price(service: Stack, price_e4: int, *, since: int = 0, until: int | None = None, model: str = "") -> str:
    """Set a model's price of 1,000 tokens, in ten-thousandths of a credit, and return the id of the model."""
    model = model or new_id("model")
    item = pack(prices.to_item(PriceRule(model, per_thousand(price_e4), since, until)))
    dynamodb(service).put_item(TableName=service.table_name, Item=item)
    return model


@pytest.mark.parametrize(
    ("price_e4", "price", "tokens", "credits"),
    [
        (11_000, 1.1, 110_000, 121),
        (11_000, 1.1, 110_001, 122),
        (175, 0.0175, 400_000, 7),
        (175, 0.0175, 400_001, 8),
        (1, 0.0001, 10_000_000, 1),
        (1, 0.0001, 10**9, 100),
        (0, 0, 10**9, 0),
        (10**12 + 1, 100_000_000.0001, 10**9, 10**14 + 100),
    ],
)
def test_prices_are_exact(
    service: Stack, people: People, price_e4: int, price: float, tokens: int, credits: int
) -> None:
    person, model = people(), _price(service, price_e4)

    answer = person.ok("POST", "credits/calculate", {"modelId": model, "tokens": tokens})

    assert answer == {"modelId": model, "tokens": tokens, "credits": credits, "pricePerThousandTokens": price}


@pytest.mark.parametrize(("price_e4", "tokens", "credits", "held"), [(11_000, 110_000, 121, 146), (175, 400_000, 7, 9)])
def test_sessions_hold_and_settle_exact_amounts(
    service: Stack, people: People, price_e4: int, tokens: int, credits: int, held: int
) -> None:
    person, model = people(credits=200), _price(service, price_e4)
    session = person.open(tokens, model)
    assert person.balance()["heldCredits"] == held

    answer = person.finalize(session, tokens).json()

    assert (answer["estimatedCredits"], answer["actualCredits"], answer["refund"]) == (credits, credits, held - credits)
    assert audited(service, person).balance["totalCredits"] == 200 - credits


def test_a_session_settles_at_the_price_that_it_began_with(service: Stack, people: People) -> None:
    person, change = people(credits=200), clock() + 2500
    model = _price(service, 20_000)
    _price(service, 990_000, since=change, model=model)
    session = person.open(50_000, model)
    _wait_for(lambda: _price_now(person, model) == 99)

    answer = person.finalize(session, 50_000).json()

    assert (answer["estimatedCredits"], answer["actualCredits"], answer["refund"]) == (100, 100, 20)


def _price_now(person: Person, model: str) -> float:
    price: float = person.ok("POST", "credits/calculate", {"modelId": model, "tokens": 1})["pricePerThousandTokens"]
    return price


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_price_rule_that_began_last_and_has_not_ended_applies(service: Stack, people: People) -> None:
    now, person = clock(), people()
    model = _price(service, 10_000, since=now - 9 * DAY)
    _price(service, 20_000, since=now - 5 * DAY, model=model)
    _price(service, 30_000, since=now - 3 * DAY, until=now - DAY, model=model)
    _price(service, 40_000, since=now + DAY, model=model)

    answer = person.ok("POST", "credits/calculate", {"modelId": model, "tokens": 1000})

    assert answer["pricePerThousandTokens"] == 2
