"""Which access tokens are accepted, what is read from them, and why others are refused."""

import base64
import hmac
import json
import time
from typing import Any

import jwt
import pytest

from accounting import secrets as stored_secrets
from accounting.domain.errors import AccountingError, TokenExpired, TokenInvalid, TokenTypeInvalid
from accounting.domain.users import Description
from accounting.tokens import verify

CURRENT = b"c" * 32
PREVIOUS = b"p" * 40
NOW = int(time.time())
DAY_SECONDS = 86_400
"""Tokens are valid for a day, because the last test may run long after this file is imported."""
ODD_NUMBERS = (float("nan"), float("inf"), -float("inf"))
CLAIMS: dict[str, Any] = {
    "sub": "u1",
    "email": "u1@example.com",
    "username": "One",
    "role": "supervisor",
    "type": "access",
    "iat": NOW,
    "exp": NOW + DAY_SECONDS,
}


def both_secrets(*, refresh: bool) -> list[bytes]:
    return [CURRENT, PREVIOUS]


def token(secret: bytes = CURRENT, **claims: Any) -> str:
    payload = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    return raw({"alg": "HS256", "typ": "JWT"}, json.dumps(payload), secret)


def raw(header: dict[str, Any], payload: str, secret: bytes, digest: str = "sha256") -> str:
    """A signed token with any content, even content that no library would sign."""
    parts = [base64.urlsafe_b64encode(text.encode()).rstrip(b"=") for text in (json.dumps(header), payload)]
    signature = hmac.new(secret, b".".join(parts), digest).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def refusal(text: str) -> type[AccountingError] | None:
    refused = refused_with(text)
    return type(refused) if refused else None


def refused_with(text: str) -> AccountingError | None:
    try:
        verify(text, both_secrets)
    except AccountingError as error:
        refused = error
    else:
        return None
    assert refused.message.isascii()
    assert json.dumps(refused.message) == f'"{refused.message}"', (
        "the message needs escaping, but the gateway inserts it into JSON as it is"
    )
    return refused


def test_a_genuine_token_describes_its_user() -> None:
    claims = verify(token(), both_secrets)

    assert claims.user == Description("u1", "u1@example.com", "One", "supervisor", issued_at=NOW, role_at=NOW * 1000)
    assert claims.expires_at == NOW + DAY_SECONDS


def test_a_token_of_pyjwt_is_accepted() -> None:
    assert verify(jwt.encode(CLAIMS, CURRENT, "HS256"), both_secrets).user.id == "u1"


def test_the_previous_secret_is_accepted_and_an_unknown_secret_is_not() -> None:
    assert verify(token(PREVIOUS), both_secrets).user.id == "u1"
    assert refusal(token(b"x" * 32)) is TokenInvalid


def test_an_unknown_secret_causes_a_refresh_that_finds_a_new_secret() -> None:
    refreshes = []

    def rotated(*, refresh: bool) -> list[bytes]:
        refreshes.append(refresh)
        return [b"n" * 32, CURRENT] if refresh else [CURRENT]

    assert verify(token(b"n" * 32), rotated).user.id == "u1"
    assert refreshes == [False, True]
    with pytest.raises(TokenInvalid):
        verify(token(b"z" * 32), rotated)


def test_a_known_secret_causes_no_refresh() -> None:
    def cached(*, refresh: bool) -> list[bytes]:
        assert not refresh
        return [CURRENT]

    verify(token(), cached)


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "", None])
def test_an_unsigned_token_is_refused(algorithm: str | None) -> None:
    unsigned = raw({"alg": algorithm, "typ": "JWT"}, json.dumps(CLAIMS), CURRENT).rpartition(".")[0] + "."

    assert refusal(unsigned) is TokenInvalid
    assert refusal(unsigned.rstrip(".")) is TokenInvalid


@pytest.mark.parametrize(("algorithm", "digest"), [("HS512", "sha512"), ("HS384", "sha384"), ("RS256", "sha256")])
def test_an_algorithm_other_than_hs256_is_refused_even_with_the_right_secret(algorithm: str, digest: str) -> None:
    assert refusal(raw({"alg": algorithm, "typ": "JWT"}, json.dumps(CLAIMS), CURRENT, digest)) is TokenInvalid


