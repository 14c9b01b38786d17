"""A repeated request gets the first answer, unless its key has expired or, for initialize, its session has ended."""

from collections.abc import Callable

import pytest

from accounting.domain.errors import (
    IdempotencyConflict,
    InsufficientCredits,
    Invalid,
    SessionEnded,
    SessionExists,
    SessionNotActive,
    UserDisabled,
    UserNotFound,
)
from accounting.domain.pricing import PriceRule
from accounting.domain.users import Description
from accounting.operations import credits, prices, sessions, settling, usage
from accounting.operations.credits import CreditChange, Request
from accounting.operations.usage import Event
from accounting.operations.users import disable
from accounting.settings import settings
from accounting.store import prices as price_store
from accounting.store import users
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY
from tests.audit import assert_books_balance
from tests.integration.conftest import NOW
from tests.prices import per_thousand

MakeUser = Callable[..., str]


def request(key: str = "k", fingerprint: str = "same", caller: str = "boss", now: int = NOW) -> Request:
    return Request(caller, "u1", "note", 30, now, IdempotencyKey(caller, "r", key, fingerprint))


def description_of(user_id: str, email: str, now: int) -> Description:
    return Description.by_the_platform(user_id, email=email, username=user_id, role="user", now=now)


COMMANDS: dict[str, Callable[[Request], CreditChange]] = {
    "allocate": lambda request: credits.allocate(request, 7),
    "set more": lambda request: credits.set_available(request, 150),
    "set less": lambda request: credits.set_available(request, 50),
    "remove": lambda request: credits.remove(request, 100),
    "adjust up": lambda request: credits.adjust(request, 5),
    "adjust down": lambda request: credits.adjust(request, -100),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_repeat_gets_the_first_answer_and_nothing_happens_twice(command: str, user: MakeUser) -> None:
    user("u1", 100)
    first = COMMANDS[command](request())
    credits.set_available(Request("boss", "u1", "", 30, NOW + 1), 3)

    again = COMMANDS[command](request(now=NOW + 5))

    assert again == first._replace(replayed=True)
    assert assert_books_balance("u1").available == 3


def test_a_removal_that_emptied_the_balance_is_not_refused_when_repeated(user: MakeUser) -> None:
    user("u1", 100)
    credits.remove(request(), 100)

    again = credits.remove(request(), 100)

    assert (again.replayed, again.available, again.previous) == (True, 0, 100)
    assert assert_books_balance("u1").removed == 100


def test_a_refused_request_may_be_tried_again_with_its_key(user: MakeUser) -> None:
    user("u1", 10)
    with pytest.raises(InsufficientCredits):
        credits.remove(request(), 100)
    credits.allocate(Request("boss", "u1", "", 30, NOW), 90)

    change = credits.remove(request(), 100)

    assert not change.replayed
    assert assert_books_balance("u1").available == 0


@pytest.mark.parametrize("balance", [100, 1], ids=["enough", "too little"])
def test_a_key_that_was_used_for_another_body_is_a_conflict(balance: int, user: MakeUser) -> None:
    user("u1", 101)
    credits.remove(request(), 101 - balance)

    with pytest.raises(IdempotencyConflict):
        credits.remove(request(fingerprint="other"), 50)

    assert assert_books_balance("u1").available == balance


def test_a_key_is_kept_for_seven_days_and_can_then_be_reused(user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 7)

    kept = credits.allocate(request(now=NOW + 7 * DAY - 1000), 7)
    free = credits.allocate(request(fingerprint="other", now=NOW + 7 * DAY), 9)

    assert (kept.replayed, free.replayed) == (True, False)
    assert assert_books_balance("u1").available == 16
    with pytest.raises(IdempotencyConflict):
        credits.allocate(request(now=NOW + 7 * DAY + 1), 7)


def test_a_removal_is_decided_again_if_it_is_repeated_after_its_key_expired(user: MakeUser) -> None:
    user("u1", 100, days=300)
    credits.remove(request(), 100)

    with pytest.raises(InsufficientCredits):
        credits.remove(request(now=NOW + 7 * DAY), 100)


def test_two_callers_may_use_the_same_key(user: MakeUser) -> None:
    user("u1")

    one = credits.allocate(request(caller="one"), 7)
    other = credits.allocate(request(caller="other", fingerprint="other"), 8)

    assert not one.replayed
    assert not other.replayed
    assert assert_books_balance("u1").available == 15


def test_one_key_may_be_used_for_two_routes(user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 7)

    removal = request()._replace(key=IdempotencyKey("boss", "remove", "k", "same"))

    assert credits.remove(removal, 7).available == 0


def test_without_a_key_every_request_takes_effect(user: MakeUser) -> None:
    user("u1")
    for _ in range(2):
        credits.allocate(Request("boss", "u1", "", 30, NOW), 7)

    assert assert_books_balance("u1").available == 14


def test_a_repeated_initialize_holds_once_even_if_no_credits_are_left(user: MakeUser) -> None:
    user("u1", 6)
    first = sessions.initialize("u1", "s1", "m", 5_000, now=NOW)

    again = sessions.initialize("u1", "s1", "m", 5_000, now=NOW + 9)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.session == first.session
    assert assert_books_balance("u1").held == 6


@pytest.mark.parametrize("left", [0, 100])
@pytest.mark.parametrize(("model", "tokens"), [("m", 5_001), ("n", 5_000)])
def test_a_repeated_initialize_with_other_values_is_refused(model: str, tokens: int, left: int, user: MakeUser) -> None:
    user("u1", 6 + left)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)

    with pytest.raises(SessionExists):
        sessions.initialize("u1", "s1", model, tokens, now=NOW)

    assert assert_books_balance("u1").held == 6


