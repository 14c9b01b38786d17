"""Authentication by token: only genuine access tokens are accepted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.books import items_of
from tests.e2e.client import Person, assert_refused, described, new_id

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint

HOUR = 3600
LEEWAY = 30


class Forger:
    """Makes tokens that no honest issuer would make, for one user."""

    def __init__(self, service: Stack, token: Mint) -> None:
        self.user_id = new_id("forged")
        self.secret = service.jwt_secret
        self.genuine = token(self.user_id)
        self.payload: dict[str, Any] = jwt.decode(self.genuine, options={"verify_signature": False})

    def signed(self, header: dict[str, Any], payload: Any, secret: str | None, digest: str = "sha256") -> str:
        """Make a token by hand, with an empty signature if ``secret`` is None."""
        signed = f"{_encoded(header)}.{_encoded(payload)}"
        if secret is None:
            return f"{signed}."
        return f"{signed}.{_base64(hmac.digest(secret.encode(), signed.encode(), digest))}"

    def claiming(self, **claims: Any) -> str:
        """Sign changed claims with the genuine secret; None removes a claim."""
        payload = {name: value for name, value in (self.payload | claims).items() if value is not None}
        return self.signed({"alg": "HS256", "typ": "JWT"}, payload, self.secret)


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def forger(service: Stack, token: Mint) -> Forger:
    """Return the forger. Its user must never be created."""
    return Forger(service, token)


def _forged(forger: Forger) -> dict[str, str]:
    """Return tokens with an invalid header, payload, signature or form."""
    header, payload, signature = forger.genuine.split(".")
    other_payload = _encoded(forger.payload | {"role": "admin"})
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret, claims = forger.secret, forger.payload
    return {
        "another secret": jwt.encode(claims, "x" * 48, "HS256"),
        "an empty secret": forger.signed({"alg": "HS256"}, claims, ""),
        "the secret's digest": forger.signed({"alg": "HS256"}, claims, hashlib.sha256(secret.encode()).hexdigest()),
        "alg none": forger.signed({"alg": "none"}, claims, None),
        "alg None": forger.signed({"alg": "None"}, claims, None),
        "alg nOnE, signed": forger.signed({"alg": "nOnE"}, claims, secret),
        "alg none, the genuine signature": f"{_encoded({'alg': 'none'})}.{payload}.{signature}",
        "no alg": forger.signed({"typ": "JWT"}, claims, secret),
        "alg null": forger.signed({"alg": None}, claims, secret),
        "HS384": jwt.encode(claims, secret, "HS384"),
        "HS512": jwt.encode(claims, secret, "HS512"),
        "RS256": jwt.encode(claims, private_key, "RS256"),
        "RS256, signed with the secret": forger.signed({"alg": "RS256"}, claims, secret),
        "HS256, said to be RS256": f"{_encoded({'alg': 'RS256'})}.{payload}.{signature}",
        "HS512, said to be HS256": forger.signed({"alg": "HS256"}, claims, secret, "sha512"),
        "a key in the header": forger.signed({"alg": "HS256", "jwk": {"kty": "oct", "k": "eHg"}}, claims, "xx"),
        "a critical header": forger.signed({"alg": "HS256", "crit": ["x"], "x": 1}, claims, secret),
        "no signature": f"{header}.{payload}.",
        "half a signature": f"{header}.{payload}.{signature[:20]}",
        "another payload": f"{header}.{other_payload}.{signature}",
        "two parts": f"{header}.{payload}",
        "four parts": f"{forger.genuine}.{signature}",
        "an array": forger.signed({"alg": "HS256"}, [claims], secret),
        "a text": forger.signed({"alg": "HS256"}, "claims", secret),
        "garbage": "garbage",
        "dots": "...",
        "not base64": "☺.☺.☺",
        "long garbage": "x" * 6000,
        "the secret": secret,
    }


def _dishonest(forger: Forger) -> dict[str, str]:
    """Return tokens with a valid signature and invalid claims."""
    now = int(time.time())
    values: dict[str, list[Any]] = {
        "exp": [None, "soon", [], {}, f"{now + HOUR}x", float("nan"), float("inf")],
        "sub": [None, "", 5, True, [], {"id": "boss"}, "x" * 129, "a\nb", "a\x00b", "\ud800", "all", "me", "sync"],
        "iat": [now + HOUR, "yesterday", [], float("nan"), 10**40, -(10**40)],
        "nbf": [now + HOUR, "tomorrow", {}],
    }
    claims = [{name: value} for name in values for value in values[name]]
    return {json.dumps(claim): forger.claiming(**claim) for claim in claims}


def _assert_not_created(service: Stack, forger: Forger, person: Person) -> None:
    """Assert that none of the forger's tokens created the user."""
    assert items_of(service, forger.user_id) == []
    assert_refused(person.get(f"credits/balance/{forger.user_id}"), 404, "USER_NOT_FOUND")


