"""Each recipe in docs/identity.md accepts its provider's tokens, and the page's numbers match the code."""

import json
import re
import time
from typing import Any, get_args

import pytest

from accounting import secrets
from accounting.domain.errors import TokenInvalid
from accounting.identity import document, keys
from accounting.identity.keys import SigningKeys
from accounting.identity.tokens import verify
from accounting.tokens import Claims
from local.paths import ROOT
from tests.providers import key_set, make_key
from tests.template import resources

PAGE = (ROOT / "docs/identity.md").read_text()
NOW = int(time.time())


def recipe(provider: str) -> dict[str, Any]:
    """The issuer in the page's recipe for this provider."""
    section = PAGE.split(f"\n### {provider}\n")[1].split("\n## ")[0].split("\n### ")[0]
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]
    ((issuer,),) = [block for block in found if isinstance(block, list)]
    return dict(issuer)


def accepted(issuer: dict[str, Any], claims: dict[str, Any]) -> Claims:
    """Verify a token with these claims, as the recipe says. Raises TokenInvalid if the recipe refuses the token."""
    key = make_key(issuer["algorithms"][0], "key-1")
    now = int(time.time())  # not NOW, which may be older than a minute when this test runs
    times = {"iat": now, "exp": now + 60, "iss": issuer["issuer"]}
    return verify(
        key.sign(times | claims),
        lambda refresh: [b"s" * 32],
        lambda: json.dumps([issuer]),
        lambda address: SigningKeys(address, lambda: key_set(key)),
    )


COGNITO = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "cognito:groups": ["accounting-admins"],
    "client_id": "7fe1example2client3id",
    "origin_jti": "b1",
    "event_id": "e1",
    "token_use": "access",
    "scope": "openid",
    "auth_time": NOW,
    "jti": "j1",
    "username": "jane",
}
AUTH0 = {
    "sub": "auth0|123456",
    "aud": ["https://accounting.example.com", "https://example.eu.auth0.com/userinfo"],
    "azp": "my_client_id",
    "scope": "openid profile email",
    "permissions": ["accounting:admin", "read:x"],
    "https://example.com/email": "jane@example.com",
    "https://example.com/email_verified": True,
}
CLERK = {
    "azp": "https://app.example.com",
    "fva": [0, -1],
    "nbf": NOW - 10,
    "sid": "sess_1",
    "sub": "user_2abc",
    "sts": "active",
    "v": 2,
    "o": {"id": "org_1", "rol": "admin", "slg": "acme"},
    "email": "jane@example.com",
    "email_verified": True,
    "accounting_role": "admin",
}
SUPABASE = {
    "aud": "authenticated",
    "sub": "11111111-2222-3333-4444-555555555555",
    "email": "jane@example.com",
    "phone": "",
    "app_metadata": {"provider": "email", "providers": ["email"], "accounting_role": "admin"},
    "user_metadata": {"email_verified": True, "accounting_role": "supervisor"},
    "role": "authenticated",
    "aal": "aal1",
    "amr": [{"method": "password", "timestamp": NOW}],
    "session_id": "s1",
    "is_anonymous": False,
}
FIREBASE = {
    "name": "Jane",
    "aud": "example-project",
    "auth_time": NOW,
    "user_id": "fbuid1",
    "sub": "fbuid1",
    "email": "jane@example.com",
    "email_verified": True,
    "accounting_role": "admin",
    "firebase": {"identities": {"email": ["jane@example.com"]}, "sign_in_provider": "password"},
}
KEYCLOAK = {
    "jti": "j1",
    "aud": ["accounting", "account"],
    "sub": "11111111-2222-3333-4444-555555555555",
    "typ": "Bearer",
    "azp": "web-app",
    "acr": "1",
    "realm_access": {"roles": ["offline_access", "accounting-admin"]},
    "resource_access": {"account": {"roles": ["manage-account"]}},
    "scope": "email profile",
    "email_verified": True,
    "preferred_username": "jane",
    "email": "jane@example.com",
}
TOKENS: dict[str, dict[str, Any]] = {
    "Amazon Cognito": COGNITO,
    "Auth0": AUTH0,
    "Clerk": CLERK,
    "Supabase": SUPABASE,
    "Firebase": FIREBASE,
    "Keycloak": KEYCLOAK,
}
NAMES = {"Amazon Cognito": "jane", "Firebase": "Jane", "Keycloak": "jane"}


def test_every_recipe_is_tested() -> None:
    assert re.findall(r"^### (.*)", PAGE.split("\n## Recipes\n")[1], re.MULTILINE) == list(TOKENS)


