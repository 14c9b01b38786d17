"""Many callers change one wallet at once: in any order, the ledger balances and no request takes effect twice."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from accounting.domain.budgets import Allowance, Spender
from accounting.domain.errors import InsufficientCredits, SessionNotActive
from accounting.domain.users import Description
from accounting.domain.wallet import Wallet
from accounting.operations import credits, sessions, settling
from accounting.operations.credits import Request
from accounting.store import allowances, keys, table, users
from accounting.store.idempotency import IdempotencyKey
from tests.audit import assert_books_balance
from tests.integration.conftest import ACCOUNT, NOW
from tests.together import times, together

MODEL = "m"  # has no price rule, so it costs the default: 1 credit per 1,000 tokens

MakeUser = Callable[..., str]


@pytest.fixture(autouse=True)
def _one_client(table_name: str) -> None:
    """Create the store's client before threads race to create it."""
    table.client()


def initialize(session_id: str, tokens: int = 5_000) -> Any:
    return sessions.initialize("u1", session_id, MODEL, tokens, now=NOW + 1)


def finalize(session_id: str, tokens: int = 2_000) -> Any:
    return settling.finalize("u1", session_id, tokens, success=True, now=NOW + 2)


def request(key: str | None = None, now: int = NOW + 1) -> Request:
    return Request("boss", "u1", "", 30, now, IdempotencyKey("boss", "r", key, "same") if key else None)


def count(prefix: str) -> int:
    return len(table.query(keys.wallet(ACCOUNT)["pk"], prefix, prefix + "~", limit=1_000))


def stored_wallet() -> dict[str, Any]:
    found = table.get(keys.wallet(ACCOUNT))
    assert found
    return dict(found)


def kinds(answers: list[Any]) -> Counter[str]:
    return Counter(type(answer).__name__ for answer in answers)


def test_exactly_ten_of_32_sessions_open_if_the_wallet_covers_ten(user: MakeUser) -> None:
    user("u1", 60)  # a session holds 6

    answers = together(*(partial(initialize, f"s{number}") for number in range(32)))

    assert kinds(answers) == {"Answer": 10, "InsufficientCredits": 22}
    wallet = assert_books_balance("u1")
    assert (wallet.available, wallet.held) == (0, 60)