def _bearing(http: httpx.Client, token: str) -> httpx.Response:
    return http.get("/api/credits/balance", headers={b"Authorization": f"Bearer {token}".encode()})


@pytest.mark.parametrize("family", [_forged, _dishonest])
def test_a_forged_token_or_a_token_with_invalid_claims_is_refused(
    service: Stack, http: httpx.Client, forger: Forger, admin: Person, family: Any
) -> None:
    for name, token in family(forger).items():
        answer = _bearing(http, token)
        assert answer.status_code == 401, (name, described(answer))
        assert_refused(answer, 401, "TOKEN_INVALID")
        assert answer.headers["www-authenticate"] == "Bearer"
    _assert_not_created(service, forger, admin)


@pytest.mark.parametrize("kind", ["refresh", "id", "Access", "", None, 1, ["access"]])
def test_a_genuine_token_whose_type_is_not_access_is_refused(
    service: Stack, http: httpx.Client, forger: Forger, admin: Person, kind: Any
) -> None:
    assert_refused(_bearing(http, forger.claiming(type=kind)), 401, "TOKEN_TYPE_INVALID")
    _assert_not_created(service, forger, admin)


@pytest.mark.parametrize("ago", [LEEWAY + 1, HOUR, 50 * 365 * 24 * HOUR])
def test_an_expired_token_is_refused_as_expired(
    service: Stack, http: httpx.Client, forger: Forger, admin: Person, ago: int
) -> None:
    answer = _bearing(http, forger.claiming(exp=int(time.time()) - ago))

    assert_refused(answer, 401, "TOKEN_EXPIRED")
    assert answer.headers["www-authenticate"] == "Bearer"
    _assert_not_created(service, forger, admin)


def test_an_expired_forged_token_is_refused_as_invalid_and_not_as_expired(http: httpx.Client, forger: Forger) -> None:
    expired = forger.payload | {"exp": int(time.time()) - HOUR}

    assert_refused(_bearing(http, jwt.encode(expired, "x" * 48, "HS256")), 401, "TOKEN_INVALID")


def test_a_request_without_a_token_is_refused(http: httpx.Client) -> None:
    for method, path in (
        ("GET", "credits/balance"),
        ("POST", "credits/allocate"),
        ("POST", "streaming-sessions/initialize"),
        ("GET", "streaming-sessions/active/all"),
    ):
        answer = http.request(method, f"/api/{path}")
        assert_refused(answer, 401, "TOKEN_REQUIRED")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_an_authorization_header_without_exactly_one_bearer_token_is_refused(
    http: httpx.Client, forger: Forger
) -> None:
    genuine = forger.genuine
    for authorization in (
        *("Bearer", "Basic dXNlcjpwYXNz", "Digest x", f"Token {genuine}", genuine, f"Bearer{genuine}"),
        *(f"Bearer Bearer {genuine}", f"Bearer {genuine} {genuine}", f'Bearer "{genuine}"', f"Bearer {genuine},"),
    ):
        answer = http.get("/api/credits/balance", headers={"Authorization": authorization})
        assert answer.status_code == 401, (authorization[:20], described(answer))
        assert_refused(answer, 401, answer.json()["code"])
        assert answer.json()["code"] in ("TOKEN_INVALID", "TOKEN_REQUIRED")


def test_the_scheme_bearer_may_be_in_upper_or_lower_case(http: httpx.Client, token: Mint) -> None:
    for scheme in ("bearer", "BEARER", "Bearer "):
        user_id = new_id("user")
        answer = http.get("/api/credits/balance", headers={"Authorization": f"{scheme} {token(user_id)}"})
        assert answer.status_code == 200, described(answer)
        assert answer.json()["userId"] == user_id


@pytest.mark.parametrize(
    "claims",
    [
        {"email": None, "username": None, "iat": None, "role": None},
        {"aud": "another-service"},
        {"iss": "anybody", "jti": "1", "custom": {"a": [1]}},
        {"exp": int(time.time()) + 0.5 + HOUR},
        {"exp": 10**12},
    ],
)
def test_a_genuine_token_may_have_more_or_fewer_claims(http: httpx.Client, token: Mint, claims: dict[str, Any]) -> None:
    user_id = new_id("user")

    answer = _bearing(http, token(user_id, **claims))

    assert answer.status_code == 200, described(answer)
    assert answer.json()["userId"] == user_id


