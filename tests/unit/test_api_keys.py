"""API keys: their text form, and why a key is refused."""

import pytest

from accounting.domain.api_keys import ApiKey, hash_of, parsed, text_of, too_many

NOW = 1_800_000_000_000
ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SECRET = "c2VjcmV0_with-underscore"


def key(*, expires_at: int | None = None, enabled: bool = True, revoked: bool = False) -> ApiKey:
    return ApiKey(ID, "u1", "a name", (), hash_of(SECRET), NOW, expires_at=expires_at, enabled=enabled, revoked=revoked)


def test_the_text_of_a_key_has_its_id_and_its_secret() -> None:
    assert text_of(ID, SECRET) == f"acct_{ID}_{SECRET}"
    assert parsed(text_of(ID, SECRET)) == (ID, SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "acct",
        "acct_",
        f"acct_{ID}",
        f"acct_{ID}_",
        f"acct__{SECRET}",
        f"other_{ID}_{SECRET}",
        f"acct_{ID}X_{SECRET}",
        f"acct_id-1_{SECRET}",
        f"acct_\u0661_{SECRET}",
    ],
)
def test_a_malformed_text_is_not_a_key(text: str) -> None:
    assert parsed(text) is None


def test_a_hash_is_sha256_and_only_the_secret_matches_it() -> None:
    assert hash_of("secret") == "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    assert key().has_secret(SECRET)
    assert not key().has_secret(SECRET + "x")


def test_a_key_is_refused_from_the_instant_at_which_it_expires() -> None:
    assert key().refusal(NOW) is None
    assert key(expires_at=NOW + 1).refusal(NOW) is None
    assert key(expires_at=NOW).refusal(NOW) == "EXPIRED"


def test_a_new_key_is_active() -> None:
    assert ApiKey(ID, "u1", "a name", (), "", NOW).active


def test_a_disabled_key_and_a_revoked_key_are_refused() -> None:
    assert key(enabled=False).refusal(NOW) == "DISABLED"
    assert key(revoked=True, enabled=True).refusal(NOW) == "DISABLED"
    assert key(enabled=False, expires_at=NOW).refusal(NOW) == "DISABLED", "disabling takes precedence over the expiry"


def test_the_refusal_of_too_many_keys_has_the_limit() -> None:
    assert str(too_many()) == "A user may have at most 100 API keys"
    assert too_many().details == {"limit": 100}
