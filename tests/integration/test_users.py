"""Users as their tokens describe them, and who an address means."""

from collections.abc import Callable

import pytest

from accounting.domain.errors import UserNotFound
from accounting.operations import credits
from accounting.store import users
from accounting.store.users import User
from tests.calls import Calls
from tests.integration.conftest import NOW

MakeUser = Callable[..., str]


def sync(user_id: str, email: str, issued_at: int, *, name: str = "", role: str = "user") -> tuple[User, bool]:
    return users.sync(User(user_id, email, name, role, issued_at=issued_at), NOW + issued_at)


def meaning(reference: str) -> str:
    return users.resolve(reference)[0].id


def test_a_user_is_created_once_and_found_again() -> None:
    made, created = sync("u1", "a@example.com", 1)
    found, again = sync("u1", "a@example.com", 1)

    assert (created, again) == (True, False)
    assert found == made
    assert (made.created_at, made.updated_at) == (NOW + 1, NOW + 1)


def test_nothing_is_written_when_nothing_changed(calls: Calls) -> None:
    sync("u1", "a@example.com", 1)
    calls.reset()

    sync("u1", "a@example.com", 5)

    assert (calls.round_trips, calls.write_units) == (1, 0)


def test_a_newer_token_describes_the_user_anew() -> None:
    sync("u1", "a@example.com", 1)

    user, created = sync("u1", "a@example.com", 2, name="Anna", role="admin")

    assert (created, user.username, user.role) == (False, "Anna", "admin")
    assert (user.created_at, user.updated_at) == (NOW + 1, NOW + 2)
    assert users.find("u1") == user


def test_an_older_token_does_not_undo_a_newer_one() -> None:
    sync("u1", "new@example.com", 5, role="admin")

    user, _ = sync("u1", "old@example.com", 1)

    assert (user.email, user.role) == ("new@example.com", "admin")
    with pytest.raises(UserNotFound):
        meaning("old@example.com")


def test_an_address_moves_to_the_newest_token_that_claims_it() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)

    assert meaning("one@example.com") == "u2"


def test_an_old_token_does_not_move_it_back() -> None:
    sync("u2", "one@example.com", 2)
    sync("u1", "one@example.com", 1)

    assert meaning("one@example.com") == "u2"
    assert meaning("u1") == "u1"


def test_an_address_that_was_given_up_means_nobody() -> None:
    sync("u1", "old@example.com", 1)
    sync("u1", "new@example.com", 2)

    assert meaning("new@example.com") == "u1"
    with pytest.raises(UserNotFound):
        meaning("old@example.com")


def test_who_gives_up_an_address_does_not_take_it_from_its_new_owner() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    sync("u1", "other@example.com", 3)

    assert meaning("one@example.com") == "u2"


def test_a_change_of_case_keeps_the_address() -> None:
    sync("u1", "one@example.com", 1)
    sync("u1", "One@Example.com", 2)

    assert meaning("ONE@example.com") == "u1"


def test_a_user_may_have_no_address() -> None:
    sync("u1", "", 1)
    sync("u1", "a@example.com", 2)
    sync("u1", "", 3)

    assert meaning("u1") == "u1"
    with pytest.raises(UserNotFound):
        meaning("a@example.com")


@pytest.mark.parametrize("reference", ["a.b+c@example.com", "A.B+C@example.com", "a.b%2Bc%40example.com", "u1"])
def test_an_address_works_url_encoded_or_not(reference: str, user: MakeUser) -> None:
    sync("u1", "a.b+c@example.com", 1)

    assert meaning(reference) == "u1"
    assert credits.balance_of(reference, NOW).user_id == "u1"


def test_an_id_wins_over_an_address() -> None:
    sync("u1", "x@example.com", 1)
    sync("x@example.com", "y@example.com", 2)

    assert meaning("x@example.com") == "x@example.com"
    assert meaning("x%40example.com") == "u1"


@pytest.mark.parametrize("reference", ["nobody", "nobody@example.com", "%40", "@", "%", "U1"])
def test_what_means_nobody_is_not_found(reference: str) -> None:
    sync("u1", "a@example.com", 1)

    with pytest.raises(UserNotFound):
        meaning(reference)


def test_resolving_brings_the_wallet_along(user: MakeUser) -> None:
    user("u1", 50)

    for reference in ("u1", "u1@example.com"):
        _, item = users.resolve(reference)
        assert item is not None
        assert item["granted"] == 50


def test_an_id_that_has_to_be_encoded_in_a_path_is_found_and_an_id_that_looks_encoded_is_itself(user: MakeUser) -> None:
    user("a/b")
    assert users.resolve("a%2Fb")[0].id == "a/b"
    user("a%2Fb")

    assert [users.resolve(name)[0].id for name in ("a/b", "a%2Fb", "a%252Fb")] == ["a/b", "a%2Fb", "a%2Fb"]
