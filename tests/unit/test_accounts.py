"""Accounts: the prefix of an account's id shows who owns its wallet."""

import pytest

from accounting.domain.accounts import organization_of, owner_of, parsed, personal, stored, user_of


@pytest.mark.parametrize("user_id", ["u1", "org:o1", "user:u1", ""])
def test_a_personal_account_belongs_to_its_user_whatever_the_users_id_looks_like(user_id: str) -> None:
    account = personal(user_id)

    assert account == stored(f"user:{user_id}")
    assert user_of(account) == owner_of(account) == user_id


def test_an_organizations_account_belongs_to_no_user() -> None:
    organization = stored("org:o1")

    assert user_of(organization) is None
    with pytest.raises(LookupError, match=r"^org:o1 is not a user's personal account$"):
        owner_of(organization)


def test_an_account_in_a_request_has_a_prefix_and_an_id() -> None:
    assert [parsed(text) for text in ("user:u1", "user:org:o1", "org:01H")] == ["user:u1", "user:org:o1", "org:01H"]
    assert organization_of(parsed("org:01H")) == "01H"
    assert organization_of(parsed("user:org:o1")) is None


@pytest.mark.parametrize("text", ["", "u1", "user:", "org:", "org:a b", "org:" + "a" * 27, "ORG:a", " user:u1"])
def test_an_account_without_a_valid_prefix_and_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be user:<user id> or org:<organization id>$"):
        parsed(text)
