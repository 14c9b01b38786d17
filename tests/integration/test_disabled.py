"""A disabled user cannot begin anything new, but can end open sessions, and keeps their credits."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from accounting.domain.errors import Invalid, UserDisabled, UserNotFound
from accounting.domain.users import Description
from accounting.operations import credits, sessions, settling, usage
from accounting.operations import users as operations
from accounting.operations.credits import Request
from accounting.operations.usage import Event
from accounting.store import prices, users, wallets
from accounting.store import sessions as session_store
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.integration.test_events import CONTEXT, app, event
from tests.together import times, together

MakeUser = Callable[..., str]


def disable(user_id: str = "u1", reason: str = "left") -> None:
    operations.disable(user_id, by="boss", reason=reason, now=NOW)


def record(*, deduct: bool = True) -> object:
    return usage.record(Event("u1", "s", "o", 5, {}, deduct), now=NOW, key=None)


def initialize(session_id: str = "new") -> object:
    return sessions.initialize("u1", session_id, "m", 1_000, now=NOW)


@pytest.fixture
def frozen(user: MakeUser) -> None:
    """A disabled user with two open sessions and credits."""
    user("u1", 100)
    initialize("a")
    initialize("b")
    disable()


@pytest.mark.usefixtures("frozen")
def test_a_disabled_user_can_neither_hold_nor_charge_credits_nor_read_their_balance() -> None:
    before = wallets.get(ACCOUNT)

    for refused in (initialize, record, lambda: credits.own_balance(ACCOUNT, NOW)):
        with pytest.raises(UserDisabled):
            refused()
    assert wallets.get(ACCOUNT) == before
    assert users.is_disabled("u1")


@pytest.mark.usefixtures("frozen")
def test_a_disabled_user_can_still_end_open_sessions() -> None:
    sessions.heartbeat("u1", "a", 1_000, now=NOW)
    for _again in range(2):
        with pytest.raises(UserDisabled):
            sessions.heartbeat("u1", "a", 50_000, now=NOW)
    session = session_store.get("u1", "a")
    assert session is not None
    assert session.tokens == 50_000, "a refused heartbeat must store its tokens, because they were generated"

    settling.abort("u1", "a", None, now=NOW)
    settling.finalize("u1", "b", 0, success=True, now=NOW)

    wallet = assert_books_balance("u1")
    assert (wallet.held, wallet.charged, wallet.available, wallet.frozen) == (0, 50, 50, True)


@pytest.mark.usefixtures("frozen")
def test_administrators_can_change_a_disabled_users_credits() -> None:
    credits.allocate(Request("boss", "u1", "", 30, NOW), 10)
    credits.remove(Request("boss", "u1", "", 30, NOW), 5)
    credits.set_available(Request("boss", "u1", "", 30, NOW), 42)

    assert credits.balance_of("u1", NOW).available == 42
    assert assert_books_balance("u1").frozen


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("user_id", "status"), [("u1", 403), ("boss", 200)])
def test_a_disabled_user_cannot_read_their_balance_by_account_id_but_an_administrator_can(
    user_id: str, status: int
) -> None:
    users.sync(Description("boss", "boss@example.com", "boss", "admin"), NOW)
    request = event("credits/balance")
    request |= {
        "queryStringParameters": {"accountId": ACCOUNT},
        "multiValueQueryStringParameters": {"accountId": [ACCOUNT]},
    }
    request["requestContext"]["authorizer"] |= {"userId": user_id, "role": "admin" if user_id == "boss" else "user"}
    answer = app("credits").handler(request, CONTEXT)

    assert answer["statusCode"] == status
    if status == 200:
        assert json.loads(answer["body"])["heldCredits"] > 0


@pytest.mark.usefixtures("frozen")
def test_a_user_who_is_enabled_again_can_hold_and_charge_credits() -> None:
    operations.enable("u1", now=NOW)

    initialize("c")
    record()
    assert not users.is_disabled("u1")
    assert not assert_books_balance("u1").frozen


def test_disabling_a_user_without_a_wallet_creates_a_frozen_wallet(user: MakeUser) -> None:
    user("u1")
    disable()

    with pytest.raises(UserDisabled):
        initialize()
    credits.allocate(Request("boss", "u1", "", 30, NOW), 10)
    with pytest.raises(UserDisabled):
        initialize()
    assert assert_books_balance("u1").available == 10


def test_disabling_a_disabled_user_or_enabling_an_enabled_user_changes_nothing(user: MakeUser, calls: Calls) -> None:
    user("u1")
    disable(reason="first")
    calls.reset()

    disable(reason="second")
    assert calls.write_units == 0
    found = users.find("u1")
    assert found is not None
    assert found.disabled_reason == "first"
    operations.enable("u1", now=NOW)
    calls.reset()
    operations.enable("u1", now=NOW)
    assert calls.write_units == 0


def test_an_administrator_can_disable_neither_themselves_nor_an_unknown_user(user: MakeUser) -> None:
    user("boss")
    with pytest.raises(Invalid):
        disable("boss")
    with pytest.raises(Invalid):
        disable("boss@example.com")
    with pytest.raises(UserNotFound):
        disable("nobody")


def test_a_hold_either_precedes_a_concurrent_disabling_or_is_refused(user: MakeUser) -> None:
    user("u1", 10_000)
    for round_ in range(6):
        calls = [partial(initialize, f"{round_}-{number}") for number in range(6)]
        answers = together(*calls[:3], disable, *calls[3:])
        assert all(answer is None or isinstance(answer, UserDisabled | sessions.Answer) for answer in answers), answers
        wallet = assert_books_balance("u1")
        assert wallet.frozen
        with pytest.raises(UserDisabled):
            initialize(f"{round_}-after")
        operations.enable("u1", now=NOW)


def test_concurrent_disabling_and_enabling_leave_profile_and_wallet_consistent(user: MakeUser) -> None:
    user("u1", 10_000)
    descriptions = [Description("u1", username=f"n{number}", issued_at=number) for number in range(4)]

    together(
        *times(4, disable),
        *(partial(users.sync, each, NOW) for each in descriptions),
        *times(4, lambda: credits.allocate(Request("boss", "u1", "", 30, NOW), 1)),
        *times(3, lambda: operations.enable("u1", now=NOW)),
    )

    profile, wallet = users.find("u1"), assert_books_balance("u1")
    assert profile is not None
    assert profile.disabled == wallet.frozen
    assert wallet.granted == 10_004


def test_the_check_for_disabled_users_adds_no_cost_to_a_hold(user: MakeUser, calls: Calls) -> None:
    user("u1", 1_000)
    disable()
    operations.enable("u1", now=NOW)
    prices.card_at("m", NOW)
    calls.reset()

    initialize()
    assert (calls.round_trips, calls.write_units) == (2, 9)