ENDS: dict[str, Callable[[], object]] = {
    "finalized": lambda: settling.finalize("u1", "s1", 5_000, success=True, now=NOW),
    "aborted": lambda: settling.abort("u1", "s1", None, now=NOW),
    "swept": lambda: settling.force_end("u1", "s1", actor="boss", reason="stuck", now=NOW),
}


@pytest.mark.parametrize("left", [0, 100])
@pytest.mark.parametrize("outcome", ENDS)
@pytest.mark.parametrize(("model", "tokens"), [("m", 5_000), ("n", 5_000), ("m", 1)])
def test_the_id_of_an_ended_session_cannot_be_used_again(
    outcome: str, model: str, tokens: int, left: int, user: MakeUser
) -> None:
    """A repeat is refused too, because the first answer says that credits are held, which is no longer true."""
    user("u1", 6 + left)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    ENDS[outcome]()
    if not left:
        credits.set_available(Request("boss", "u1", "", 30, NOW), 0)

    with pytest.raises(SessionEnded) as refused:
        sessions.initialize("u1", "s1", model, tokens, now=NOW + 9)

    assert refused.value.details["outcome"] == outcome
    assert assert_books_balance("u1").held == 0


def test_a_repeated_initialize_gets_the_first_answer(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hold, the tokens, the price and the settings have changed since the first request."""
    user("u1", 5)
    with monkeypatch.context() as reducing:
        reducing.setenv("HOLD_BUFFER_WHEN_SHORT", "reduce")
        settings.cache_clear()
        first = sessions.initialize("u1", "s1", "m", 5_000, now=NOW).session
    settings.cache_clear()
    credits.allocate(Request("boss", "u1", "", 30, NOW), 100)
    sessions.heartbeat("u1", "s1", 50_000, now=NOW + 5)
    prices.add(PriceRule("m", per_thousand(990_000), NOW + 1), now=NOW, key=None)
    price_store.forget()

    again = sessions.initialize("u1", "s1", "m", 5_000, now=NOW + 9)

    assert again.replayed
    first_values = (first.initial_credits, first.estimated_credits, first.initial_expires_at)
    assert first_values == (5, 5, NOW + settings().session_timeout)
    later = again.session
    assert (later.initial_credits, later.estimated_credits, later.initial_expires_at) == first_values


def test_a_repeated_finalize_gets_the_first_answer(user: MakeUser) -> None:
    user("u1", 60)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    first = settling.finalize("u1", "s1", 2_000, success=True, now=NOW + 1)

    again = settling.finalize("u1", "s1", 2_000, success=True, now=NOW + 99_999)

    assert (again.replayed, again.session) == (True, first.session)
    assert assert_books_balance("u1").charged == 2


def test_an_abort_or_a_different_finalize_is_refused_after_a_finalize(user: MakeUser) -> None:
    user("u1", 60)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    settling.finalize("u1", "s1", 2_000, success=False, now=NOW)

    ends: list[Callable[[], object]] = [
        lambda: settling.finalize("u1", "s1", 2_001, success=False, now=NOW),
        lambda: settling.finalize("u1", "s1", 2_000, success=True, now=NOW),
        lambda: settling.abort("u1", "s1", 2_000, now=NOW),
        lambda: settling.abort("u1", "s1", None, now=NOW),
    ]
    for end in ends:
        with pytest.raises(SessionNotActive) as refused:
            end()
        assert refused.value.details == {"sessionId": "s1", "status": "failed", "outcome": "finalized"}

    assert assert_books_balance("u1").charged == 2


def test_an_abort_without_tokens_counts_as_a_repeat_of_any_abort(user: MakeUser) -> None:
    user("u1", 60)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    sessions.initialize("u1", "s2", "m", 5_000, now=NOW)
    sessions.heartbeat("u1", "s1", 1_500, now=NOW)
    first = settling.abort("u1", "s1", None, now=NOW)

    assert settling.abort("u1", "s1", None, now=NOW).session == first.session
    settling.abort("u1", "s2", 700, now=NOW)
    assert settling.abort("u1", "s2", None, now=NOW).session.settled.tokens == 700
    assert settling.abort("u1", "s1", 1_500, now=NOW).replayed
    assert first.session.settled.credits == 2


def test_a_request_that_named_a_user_by_email_can_be_repeated_after_the_email_changed(user: MakeUser) -> None:
    """At the first repeat, no user has the old address. At the second, another user has it."""
    user("u1", 10)
    by_address = request()._replace(user="u1@example.com")
    first = credits.allocate(by_address, 7)
    users.sync(description_of("u1", "new@example.com", NOW + 1), NOW + 1)

    assert credits.allocate(by_address, 7) == first._replace(replayed=True)
    with pytest.raises(UserNotFound):
        credits.allocate(by_address._replace(key=None), 7)

    users.sync(description_of("u2", "u1@example.com", NOW + 2), NOW + 2)
    assert credits.allocate(by_address, 7) == first._replace(replayed=True)
    assert assert_books_balance("u1").available == 17
    assert assert_books_balance("u2").available == 0


def test_a_repeated_allocation_is_answered_even_after_its_credits_expired(user: MakeUser) -> None:
    user("u1")
    until = request()._replace(expires_at=NOW + DAY)
    first = credits.allocate(until, 7)
    late = until._replace(now=NOW + 2 * DAY)

    assert credits.allocate(late, 7) == first._replace(replayed=True)
    with pytest.raises(Invalid, match="expiresAt"):
        credits.allocate(late._replace(key=None), 7)


@pytest.mark.parametrize("deduct", [True, False])
def test_a_repeated_record_is_answered_after_its_user_was_disabled(deduct: bool, user: MakeUser) -> None:
    user("u1", 10)
    event = Event("u1", "s", "o", 5, {}, deduct)
    key = IdempotencyKey("u1", "usage", "k", "fingerprint")
    first = usage.record(event, now=NOW, key=key)
    disable("u1", by="boss", reason="left", now=NOW)

    assert usage.record(event, now=NOW, key=key) == first._replace(replayed=True)
    with pytest.raises(UserDisabled):
        usage.record(event, now=NOW, key=key._replace(key="other"))
