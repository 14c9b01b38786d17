"""Users as their tokens describe them, and which user an e-mail address means.

A token claims its address for its user. Usually the newest claim holds the address.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from accounting.domain.errors import UserNotFound
from accounting.domain.users import Description, User
from accounting.operations import credits
from accounting.operations import users as operations
from accounting.store import keys, table, users
from accounting.store.users import ById
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.together import together

MakeUser = Callable[..., str]


def sync(user_id: str, email: str, issued_at: int, *, name: str = "", role: str = "user") -> tuple[User, bool]:
    description = Description(user_id, email, name, role, issued_at=issued_at, role_at=issued_at * 1000)
    return users.sync(description, NOW + issued_at)


def meaning(reference: str) -> str:
    return users.resolve(reference).user.id


def test_a_user_is_created_once_and_found_again() -> None:
    made, created = sync("u1", "a@example.com", 1)
    found, again = sync("u1", "a@example.com", 1)

    assert (created, again) == (True, False)
    assert found == made
    assert (made.created_at, made.updated_at) == (NOW + 1, NOW + 1)


def test_a_token_without_new_information_writes_nothing(calls: Calls) -> None:
    sync("u1", "a@example.com", 5)
    calls.reset()

    sync("u1", "a@example.com", 5)
    sync("u1", "other@example.com", 4, role="admin")

    assert (calls.round_trips, calls.write_units) == (2, 0)


def test_an_unknown_user_is_read_from_the_table_each_time_and_a_known_user_only_once(calls: Calls) -> None:
    calls.reset()

    assert [users.is_known("u9") for _ in range(2)] == [False, False]
    assert calls.operations == ["GetItem", "GetItem"]
    users.sync(Description("u9", "u9@example.com", "Nine", "user"), NOW)
    calls.reset()
    assert [users.is_known("u9") for _ in range(2)] == [True, True]
    assert calls.operations == ["GetItem"]


def test_a_newer_token_without_new_information_causes_one_small_write(calls: Calls) -> None:
    sync("u1", "a@example.com", 1)
    calls.reset()

    sync("u1", "a@example.com", 5)
    assert (calls.operations, calls.write_units) == (["BatchGetItem", "TransactWriteItems"], 2)
    user, _ = sync("u1", "b@example.com", 3, role="admin")

    assert (user.email, user.role) == ("a@example.com", "user"), "a token issued at 3 must not undo a token issued at 5"


def test_a_newer_token_updates_the_user() -> None:
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


def test_an_older_token_does_not_move_an_address_back() -> None:
    sync("u2", "one@example.com", 2)
    sync("u1", "one@example.com", 1)

    assert meaning("one@example.com") == "u2"
    assert meaning("u1") == "u1"


def test_an_address_that_was_given_up_names_nobody() -> None:
    sync("u1", "old@example.com", 1)
    sync("u1", "new@example.com", 2)

    assert meaning("new@example.com") == "u1"
    with pytest.raises(UserNotFound):
        meaning("old@example.com")


def test_giving_up_an_address_does_not_take_it_from_its_new_owner() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    sync("u1", "other@example.com", 3)

    assert meaning("one@example.com") == "u2"


def test_a_change_of_letter_case_keeps_the_address() -> None:
    sync("u1", "one@example.com", 1)
    sync("u1", "One@Example.com", 2)

    assert meaning("ONE@example.com") == "u1"


def test_a_user_does_not_need_an_address() -> None:
    sync("u1", "", 1)
    sync("u1", "a@example.com", 2)
    sync("u1", "", 3)

    assert meaning("u1") == "u1"
    with pytest.raises(UserNotFound):
        meaning("a@example.com")


@pytest.mark.parametrize("reference", ["a.b+c@example.com", "A.B+C@example.com", "a.b%2Bc%40example.com", "u1"])
def test_an_address_works_url_encoded_or_not(reference: str) -> None:
    sync("u1", "a.b+c@example.com", 1)

    assert meaning(reference) == "u1"
    assert credits.balance_of(reference, NOW).account_id == ACCOUNT


def test_a_new_user_whose_id_is_another_users_address_does_not_take_the_address() -> None:
    sync("u1", "x@example.com", 1)
    sync("x@example.com", "y@example.com", 2)

    assert meaning("x@example.com") == "u1"
    assert meaning("x%40example.com") == "u1"
    assert users.resolve(ById("x@example.com")).user.id == "x@example.com"


def test_an_address_that_is_already_another_users_id_cannot_be_claimed() -> None:
    sync("x@example.com", "y@example.com", 1)
    sync("u1", "x@example.com", 2)
    sync("u2", "X@Example.com ", 3)

    assert meaning("x@example.com") == "x@example.com"
    assert meaning("x%40example.com") == "x@example.com"
    assert meaning("u1") == "u1", "u1 must still be found by id"


def test_a_user_can_claim_an_address_that_is_their_own_id() -> None:
    sync("x@example.com", "x@example.com", 1)

    assert meaning("X@example.com") == "x@example.com"


def test_an_address_that_became_another_users_id_still_moves_to_the_newest_claim() -> None:
    sync("u1", "x@example.com", 1)
    sync("x@example.com", "y@example.com", 2)
    sync("u2", "x@example.com", 3)

    assert meaning("x@example.com") == "u2"


def test_an_invalid_email_address_cannot_be_claimed() -> None:
    sync("victim", "v@example.com", 1)
    sync("u1", "victim", 2)

    assert meaning("victim") == "victim"


def test_an_address_is_found_in_any_of_its_forms() -> None:
    sync("u1", "j\u00fcrgen@b\u00fccher.example", 1)

    for form in (
        "ju\u0308rgen@B\u00fccher.example",
        "j\u00fcRGEN@xn--bcher-kva.example",
        " j\u00fcrgen@b\u00fccher.example ",
    ):
        assert meaning(form) == "u1", ascii(form)


def test_a_lookalike_is_a_different_address() -> None:
    sync("u1", "kate@example.com", 1)
    sync("u2", "\u212aate@example.com", 2)

    assert meaning("kate@example.com") == "u1"
    assert meaning("\u212aate@example.com") == "u2"


def test_an_address_returns_to_its_earlier_holder_when_the_later_holder_gives_it_up() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    sync("u3", "One@example.com", 3)

    sync("u3", "three@example.com", 4)
    assert meaning("one@example.com") == "u2"
    sync("u2", "two@example.com", 5)
    assert meaning("one@example.com") == "u1"
    sync("u1", "else@example.com", 6)
    with pytest.raises(UserNotFound):
        meaning("one@example.com")


def test_an_address_does_not_return_to_a_user_who_has_another_address_now() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    sync("u1", "other@example.com", 3)
    sync("u2", "two@example.com", 4)

    with pytest.raises(UserNotFound):
        meaning("one@example.com")


@pytest.mark.parametrize("spelled", ["one@example.com", "ONE@Example.com"])
def test_the_first_holder_takes_an_address_back_with_a_newer_token(spelled: str) -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    sync("u1", spelled, 3)

    assert meaning("one@example.com") == "u1"
    sync("u2", "one@example.com", 2)
    assert meaning("one@example.com") == "u1"


def test_a_sync_by_the_platform_gives_an_address_back_to_its_first_holder() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "one@example.com", 2)
    users.sync(Description.by_the_platform("u1", email="one@example.com", username="", role=None, now=NOW), NOW)

    assert meaning("one@example.com") == "u1"


def test_an_address_goes_to_the_older_claim_when_the_newer_claim_is_given_up(calls: Calls) -> None:
    sync("u2", "one@example.com", 5)
    sync("u1", "one@example.com", 1)
    assert meaning("one@example.com") == "u2"
    calls.reset()
    sync("u1", "one@example.com", 1)
    assert (calls.round_trips, calls.write_units) == (1, 0)

    sync("u2", "two@example.com", 6)
    assert meaning("one@example.com") == "u1"


def test_an_address_that_is_given_up_goes_to_the_newest_of_the_other_claims() -> None:
    sync("u3", "one@example.com", 9)
    sync("u2", "one@example.com", 5)
    sync("u1", "one@example.com", 2)

    sync("u3", "three@example.com", 10)
    assert meaning("one@example.com") == "u2"


def test_an_address_that_nobody_holds_goes_to_a_user_who_signs_in_with_it(dynamodb: Any, table_name: str) -> None:
    sync("u1", "one@example.com", 1)
    dynamodb.delete_item(TableName=table_name, Key=table.pack(keys.email("one@example.com")))
    users.sync(Description("u1", username="Ann", issued_at=2), NOW)
    with pytest.raises(UserNotFound):
        meaning("one@example.com")

    sync("u1", "one@example.com", 3)
    assert meaning("one@example.com") == "u1"


def test_an_address_is_not_lost_however_often_it_changes_hands() -> None:
    sync("u1", "one@example.com", 1)
    sync("other", "one@example.com", 2)
    for number in range(12):
        sync(f"sock{number}", "one@example.com", 3 + number)
    for number in range(12):
        sync(f"sock{number}", f"{number}@example.com", 20 + number)

    assert meaning("one@example.com") == "u1"
    sync("other", "one@example.com", 90)
    assert meaning("one@example.com") == "other"


def test_a_disabled_user_cannot_claim_an_address() -> None:
    sync("u1", "one@example.com", 1)
    sync("u2", "two@example.com", 1)
    operations.disable("u2", by="boss", reason="", now=NOW)

    sync("u2", "one@example.com", 2)
    assert meaning("one@example.com") == "u1"
    sync("u2", "free@example.com", 3)
    with pytest.raises(UserNotFound):
        meaning("free@example.com")
    assert meaning("two@example.com") == "u2"
    sync("u2", "two@example.com", 9)
    sync("u1", "two@example.com", 5)
    assert meaning("two@example.com") == "u1", "the claims of a disabled holder must not count"
    operations.enable("u2", now=NOW)
    sync("u2", "free@example.com", 10)
    assert meaning("free@example.com") == "u2"


def test_the_newest_of_concurrent_claims_gets_the_address() -> None:
    for round_ in range(6):
        address = f"one{round_}@example.com"
        sync("u1", address, 100 * round_ + 1)
        together(
            partial(sync, "u1", address, 100 * round_ + 60),
            *(partial(sync, f"x{round_}-{number}", address, 100 * round_ + 20 + number) for number in range(3)),
        )
        assert meaning(address) == "u1", round_


def test_an_address_that_two_users_give_up_at_the_same_time_belongs_to_nobody() -> None:
    for round_ in range(8):
        address = f"one{round_}@example.com"
        sync("u1", address, 3 * round_ + 1)
        sync("u2", address, 3 * round_ + 2)
        at = 3 * round_ + 3
        together(partial(sync, "u1", f"a{at}@example.com", at), partial(sync, "u2", f"b{at}@example.com", at))
        with pytest.raises(UserNotFound):
            meaning(address)


def test_an_older_token_does_not_take_an_address_that_the_holder_has_claimed_again() -> None:
    sync("u1", "one@example.com", 1)
    sync("u1", "one@example.com", 9)
    sync("u2", "one@example.com", 5)

    assert meaning("one@example.com") == "u1"


def test_a_value_that_a_token_leaves_out_is_not_changed() -> None:
    sync("u1", "a@example.com", 1, name="Anna", role="supervisor")
    user, _ = users.sync(Description("u1", issued_at=9), NOW + 9)

    assert (user.email, user.username, user.role) == ("a@example.com", "Anna", "supervisor")
    assert meaning("a@example.com") == "u1"
    assert users.sync(Description("u1", username="Ann", issued_at=9), NOW + 9)[0].email == "a@example.com"
    assert users.total("supervisor") == 1


@pytest.mark.parametrize("reference", ["nobody", "nobody@example.com", "%40", "@", "%", "U1"])
def test_an_unknown_reference_is_not_found(reference: str) -> None:
    sync("u1", "a@example.com", 1)

    with pytest.raises(UserNotFound):
        meaning(reference)


def test_resolving_also_returns_the_wallet(user: MakeUser) -> None:
    user("u1", 50)

    for reference in ("u1", "u1@example.com"):
        assert users.resolve(reference).wallet.granted == 50


def test_ids_that_need_encoding_and_ids_that_look_encoded_are_found(user: MakeUser) -> None:
    user("a/b")
    assert users.resolve("a%2Fb").user.id == "a/b"
    user("a%2Fb")

    assert [users.resolve(name).user.id for name in ("a/b", "a%2Fb", "a%252Fb")] == ["a/b", "a%2Fb", "a%2Fb"]
