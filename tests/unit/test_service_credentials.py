"""Service credentials: which of their secrets are valid, and which user a service acts for.

The secrets of a credential are numbered from 1. A secret's number is its generation.
"""

from urllib.parse import quote

import pytest

from accounting.domain.api_keys import hash_of
from accounting.domain.errors import Invalid
from accounting.domain.service_credentials import (
    RIGHTS,
    ServiceCredential,
    acting_service,
    in_documented_order,
    too_many,
)
from accounting.web.on_behalf import user_id_in

NOW = 1_000_000


def rotated(
    credential: ServiceCredential, secret: str, *, ends_at: int, keep_previous: bool = False
) -> ServiceCredential:
    return credential.rotated(hash_of(secret), ends_at=ends_at, keep_previous=keep_previous, now=NOW)


def valid(credential: ServiceCredential, now: int) -> list[str]:
    """The secrets of these tests that the credential accepts at ``now``."""
    generations = {secret: credential.generation_of(secret) for secret in ("one", "two", "three", "other")}
    return [secret for secret, number in generations.items() if number is not None and credential.accepts(number, now)]


ONE = ServiceCredential("id", "a name", ("read",), hash_of("one"), NOW)
TWO = rotated(ONE, "two", ends_at=NOW + 10)


def test_the_previous_secret_is_valid_until_its_end() -> None:
    assert valid(ONE, NOW) == ["one"]
    assert valid(TWO, NOW + 9) == ["one", "two"]
    assert valid(TWO, NOW + 10) == ["two"]
    assert valid(rotated(ONE, "two", ends_at=NOW), NOW) == ["two"]


def test_rotating_again_ends_the_oldest_secret_at_once() -> None:
    assert valid(rotated(TWO, "three", ends_at=NOW + 10), NOW + 1) == ["two", "three"]


def test_a_lost_new_secret_is_replaced_while_the_previous_secret_stays_valid() -> None:
    assert valid(rotated(TWO, "three", ends_at=NOW + 20, keep_previous=True), NOW + 11) == ["one", "three"]
    with pytest.raises(Invalid) as refused:
        rotated(ONE, "two", ends_at=NOW, keep_previous=True)
    assert str(refused.value) == "keep: there is no previous secret that is still valid"


def test_a_credential_shows_when_it_was_last_rotated() -> None:
    assert ONE.rotated_at is None
    assert rotated(ONE, "two", ends_at=NOW + 10).rotated_at == NOW


def test_the_refusal_of_too_many_credentials_names_the_limit() -> None:
    refused = too_many()

    assert (str(refused), refused.details) == ("At most 100 service credentials", {"limit": 100})


def test_the_generation_number_of_a_secret_is_never_used_again() -> None:
    three = rotated(TWO, "three", ends_at=NOW + 20, keep_previous=True)

    assert [each.generation for each in (ONE, TWO, three)] == [1, 2, 3]
    assert not three.accepts(2, NOW)
    assert not ONE.accepts(2, NOW)


def test_rights_are_put_in_the_documented_order_without_repeats() -> None:
    assert in_documented_order(["usage", "sessions", "usage"]) == ("sessions", "usage")
    assert in_documented_order(RIGHTS) == RIGHTS


def test_a_service_is_an_acting_service_only_if_it_acts_for_a_user() -> None:
    assert ONE.actor == "service:id"
    assert acting_service("service:id", "u1") == "service:id"
    for actor in ("u1", "system", "boss"):
        assert acting_service(actor, "u1") is None
    assert acting_service("service:x", "service:x") is None, (
        "a user whose id looks like a service's is not an acting service"
    )


@pytest.mark.parametrize(
    "user_id", ["u1", "Zoë Müller", "a@example.com", "a,b", "a/b%41", "auth0|x", "\N{GRINNING FACE}", "x" * 128]
)
def test_the_user_id_in_the_header_is_decoded_once(user_id: str) -> None:
    assert user_id_in([quote(user_id, safe="")]) == user_id


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("a", "b"),
        ("a", "a"),
        ("a, b",),
        ("a,b",),
        ("a b",),
        ("%",),
        ("%zz",),
        ("%ff",),
        ("%00",),
        ("a%0ab",),
        ("Zo\xeb",),
        ("x" * 129,),
        ("all",),
        ("me",),
        ("%6De",),
        ("__proto__",),
    ],
)
def test_a_header_without_exactly_one_valid_user_id_is_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(Invalid) as refused:
        user_id_in(values)

    assert [error["field"] for error in refused.value.details["errors"]] == ["X-On-Behalf-Of"]