def test_a_token_that_was_changed_is_refused() -> None:
    header, _, signature = token().split(".")
    forged = base64.urlsafe_b64encode(json.dumps(CLAIMS | {"role": "admin"}).encode()).decode().rstrip("=")

    assert refusal(f"{header}.{forged}.{signature}") is TokenInvalid


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b.c", "x" * 5000, "ä.ö.ü", token() + "x", token()[:-1], token() * 2],
    ids=["nothing", "dot", "dots", "letters", "long", "umlauts", "longer token", "shorter token", "token twice"],
)
def test_a_text_that_is_not_a_token_is_refused(text: str) -> None:
    assert refusal(text) is TokenInvalid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (raw({"alg": "HS512", "typ": "JWT"}, json.dumps(CLAIMS), CURRENT, "sha512"), "is not signed with HS256"),
        (raw({"alg": "none", "typ": "JWT"}, json.dumps(CLAIMS), CURRENT), "is not signed with HS256"),
        (raw({"alg": "none"}, json.dumps(CLAIMS), CURRENT).rpartition(".")[0] + ".", "is not signed with HS256"),
        (token(b"x" * 32), "signature of the access token is wrong"),
        (token() + "x", "signature of the access token is wrong"),
        ("null", "is not a JWT"),
        ("a.b.c", "is not a JWT"),
        (raw({"alg": "HS256"}, "[]", CURRENT), "is not a JWT"),
    ],
    ids=["HS512", "none", "none and unsigned", "another secret", "changed signature", "null", "letters", "no object"],
)
def test_a_refusal_says_what_is_wrong_with_the_token(text: str, message: str) -> None:
    error = refused_with(text)

    assert isinstance(error, TokenInvalid)
    assert message in error.message


@pytest.mark.parametrize("payload", ["[]", "null", "1", '"text"', "{", "", '{"a":NaN}'])
def test_a_payload_that_is_not_an_object_is_refused(payload: str) -> None:
    assert refusal(raw({"alg": "HS256", "typ": "JWT"}, payload, CURRENT)) is TokenInvalid


def test_a_token_expires_after_a_leeway_of_30_seconds() -> None:
    now = int(time.time())

    assert refusal(token(exp=now - 20)) is None
    assert refusal(token(exp=now - 31)) is TokenExpired


def test_a_forged_token_is_invalid_even_if_it_has_expired() -> None:
    assert refusal(token(b"x" * 32, exp=NOW - 600)) is TokenInvalid


@pytest.mark.parametrize(
    "exp", [..., None, "soon", "", "4000000000", True, False, [], {}, [NOW + DAY_SECONDS], *ODD_NUMBERS]
)
def test_the_refusal_of_a_token_without_a_valid_exp_names_the_claim(exp: Any) -> None:
    refused = refused_with(token(exp=exp))

    assert isinstance(refused, TokenInvalid)
    assert " claim exp " in refused.message


@pytest.mark.parametrize("exp", [0, -1, -1e300])
def test_a_token_whose_exp_is_zero_or_negative_has_expired(exp: Any) -> None:
    assert refusal(token(exp=exp)) is TokenExpired


@pytest.mark.parametrize(
    "sub", [..., None, "", 1, True, [], {}, "u" * 129, "u\n1", "u\x00", "u\x85", "__proto__", "all", "me", "sync"]
)
def test_the_refusal_of_a_token_without_a_valid_subject_names_the_claim(sub: Any) -> None:
    refused = refused_with(token(sub=sub))

    assert isinstance(refused, TokenInvalid)
    assert " sub " in refused.message
    assert ("no subject" in refused.message) == (sub in (..., None, ""))


@pytest.mark.parametrize("sub", ["\u3000", "a\u200db", "\u202e", "\U0001fae9", "ALL", "me2", " lead"])
def test_a_subject_may_have_unusual_characters_or_resemble_a_reserved_word(sub: str) -> None:
    assert verify(token(sub=sub), both_secrets).user.id == sub


def test_a_subject_has_at_most_128_characters() -> None:
    assert verify(token(sub="u" * 128), both_secrets).user.id == "u" * 128


@pytest.mark.parametrize("kind", [..., None, "refresh", "Access", "", ["access"], 1, {}])
def test_only_an_access_token_is_accepted(kind: Any) -> None:
    assert refusal(token(type=kind)) is TokenTypeInvalid


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused(claim: str) -> None:
    now = int(time.time())

    assert refusal(token(CURRENT, **{claim: now + 20})) is None
    refused = refused_with(token(CURRENT, **{claim: now + 60}))
    assert isinstance(refused, TokenInvalid)
    assert "not valid yet" in refused.message
    assert claim in refused.message


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize("value", ["x", "", "1700000000", True, False, [], {}, *ODD_NUMBERS])
def test_the_refusal_of_an_invalid_time_names_its_claim(claim: str, value: Any) -> None:
    refused = refused_with(token(**{claim: value}))

    assert isinstance(refused, TokenInvalid)
    assert f"claim {claim} " in refused.message


