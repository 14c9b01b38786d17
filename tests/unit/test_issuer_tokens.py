"""A token of a configured issuer is verified with that issuer's keys only, never with keys from the token."""

import json
import time
from base64 import urlsafe_b64encode
from hmac import digest
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from accounting.domain.errors import AccountingError, TokenExpired, TokenInvalid, TokenTypeInvalid, Unavailable
from accounting.domain.users import Description
from accounting.identity import tokens as identity_tokens
from accounting.identity.document import InvalidDocument
from accounting.identity.keys import FetchFailed, SigningKeys
from accounting.identity.tokens import claim_at, verify
from accounting.tokens import Claims
from accounting.web.caller import CLOCK_LEEWAY_SECONDS
from tests.providers import AUDIENCE, SigningKey, claims_of, encoded, key_set, make_key

SECRET = b"s" * 32
NOW = int(time.time())
DAY_SECONDS = 86_400
"""Tokens are valid for a day, because the last test may run long after this file is imported."""
ISSUER, OTHER = "https://issuer.example", "https://other.example/"
RSA, EC, ED = make_key("RS256", "rsa"), make_key("ES256", "ec"), make_key("EdDSA", "ed")
PSS = SigningKey("rsa", "PS256", RSA.private)
P384 = make_key("ES384", "p384")
KEYS = {
    "https://issuer.example/keys": (RSA, EC, ED, P384),
    "https://other.example/keys": (make_key("RS256", "theirs"),),
}
CLAIMS = {
    "userIdPrefix": "one-",
    "email": "email",
    "emailVerified": "email_verified",
    "name": "profile.name",
    "role": "realm_access.roles",
}
DOCUMENT: list[dict[str, Any]] = [
    {
        "issuer": ISSUER,
        "jwksUrl": "https://issuer.example/keys",
        "algorithms": ["RS256", "PS256", "ES256", "EdDSA"],
        "audience": [AUDIENCE, "another"],
        "require": {"typ": "Bearer"},
        "claims": CLAIMS,
        "roles": {"boss": "admin", "lead": "supervisor", "guest": "user"},
    },
    {
        "issuer": OTHER,
        "jwksUrl": "https://other.example/keys",
        "algorithms": ["RS256"],
        "audience": ["the-app"],
        "audienceClaim": "azp",
        "leewaySeconds": 5,
        "claims": {"userIdPrefix": "two-"},
    },
]


def keys_at(address: str) -> SigningKeys:
    return SigningKeys(address, lambda: key_set(*KEYS[address]))


def secrets(*, refresh: bool) -> list[bytes]:
    return [SECRET]


def claims(token: str, document: Any = None, keys: Any = keys_at) -> Claims:
    return verify(token, secrets, lambda: json.dumps(DOCUMENT if document is None else document), keys)


def refusal(token: str) -> tuple[type[AccountingError], str] | None:
    try:
        claims(token)
    except AccountingError as error:
        refused = error
    else:
        return None
    assert json.dumps(refused.message) == f'"{refused.message}"', (
        "the message must not need escaping, because the gateway inserts it into JSON unescaped"
    )
    return type(refused), refused.message


def payload_with(**changed: Any) -> dict[str, Any]:
    return claims_of(ISSUER, **{"typ": "Bearer", "iat": NOW, "exp": NOW + DAY_SECONDS, **changed})


@pytest.mark.parametrize("key", [RSA, PSS, EC, ED], ids=lambda key: key.algorithm)
def test_a_tokens_user_is_read_with_the_issuers_claim_names(key: SigningKey) -> None:
    token = key.sign(
        payload_with(
            email="u1@example.com",
            email_verified=True,
            profile={"name": "One"},
            realm_access={"roles": ["offline_access", "lead"]},
        )
    )

    assert claims(token) == Claims(
        Description("one-u1", "u1@example.com", "One", "supervisor", issued_at=NOW, role_at=NOW * 1000),
        NOW + DAY_SECONDS,
        ISSUER,
    )


def test_the_same_subject_of_three_issuers_means_three_users() -> None:
    (theirs,) = KEYS["https://other.example/keys"]
    own = jwt.encode({"sub": "u1", "type": "access", "exp": NOW + DAY_SECONDS}, SECRET, "HS256")
    tokens = [RSA.sign(payload_with()), theirs.sign(claims_of(OTHER, aud=None, azp="the-app")), own]

    assert [claims(token).user.id for token in tokens] == ["one-u1", "two-u1", "u1"]


@pytest.mark.parametrize("issuer", [None, "https://nobody.example", 5, ["https://issuer.example"], {}])
def test_a_token_that_names_an_unknown_issuer_is_verified_as_the_platforms_own(issuer: Any) -> None:
    own = raw({"alg": "HS256"}, {"iss": issuer, "sub": "u1", "type": "access", "exp": NOW + DAY_SECONDS}, SECRET)

    assert claims(own) == Claims(Description("u1"), NOW + DAY_SECONDS, None)
    with pytest.raises(TokenTypeInvalid):
        claims(jwt.encode({"sub": "u1", "exp": NOW + DAY_SECONDS}, SECRET, "HS256"))