def test_a_command_stores_how_many_commands_overtook_it(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that was not overtaken removes the stored number."""
    user("u1", 60)
    read, between = allowances.read, iter(("s2", "s3"))

    def read_then_overtake(spender: Spender) -> tuple[Wallet, Allowance]:
        found = read(spender)
        for session_id in between:
            initialize(session_id)
        return found

    monkeypatch.setattr(allowances, "read", read_then_overtake)
    initialize("s1")
    assert stored_wallet()["passed"] == 2

    initialize("s4")
    assert "passed" not in stored_wallet()
    assert assert_books_balance("u1").held == 24


def test_32_removals_never_go_below_zero(user: MakeUser) -> None:
    user("u1", 100)

    answers = together(*times(32, lambda: credits.remove(request(), 7)))

    assert kinds(answers) == {"CreditChange": 14, "InsufficientCredits": 18}
    assert assert_books_balance("u1").available == 2
    assert {answer.available for answer in answers if not isinstance(answer, Exception)} == set(range(2, 101 - 7, 7))


def test_16_identical_initializations_hold_once(user: MakeUser) -> None:
    user("u1", 10)  # enough for one session

    answers = together(*times(16, lambda: initialize("s1")))

    assert kinds(answers) == {"Answer": 16}
    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 15}
    assert [answer.session for answer in answers] == [answers[0].session] * 16
    assert assert_books_balance("u1").held == 6


def test_16_identical_finalize_requests_settle_once_and_get_the_same_answer(user: MakeUser) -> None:
    user("u1", 60)
    initialize("s1")

    answers = together(*times(16, lambda: finalize("s1")))

    assert kinds(answers) == {"Answer": 16}
    assert len({answer.session.settled for answer in answers}) == 1
    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 15}
    assert count("USAGE#") == 1
    wallet = assert_books_balance("u1")
    assert (wallet.available, wallet.held, wallet.charged) == (58, 0, 2)


def test_a_concurrent_finalize_and_abort_settle_once(user: MakeUser) -> None:
    user("u1", 1_000)
    rounds = 20
    for number in range(rounds):
        initialize(f"s{number}")

    charged = 0
    for number in range(rounds):
        session_id = f"s{number}"
        answers = together(
            partial(finalize, session_id, 3_000), partial(settling.abort, "u1", session_id, 1_000, now=NOW + 2)
        )
        assert kinds(answers) == {"Answer": 1, "SessionNotActive": 1}
        charged += next(answer.session.settled.credits for answer in answers if isinstance(answer, sessions.Answer))

    wallet = assert_books_balance("u1")
    assert (wallet.charged, wallet.held, count("USAGE#")) == (charged, 0, rounds)


def test_one_idempotency_key_sent_16_times_allocates_once(user: MakeUser) -> None:
    user("u1")

    answers = together(*times(16, lambda: credits.allocate(request("k"), 50)))

    assert kinds(answers) == {"CreditChange": 16}
    assert len({answer.allocation.id for answer in answers}) == 1
    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 15}
    assert assert_books_balance("u1").available == 50


def test_one_idempotency_key_sent_16_times_removes_all_credits_once(user: MakeUser) -> None:
    user("u1", 50)

    answers = together(*times(16, lambda: credits.remove(request("k"), 50)))

    assert kinds(answers) == {"CreditChange": 16}
    assert assert_books_balance("u1").available == 0


def test_16_allocations_without_a_key_make_16_grants(user: MakeUser) -> None:
    user("u1")

    answers = together(*times(16, lambda: credits.allocate(request(), 50)))

    assert kinds(answers) == {"CreditChange": 16}
    assert assert_books_balance("u1").available == 800


def test_a_new_users_first_16_requests_all_succeed() -> None:
    described = Description("new", "New@example.com", "New", "user", issued_at=NOW // 1000)

    answers = together(*times(16, lambda: users.sync(described, NOW)))

    assert kinds(answers) == {"tuple": 16}
    assert Counter(created for _, created in answers) == {True: 1, False: 15}
    assert users.resolve("new@example.com").user.id == "new"


def test_two_new_users_who_claim_one_address_are_both_accepted() -> None:
    described = [Description(f"u{number}", "one@example.com", "", "user", issued_at=number) for number in range(2)]

    answers = together(*(partial(users.sync, one, NOW) for one in described * 8))

    assert kinds(answers) == {"tuple": 16}
    assert users.resolve("one@example.com").user.id == "u1", "the newest token did not get the address"


def test_the_books_balance_after_many_different_concurrent_commands(user: MakeUser) -> None:
    user("u1", 300)
    for number in range(8):
        initialize(f"s{number}")

    answers = together(
        *(partial(finalize, f"s{number}", number * 1_500) for number in range(4)),
        *(partial(settling.abort, "u1", f"s{number}", None, now=NOW + 3) for number in range(4, 6)),
        *(partial(sessions.heartbeat, "u1", f"s{number}", 9_000, now=NOW + 3) for number in range(4, 8)),
        *(partial(initialize, f"n{number}") for number in range(6)),
        *times(4, lambda: credits.allocate(request(now=NOW + 4), 11)),
        *times(4, lambda: credits.remove(request(), 13)),
        *times(2, lambda: credits.set_available(request(), 200)),
        lambda: credits.adjust(request(), -5),
    )

    crashed = [
        answer
        for answer in answers
        if isinstance(answer, Exception) and not isinstance(answer, InsufficientCredits | SessionNotActive)
    ]
    assert crashed == []
    assert_books_balance("u1")


def test_a_session_is_charged_for_the_highest_of_its_concurrent_heartbeats(user: MakeUser) -> None:
    user("u1", 500)
    initialize("s1")

    answers = together(
        *(partial(sessions.heartbeat, "u1", "s1", tokens, now=NOW + 2) for tokens in range(1_000, 33_000, 2_000))
    )

    assert kinds(answers) == {"Session": 16}
    session = settling.abort("u1", "s1", None, now=NOW + 3).session
    assert session.settled.tokens == 31_000
    assert assert_books_balance("u1").charged == 31
