"""Tokens of identity providers, over HTTP: which keys verify the tokens, and when the service fetches the keys."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.changes import with_environment
from tests.e2e.client import Person, assert_refused, described, new_id
from tests.e2e.test_tokens import Forger
from tests.providers import KeyServer, SigningKey, claims_of, key_set, make_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint

RSA, EC, ED = make_key("RS256", "rsa"), make_key("ES256", "ec"), make_key("EdDSA", "ed")
ONE, TWO = "https://one.example", "https://two.example"
UNKNOWN_TOKENS = 8
UNREACHABLE_SECONDS = 3


@pytest.fixture(autouse=True)
def server(service: Stack, key_server: KeyServer) -> Iterator[KeyServer]:
    """Return the providers' server in its default state. The authorizers have not fetched any keys yet."""
    key_server.silent.clear()
    key_server.answers = {"/one": key_set(RSA, EC, ED), "/two": key_set(EC), "/nonsense": b"<html>Sign in</html>"}
    # a changed environment variable makes Lambda start new processes, which have fetched no keys
    with with_environment(service, "authorizer", FRESH=new_id("fresh")):
        key_server.asked.clear()
        yield key_server
    key_server.silent.clear()


def bearer(http: httpx.Client, token: str) -> httpx.Response:
    return http.get("/api/users/me", headers={"Authorization": f"Bearer {token}"})


def signed(key: SigningKey, issuer: str = ONE, **claims: Any) -> str:
    return key.sign(claims_of(issuer, new_id("user"), **claims))


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_a_token_signed_with_a_key_of_its_issuer_is_accepted(http: httpx.Client, key: SigningKey) -> None:
    user = new_id("user")
    person = Person(http, f"one-{user}", key.sign(claims_of(ONE, user, roles=["boss"])))

    assert person.balance()["userId"] == person.id
    assert person.ok("GET", "users/me")["role"] == "admin"
    person.ok("POST", "credits/allocate", {"userId": person.id, "credits": 5})


def test_the_same_user_id_from_three_issuers_means_three_users(http: httpx.Client, token: Mint) -> None:
    user = new_id("user")
    texts = [EC.sign(claims_of(ONE, user)), EC.sign(claims_of(TWO, user)), token(user)]

    found = [bearer(http, text).json()["userId"] for text in texts]

    assert found == [f"one-{user}", f"two-{user}", user]


def test_keys_are_fetched_once_for_many_tokens(http: httpx.Client, server: KeyServer) -> None:
    answers = [bearer(http, signed(EC)) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200] * 5, described(answers[-1])
    assert server.asked == ["/one"]


def test_a_new_key_is_accepted_as_soon_as_it_is_published(http: httpx.Client, server: KeyServer) -> None:
    new = make_key("ES256", "new")
    assert bearer(http, signed(EC)).is_success
    server.answers["/one"] = key_set(EC, new)

    assert bearer(http, signed(new)).is_success
    assert server.asked == ["/one", "/one"]


def test_tokens_with_made_up_key_ids_are_refused_and_cause_only_one_fetch(
    http: httpx.Client, server: KeyServer
) -> None:
    assert bearer(http, signed(EC)).is_success
    made_up = ["made-up", *(f"{server.url('/evil')}?{number}" for number in range(UNKNOWN_TOKENS))]

    for key_id in made_up:
        token = EC.sign(claims_of(ONE), kid=key_id, jku=server.url("/evil"), x5u=server.url("/evil"))
        assert_refused(bearer(http, token), 401, "TOKEN_INVALID")
    assert server.asked == ["/one", "/one"], "nothing that the token points to is fetched"


def test_only_tokens_with_unknown_keys_are_refused_while_the_provider_is_silent(
    http: httpx.Client, server: KeyServer
) -> None:
    assert bearer(http, signed(EC)).is_success
    server.silent.set()

    for number in range(UNKNOWN_TOKENS):
        began = time.monotonic()
        answer = bearer(http, signed(make_key("ES256", f"unknown-{number}")))
        assert_refused(answer, 503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() - began < UNREACHABLE_SECONDS
        assert bearer(http, signed(EC)).is_success
    assert server.asked == ["/one", "/one"]


@pytest.mark.parametrize("name", ["huge", "nonsense", "two"])
def test_a_provider_without_usable_keys_is_unavailable_and_does_not_affect_others(
    http: httpx.Client, server: KeyServer, name: str
) -> None:
    server.answers["/huge"] = b'{"keys": [' + b" " * 10_000_000 + json.dumps(EC.in_key_set()).encode() + b"]}"
    server.answers["/two"] = json.dumps({"keys": [{"kty": "oct", "kid": "ec", "k": "c2VjcmV0"}]}).encode()

    assert_refused(bearer(http, signed(EC, f"https://{name}.example")), 503, "UNAVAILABLE")
    assert bearer(http, signed(EC)).is_success


def test_a_forged_token_or_one_for_another_audience_is_refused(service: Stack, http: httpx.Client, token: Mint) -> None:
    forger = Forger(service, token)
    pem = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    claims = claims_of(ONE, new_id("forged"))
    refused = {
        "another audience": signed(RSA, aud="another"),
        "no audience": signed(RSA, aud=None),
        "the public key as a secret": forger.signed({"alg": "HS256", "kid": "rsa"}, claims, pem),
        "the public key as a secret, with RS256 in the header": forger.signed(
            {"alg": "RS256", "kid": "rsa"}, claims, pem
        ),
        "our own secret": forger.signed({"alg": "HS256", "kid": "rsa"}, {**claims, "type": "access"}, forger.secret),
        "no signature": forger.signed({"alg": "none", "kid": "rsa"}, claims, None),
        "an algorithm that is not listed": SigningKey("rsa", "PS256", RSA.private).sign(claims),
        "a key of another type": ED.sign(claims, kid="rsa"),
        "a key that is in the token itself": make_key("RS256", "mine").sign(
            claims, kid="rsa", jwk=make_key("RS256", "mine").in_key_set()
        ),
        "an issuer that is not configured": signed(RSA, "https://one.example/"),
        "no key id": RSA.sign(claims, kid=""),
    }

    for name, text in refused.items():
        answer = bearer(http, text)
        assert answer.status_code == 401, (name, described(answer))
        assert_refused(answer, 401, "TOKEN_INVALID")
    assert_refused(bearer(http, signed(RSA, exp=int(time.time()) - 60)), 401, "TOKEN_EXPIRED")