def raw(header: dict[str, Any], payload: dict[str, Any], secret: bytes) -> str:
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{urlsafe_b64encode(digest(secret, signed.encode(), 'sha256')).rstrip(b'=').decode()}"


PUBLIC_KEYS = [
    RSA.private.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    for encoding in (Encoding.PEM, Encoding.DER)
]
PUBLIC_KEYS += [
    RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1),
    json.dumps(RSA.in_key_set()).encode(),
]


@pytest.mark.parametrize(
    "secret", [*PUBLIC_KEYS, SECRET, b""], ids=["pem", "der", "pkcs1", "jwk", "our secret", "nothing"]
)
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "none", "None", None])
def test_an_issuers_token_signed_with_a_public_key_or_our_secret_is_refused(
    secret: bytes, algorithm: str | None
) -> None:
    forged = raw({"alg": algorithm, "kid": "rsa", "typ": "JWT"}, payload_with(), secret)

    for token in (forged, forged.rpartition(".")[0] + "."):
        refused = refusal(token)
        assert refused is not None
        assert refused[0] is TokenInvalid


@pytest.mark.parametrize(
    "header",
    [{"alg": algorithm} for algorithm in ("PS256", "RS384", "ES256", "EdDSA", "HS256", "none")]
    + [{"kid": kid} for kid in ("ec", "ed", "unknown", "https://evil.example/keys", "../rsa", "")]
    + [{"kid": "rsa", "crit": ["b64"], "b64": True}],
    ids=str,
)
def test_a_genuine_signature_under_another_header_is_refused(header: dict[str, Any]) -> None:
    _, payload, signature = RSA.sign(payload_with()).split(".")
    changed = encoded({"alg": "RS256", "kid": "rsa", **header})

    refused = refusal(f"{changed}.{payload}.{signature}")

    assert refused is not None
    assert refused[0] is TokenInvalid


def test_an_algorithm_that_the_issuer_does_not_list_is_refused_before_a_key_is_looked_for() -> None:
    def untouched(address: str) -> SigningKeys:
        raise AssertionError("a key was looked for")

    for algorithm in ("HS256", "none", "ES384"):
        with pytest.raises(TokenInvalid, match="not signed with an algorithm of its issuer"):
            claims(raw({"alg": algorithm, "kid": "p384"}, payload_with(), b"x"), keys=untouched)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_keys_in_a_tokens_header_are_ignored(name: str) -> None:
    mine = make_key("RS256", "mine")
    value = {"jwk": mine.in_key_set(), "x5c": ["MIIB"]}.get(name, "https://evil.example/keys")

    assert claims(RSA.sign(payload_with(), **{name: value})).user.id == "one-u1"
    for key_id in ("mine", "rsa"):
        refused = refusal(mine.sign(payload_with(), kid=key_id, **{name: value}))
        assert refused is not None
        assert refused[0] is TokenInvalid


def test_a_token_without_a_key_id_is_refused() -> None:
    token = jwt.encode(payload_with(), RSA.private, "RS256")

    assert refusal(token) == (TokenInvalid, "The access token does not name its key: the header kid is missing")


def test_a_key_id_that_is_too_long_is_not_called_missing() -> None:
    token = jwt.encode(payload_with(), RSA.private, "RS256", {"kid": "x" * 501})

    assert refusal(token) == (TokenInvalid, "The header kid of the access token has more than 500 characters")


def test_a_key_of_another_issuer_is_refused() -> None:
    (theirs,) = KEYS["https://other.example/keys"]

    assert refusal(theirs.sign(payload_with(), kid="rsa")) == (
        TokenInvalid,
        "The signature of the access token is wrong",
    )


@pytest.mark.parametrize(
    "audience", [None, "", "someone-else", ["someone-else"], [], 5, {"accounting": 1}, [["accounting"]]]
)
def test_a_token_for_another_audience_is_refused(audience: Any) -> None:
    refused = refusal(RSA.sign(payload_with(aud=audience)))

    assert refused == (TokenInvalid, "The access token is for somebody else: its claim aud is wrong")


@pytest.mark.parametrize("audience", ["another", ["someone-else", AUDIENCE]])
def test_one_of_several_audiences_is_enough(audience: Any) -> None:
    assert claims(RSA.sign(payload_with(aud=audience))).user.id == "one-u1"


@pytest.mark.parametrize("kind", [None, "ID", ["Bearer"], True])
def test_a_token_without_the_required_value_of_a_claim_is_refused(kind: Any) -> None:
    refused = refusal(RSA.sign(payload_with(typ=kind)))

    assert refused is not None
    assert refused[0] is TokenInvalid


