"""The JSON document that lists the issuers of accepted tokens is either valid as a whole or refused."""

import json
from typing import Any

import pytest

from accounting.identity.document import InvalidDocument, parse

VALID: dict[str, Any] = {
    "issuer": "https://issuer.example",
    "jwksUrl": "https://issuer.example/keys",
    "algorithms": ["RS256"],
    "audience": ["accounting"],
}
CLAIMS = {"userId": "oid", "email": "email", "emailVerified": True, "name": "name", "role": "groups"}


def issuers(*changes: dict[str, Any]) -> Any:
    """Parse a list with one issuer for each change: ``VALID`` with that change. The value ``...`` removes a field."""
    listed = [{name: value for name, value in (VALID | change).items() if value is not ...} for change in changes]
    return parse(json.dumps(listed))


def test_values_that_are_left_out_have_safe_defaults() -> None:
    (found,) = issuers({}).values()

    assert (found.audience_claim, found.leeway_seconds, found.require, found.roles) == ("aud", 30, {}, {})
    assert (found.claims.user_id, found.claims.email, found.claims.role) == ("sub", None, None)


def test_every_value_can_be_set() -> None:
    (found,) = issuers(
        {"claims": CLAIMS, "roles": {"boss": "admin"}, "leewaySeconds": 0, "audienceClaim": "azp"}
    ).values()

    assert (found.claims.user_id, found.claims.role, found.roles["boss"]) == ("oid", "groups", "admin")


@pytest.mark.parametrize(
    "url", ["https://a.example:8443/keys?v=1", "http://127.0.0.1:4000/keys", "http://localhost/keys"]
)
def test_a_jwks_url_with_https_or_on_this_machine_is_accepted(url: str) -> None:
    (found,) = issuers({"jwksUrl": url}).values()

    assert found.jwks_url == url


@pytest.mark.parametrize("url", ["http://a.example/keys", "file:///etc/passwd", "https://", "a.example/keys",
    "https://me:pw@a.example/", "https://a.example/#x", "https://a.example/a b", "http://127.0.0.1.a.example/",
    "https://a.example/\u00fc", "https://a.example:x/"])  # fmt: skip
def test_other_jwks_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidDocument, match=r"jwksUrl|0\.jwks_url"):
        issuers({"jwksUrl": url})


UNUSABLE: list[dict[str, Any]] = [
    *({name: ...} for name in VALID),
    *({name: None} for name in VALID),
    *({name: ""} for name in ("issuer", "jwksUrl")),
    *(
        {"algorithms": value}
        for value in (list[Any](), "RS256", ["HS256"], ["RS256", "HS256"], ["none"], ["rs256"], [5])
    ),
    *({"audience": value} for value in (list[Any](), "accounting", [""], [5], {"a": "b"})),
    *({"audienceClaim": value} for value in ("sub", "", None)),
    *({"leewaySeconds": value} for value in (-1, 301, "30", 1.5, True)),
    *({"require": value} for value in ({"a": True}, {"a b": "c"}, {"": "c"}, ["a"])),
    {"another": "name"},
    {"jwks_url": "https://a.example/keys"},
    {"claims": {"another": "name"}},
    {"claims": {"userId": ""}},
    {"claims": {"userId": 'a"b'}},
    {"claims": {"userIdPrefix": "a/b"}},
    {"claims": {"email": "email"}},
    {"claims": {"emailVerified": True}},
    {"claims": {"email": "email", "emailVerified": False}},
    {"claims": {"role": "groups"}},
    {"roles": {"boss": "admin"}},
    {"claims": {"role": "groups"}, "roles": {"boss": "owner"}},
    {"claims": {"role": "groups"}, "roles": {"boss": None}},
]


@pytest.mark.parametrize("change", UNUSABLE, ids=str)
def test_a_document_with_an_invalid_issuer_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        issuers({"issuer": "https://fine.example", "claims": {"userIdPrefix": "fine-"}}, change)


@pytest.mark.parametrize("text", ["", "null", "{}", "5", '"x"', "[5]", "[[]]", "[", '{"issuers": []}'])
def test_anything_but_a_list_of_issuers_is_refused(text: str) -> None:
    with pytest.raises(InvalidDocument):
        parse(text)


def test_a_document_with_the_same_field_twice_is_refused() -> None:
    text = json.dumps([VALID])
    assert parse(text)

    with pytest.raises(InvalidDocument, match="twice"):
        parse(text.replace('"algorithms"', '"algorithms": ["ES256"], "algorithms"'))


def test_a_refusal_names_the_invalid_fields_but_not_their_values() -> None:
    with pytest.raises(InvalidDocument) as refused:
        issuers({"audience": {"shh": "secret"}, "algorithms": ["secret"]})

    assert "audience" in str(refused.value)
    assert "algorithms" in str(refused.value)
    assert "secret" not in str(refused.value)


def with_prefixes(*prefixes: str) -> Any:
    return issuers(
        *({"issuer": str(number), "claims": {"userIdPrefix": prefix}} for number, prefix in enumerate(prefixes))
    )


def test_prefixes_keep_users_of_several_issuers_apart() -> None:
    assert len(with_prefixes("a-", "b-", "c-")) == 3
    assert len(with_prefixes("")) == 1


@pytest.mark.parametrize("prefixes", [("", ""), ("", "a"), ("a", ""), ("a", "a"), ("a", "ab"), ("ab", "x", "a")])
def test_ambiguous_prefixes_are_refused(prefixes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidDocument, match="userIdPrefix"):
        with_prefixes(*prefixes)


def test_two_issuers_with_the_same_name_are_refused() -> None:
    with pytest.raises(InvalidDocument, match="same name"):
        issuers({"claims": {"userIdPrefix": "a-"}}, {"claims": {"userIdPrefix": "b-"}})