NULL: Any = object()
ODD: dict[str, list[Any]] = {
    "email": [5, ["a@b.c"], "x" * 255, "a\x00@b.c", "nobodys", NULL],
    "username": [5, {}, "x" * 201, "\x1b[2J", "\ud800", NULL],
    "role": [7, ["admin"], "root", NULL],
    **{name: [NULL] for name in ("nbf", "iat", "jti", "aud", "iss")},
}


@pytest.mark.parametrize("claims", [{name: value} for name in ODD for value in ODD[name]])
def test_an_unusable_optional_claim_is_ignored(http: httpx.Client, forger: Forger, claims: dict[str, Any]) -> None:
    user_id = new_id("odd")
    sent = {name: None if value is NULL else value for name, value in claims.items()}
    payload = {**forger.payload, "sub": user_id, "email": f"{user_id}@example.com", "username": "x", **sent}
    token = forger.signed({"alg": "HS256", "typ": "JWT"}, payload, forger.secret)

    answer = http.get("/api/users/me", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200, described(answer)
    found = answer.json()
    absent = {"email": "", "username": "", "role": "user"}
    assert {name: found[name] for name in absent if name in claims} == {
        name: value for name, value in absent.items() if name in claims
    }


@pytest.mark.parametrize("name", ["\u5c71\u3000\u592a", "\U0001f469\u200d\U0001f4bb", "Jean\u00a0Dupont", "\U0001fae9"])
def test_a_name_with_unusual_characters_is_stored_unchanged(http: httpx.Client, token: Mint, name: str) -> None:
    user_id = new_id("named")
    person = Person(http, user_id, token(user_id, username=name))

    assert person.ok("GET", "users/me")["username"] == name
    made = person.ok("POST", "api-keys", {"name": name})
    assert [key["name"] for key in person.ok("GET", "api-keys")] == [made["name"]] == [name]
    person.ok("POST", "usage/record", {"service": name, "operation": name, "credits": 1})
    assert person.ok("GET", "usage/stats")["byService"] == {name: 1}


def test_a_refusal_says_what_is_wrong_with_the_token(http: httpx.Client, forger: Forger) -> None:
    now = int(time.time())
    for claims, reason in (
        ({"nbf": now + HOUR}, "not valid yet"),
        ({"iat": now + HOUR}, "not valid yet"),
        ({"sub": None}, "no subject"),
        ({"sub": 5}, "sub"),
        ({"sub": "all"}, "sub"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"nbf": "tomorrow"}, "nbf"),
        ({"type": "refresh"}, "type"),
    ):
        assert reason in _bearing(http, forger.claiming(**claims)).json()["message"], claims
    for scheme in ("Basic", "Token", "Digest"):
        message = http.get("/api/credits/balance", headers={"Authorization": f"{scheme} x"}).json()["message"]
        assert "Bearer" in message
        assert "ApiKey" in message


def test_an_api_key_is_accepted_as_a_bearer_token(http: httpx.Client, token: Mint) -> None:
    user_id = new_id("user")
    key = Person(http, user_id, token(user_id)).ok("POST", "api-keys", {"name": "sdk", "permissions": ["credits:read"]})

    for scheme in ("Bearer", "bearer", "ApiKey"):
        answer = http.get("/api/credits/balance", headers={"Authorization": f"{scheme} {key['key']}"})
        assert answer.status_code == 200, described(answer)
        assert answer.json()["userId"] == user_id
    assert_refused(_bearing(http, f"{key['key']}x"), 401, "API_KEY_INVALID")


def test_a_token_that_expired_within_the_leeway_is_accepted(http: httpx.Client, token: Mint) -> None:
    just_expired = token(new_id("user"), exp=int(time.time()) - LEEWAY // 2)

    assert _bearing(http, just_expired).status_code == 200


@pytest.mark.parametrize(
    "user_id", ["x" * 128, "auth0|5f7c8ec7c33c6c004bbafe82", "josé ☺", "a#b", "a?b", '"', "__proto__x", "50%", "a%40b"]
)
def test_printable_ids_of_up_to_128_characters_can_be_used_and_addressed(
    http: httpx.Client, token: Mint, admin: Person, user_id: str
) -> None:
    person = Person(http, user_id, token(user_id, email=None))
    assert person.balance()["userId"] == user_id

    admin.ok("POST", "credits/allocate", {"userId": user_id, "credits": 5})

    path = f"credits/balance/{quote(user_id, safe='')}"
    assert admin.ok("GET", path)["userId"] == user_id