@pytest.mark.parametrize("provider", TOKENS)
def test_a_token_with_an_administrators_role_is_accepted(provider: str) -> None:
    token = TOKENS[provider]

    user = accepted(recipe(provider), token).user

    assert (user.id, user.role, user.username) == (token["sub"], "admin", NAMES.get(provider))
    assert user.email == (None if provider == "Amazon Cognito" else "jane@example.com")


@pytest.mark.parametrize(
    ("provider", "without"),
    [
        ("Amazon Cognito", {"cognito:groups"}),
        ("Auth0", {"permissions"}),
        ("Clerk", {"accounting_role"}),
        ("Supabase", {"app_metadata"}),
        ("Firebase", {"accounting_role"}),
        ("Keycloak", {"realm_access"}),
    ],
)
def test_a_user_whose_token_lacks_the_claim_for_roles_gets_the_role_user(provider: str, without: set[str]) -> None:
    """The role in a Clerk organization, Supabase's claim ``role`` and metadata that users can edit are all ignored."""
    token = {name: value for name, value in TOKENS[provider].items() if name not in without}

    assert accepted(recipe(provider), token).user.role == "user"


@pytest.mark.parametrize(
    ("provider", "claims"),
    [
        ("Amazon Cognito", {"client_id": "another-app"}),
        ("Amazon Cognito", {"token_use": "id", "client_id": None, "aud": "7fe1example2client3id"}),
        ("Amazon Cognito", {"token_use": "id"}),
        ("Auth0", {"aud": "my_client_id"}),
        ("Clerk", {"azp": "https://evil.example"}),
        ("Clerk", {"azp": None}),
        ("Supabase", {"role": "anon", "aud": None}),
        ("Supabase", {"role": "service_role"}),
        ("Firebase", {"aud": "another-project"}),
        ("Keycloak", {"aud": "account"}),
        ("Keycloak", {"typ": "ID"}),
    ],
)
def test_a_token_for_another_application_or_purpose_is_refused(provider: str, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        accepted(recipe(provider), TOKENS[provider] | claims)


@pytest.mark.parametrize("provider", ["Auth0", "Clerk", "Firebase", "Keycloak"])
def test_an_email_address_that_the_provider_did_not_verify_is_ignored(provider: str) -> None:
    verified = recipe(provider)["claims"]["emailVerified"]

    assert accepted(recipe(provider), TOKENS[provider] | {verified: False}).user.email is None


def test_the_table_lists_every_field_of_the_issuers_document() -> None:
    named = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    of_claims = {f"claims.{field.alias}" for field in document.ClaimNames.model_fields.values()}
    of_issuers = {str(field.alias) for field in document.Issuer.model_fields.values()} - {"claims"}

    assert set(named) == of_claims | of_issuers
    assert f"Some of {', '.join(get_args(document.Algorithm.__value__))}." in PAGE


def minutes(seconds: int) -> str:
    """A number of seconds as the page writes it, in whole minutes."""
    count, rest = divmod(seconds, 60)
    assert rest == 0
    return {1: "a minute", 5: "five minutes", 10: "ten minutes"}[count]


def test_the_numbers_on_the_page_match_the_code() -> None:
    page = " ".join(PAGE.split())

    assert f"keeps a provider's keys for {minutes(keys.FRESH_SECONDS)}, and then fetches them again" in page
    assert f"refuses the key after {minutes(keys.FRESH_SECONDS)} at the latest" in page
    assert f"fetches the keys at once, but at most once {minutes(keys.RETRY_SECONDS)}" in page
    assert f"at most one request {minutes(keys.RETRY_SECONDS)}" in page
    within = f"within {minutes(keys.RETRY_SECONDS)} after a fetch for another unknown key id"
    assert f"{within}, the token is refused" in page
    assert (
        f"asks the provider again once {minutes(keys.RETRY_SECONDS)}, or every {keys.FIRST_RETRY_SECONDS} seconds "
        "while it knows no key"
    ) in page
    assert f"reads the document again every {minutes(secrets.MAX_AGE_SECONDS)}" in page
    authorizer = resources("AWS::Serverless::Api")["Api"]["Properties"]["Auth"]["Authorizers"]["TokenAuthorizer"]
    remembered = minutes(authorizer["Identity"]["ReauthorizeEvery"])
    assert f"may remember an accepted token for {remembered} more" in page
    assert f"the gateway remembers the refusal for {remembered}" in page
    assert f"known keys stay valid for {keys.USABLE_SECONDS // 3600} hours" in page
    assert f"A fetch takes at most {keys.FETCH_SECONDS} seconds" in page
    assert f"at most {keys.MAX_BYTES // 1_000_000} MB" in page
    assert f"a set of at most {keys.MAX_KEYS} keys" in page
    assert f"RSA keys of less than {keys.MIN_RSA_BITS} bits" in page
    assert f"a list of at most {document.MAX_ISSUERS} objects" in page