@pytest.mark.parametrize("claim", ["nbf", "iat", "jti", "aud", "iss", "email", "email_verified", "username", "role"])
def test_an_optional_claim_that_is_null_counts_as_absent(claim: str) -> None:
    assert verify(token(CURRENT, **{claim: None}), both_secrets) == verify(token(CURRENT, **{claim: ...}), both_secrets)


@pytest.mark.parametrize("role", [..., None, "root", "Admin", "ADMIN", ["admin"], {"admin": 1}, 1, True])
def test_an_unknown_role_is_ignored(role: Any) -> None:
    assert verify(token(role=role), both_secrets).user.role is None


@pytest.mark.parametrize("role", ["user", "supervisor", "admin"])
def test_a_known_role_is_read(role: str) -> None:
    assert verify(token(role=role), both_secrets).user.role == role


@pytest.mark.parametrize(
    "email",
    [1, ["a@b.c"], "a" * 251 + "@b.c", "a\x00@b.c", "a\ud800@b.c", "", " ", "somebodys-id", "@b.c", "a@"],
)
def test_an_invalid_email_address_is_ignored(email: Any) -> None:
    assert verify(token(email=email), both_secrets).user.email is None


@pytest.mark.parametrize("username", [1, ["x"], {}, "x" * 201, "a\r\nb", "\x1b[2J", "a\udfff", "", " "])
def test_an_invalid_name_is_ignored(username: Any) -> None:
    assert verify(token(username=username), both_secrets).user.username is None


@pytest.mark.parametrize(
    "username",
    ["\u5c71\u7530\u3000\u592a\u90ce", "\u0639\u0644\u06cc\u200c\u0631", "Jean\u00a0Dupont", "\U0001fae9", "x" * 200],
)
def test_a_name_in_any_script_is_accepted(username: str) -> None:
    assert verify(token(username=username), both_secrets).user.username == username


@pytest.mark.parametrize(
    "verified", [False, "false", "False", 0, 1, 1.0, "0", "1", "no", "yes", "", " true", [], [True], {}, {"a": True}]
)
def test_an_address_is_ignored_if_email_verified_is_not_true(verified: Any) -> None:
    assert verify(token(email_verified=verified), both_secrets).user.email is None


@pytest.mark.parametrize("verified", [True, "true", "True", "TRUE", ..., None])
def test_an_address_is_accepted_if_email_verified_is_true_or_absent(verified: Any) -> None:
    assert verify(token(email_verified=verified), both_secrets).user.email == "u1@example.com"


def test_a_token_may_omit_email_username_role_and_iat() -> None:
    user = verify(token(email=..., username=..., role=..., iat=...), both_secrets).user

    assert user == Description("u1")


def test_the_audience_is_ignored() -> None:
    assert verify(token(aud="someone-else"), both_secrets).user.id == "u1"


@pytest.mark.parametrize(
    ("stored", "secrets"),
    [
        ({"current": "c" * 32, "previous": ""}, ["c" * 32]),
        ({"current": "c" * 32}, ["c" * 32]),
        ({"current": "c" * 32, "previous": "p" * 64}, ["c" * 32, "p" * 64]),
    ],
)
def test_the_current_secret_comes_first(
    stored: dict[str, str], secrets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_ID", "jwt")
    monkeypatch.setattr(stored_secrets, "_read", lambda _name, *, refresh: json.dumps(stored))

    assert stored_secrets.jwt_secrets(refresh=False) == [secret.encode() for secret in secrets]


@pytest.mark.parametrize(
    "stored",
    [{"current": "c" * 31}, {"current": ""}, {"current": "c" * 32, "previous": "short"}, {"current": "ä" * 15}],
)
def test_a_short_secret_is_refused(stored: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_ID", "jwt")
    monkeypatch.setattr(stored_secrets, "_read", lambda _name, *, refresh: json.dumps(stored))

    with pytest.raises(ValueError, match="32 bytes"):
        stored_secrets.jwt_secrets(refresh=False)