def test_the_issuers_leeway_replaces_the_30_seconds_that_the_lambda_functions_add() -> None:
    (theirs,) = KEYS["https://other.example/keys"]
    now = int(time.time())
    late, too_late = (theirs.sign(claims_of(OTHER, aud=None, azp="the-app", exp=now - ago)) for ago in (1, 6))

    assert claims(late).expires_at + CLOCK_LEEWAY_SECONDS == now - 1 + 5
    assert (refusal(too_late) or (None,))[0] is TokenExpired
    assert refusal(theirs.sign(claims_of(OTHER, aud=None, azp="the-app", iat=now + 60))) is not None


@pytest.mark.parametrize(
    ("role_claims", "role"),
    [
        ({}, "user"),
        ({"realm_access": None}, "user"),
        ({"realm_access": {"roles": []}}, "user"),
        ({"realm_access": {"roles": ["admin", "supervisor"]}}, "user"),
        ({"realm_access": {"roles": ["lead", "boss", "guest"]}}, "admin"),
        ({"realm_access": {"roles": "lead"}}, "supervisor"),
        ({"realm_access": {"roles": [5, None, ["boss"], {"boss": 1}]}}, "user"),
        ({"realm_access": "boss"}, "user"),
        ({"realm_access.roles": ["boss"]}, "admin"),
        ({"role": "admin", "roles": ["boss"]}, "user"),
    ],
    ids=str,
)
def test_the_user_gets_the_highest_of_the_tokens_mapped_roles(role_claims: dict[str, Any], role: str) -> None:
    assert claims(RSA.sign(payload_with(**role_claims))).user.role == role


def test_a_users_role_address_and_name_come_only_from_the_claims_in_the_issuers_configuration() -> None:
    (theirs,) = KEYS["https://other.example/keys"]
    token = theirs.sign(claims_of(OTHER, aud=None, azp="the-app", role="admin", email="a@b.example", username="x"))

    assert (claims(token).user.email, claims(token).user.username, claims(token).user.role) == (None, None, None)


@pytest.mark.parametrize("verified", [False, "false", None, 1, "yes", {}])
def test_an_address_that_is_not_verified_is_ignored(verified: Any) -> None:
    assert claims(RSA.sign(payload_with(email="u1@example.com", email_verified=verified))).user.email is None


@pytest.mark.parametrize("subject", [None, "", 5, "x" * 125, "a\nb", ["u1"]])
def test_a_subject_that_is_not_a_valid_id_is_refused(subject: Any) -> None:
    payload = {name: value for name, value in payload_with(sub=subject).items() if value is not None}
    signed = f"{encoded({'alg': 'EdDSA', 'kid': 'ed'})}.{encoded(payload)}"
    token = f"{signed}.{urlsafe_b64encode(ED.private.sign(signed.encode())).rstrip(b'=').decode()}"

    refused = refusal(token)

    assert refused is not None
    assert refused[0] is TokenInvalid
    assert "sub" in refused[1]


def test_with_an_invalid_document_of_issuers_only_tokens_that_name_an_issuer_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = list[str]()
    monkeypatch.setattr(identity_tokens.logger, "error", lambda message, reason: logged.append(f"{message}: {reason}"))
    own = jwt.encode({"sub": "u1", "type": "access", "exp": NOW + DAY_SECONDS}, SECRET, "HS256")
    named = jwt.encode({"iss": ISSUER, "sub": "u1", "type": "access", "exp": NOW + DAY_SECONDS}, SECRET, "HS256")

    for token in (RSA.sign(payload_with()), named):
        with pytest.raises(InvalidDocument):
            claims(token, document=[*DOCUMENT, {"issuer": "x"}])
    assert claims(own, document="nonsense").user.id == "u1"
    assert len(logged) == 2
    assert "the document of the issuers is invalid" in logged[0]
    assert "2.jwksUrl: Field required" in logged[0]


def test_an_unreachable_provider_is_a_fault_and_not_a_refusal() -> None:
    def fails() -> bytes:
        raise FetchFailed("no answer")

    with pytest.raises(Unavailable, match="no answer"):
        claims(RSA.sign(payload_with()), keys=lambda address: SigningKeys(address, fails))


def test_dots_in_a_path_separate_nested_claims_unless_a_claims_name_contains_the_dots() -> None:
    payload = {"a": {"b": {"c": 1}, "b.c": 2}, "https://example.com/role": 3, "x": [{"y": 1}]}

    paths = ("a.b", "a.b.c", "https://example.com/role", "x.y", "a.b.c.d", "a.", "")
    found = [claim_at(payload, path) for path in paths]
    assert found == [{"c": 1}, 2, 3, None, None, None, None]
