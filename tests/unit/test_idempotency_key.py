"""Which idempotency keys are valid, and when two request bodies have the same fingerprint, a digest of their fields."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import BaseModel

from accounting.domain.errors import Invalid
from accounting.domain.service_credentials import ServiceCredential
from accounting.store import keys
from accounting.store.idempotency import IdempotencyKey
from accounting.web.api import Api
from accounting.web.caller import Caller
from accounting.web.idempotency import fingerprint as fingerprint_of
from accounting.web.idempotency import key_of
from functions.credits.app import Allocate
from functions.usage.app import Record

BODY = Allocate.model_validate({"userId": "u1", "credits": 5})


def key(headers: dict[str, str], body: BaseModel = BODY, caller: str = "boss") -> IdempotencyKey | None:
    return key_of(cast("Api", api_with(headers, "allocate", caller)), body)


def api_with(
    headers: dict[str, str], idempotency: str, caller: str = "boss", service: ServiceCredential | None = None
) -> SimpleNamespace:
    return SimpleNamespace(
        event=SimpleNamespace(headers=headers),
        route=SimpleNamespace(rule="/api/credits/allocate", idempotency=idempotency),
        caller=Caller(caller, "", "user", service=service),
    )


def fingerprint(**body: Any) -> str:
    found = key({"Idempotency-Key": "k"}, Allocate.model_validate({"userId": "u1", "credits": 5} | body))
    assert found is not None
    return found.fingerprint


def test_a_request_without_the_header_has_no_key() -> None:
    assert key({}) is None


@pytest.mark.parametrize("text", ["k", "!", "~", "a" * 128, "2f6c-uuid", "#/?"])
def test_up_to_128_visible_ascii_characters_are_a_key(text: str) -> None:
    found = key({"Idempotency-Key": text})

    assert found is not None
    assert (found.caller, found.route, found.key) == ("boss", "allocate", text)


def test_the_keys_of_users_and_services_are_separate() -> None:
    services = [None, *(ServiceCredential(each, "", (), "", 0) for each in ("one", "two"))]
    sent = {"Idempotency-Key": "k"}
    found = [key_of(cast("Api", api_with(sent, "allocate", service=service)), BODY) for service in services]

    assert len({keys.idempotency(each.caller, each.route, each.key)["sk"] for each in found if each}) == 3


@pytest.mark.parametrize("text", ["", "a" * 129, "a b", "a\n", "ä", "\x7f", "\x00", "\t"])
def test_a_key_is_refused_if_it_is_empty_or_too_long_or_not_visible_ascii(text: str) -> None:
    with pytest.raises(Invalid, match="Idempotency-Key"):
        key({"Idempotency-Key": text})


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_route_that_declares_no_idempotency_cannot_read_a_key(headers: dict[str, str]) -> None:
    with pytest.raises(LookupError, match="/api/credits/allocate declares no idempotency"):
        key_of(cast("Api", api_with(headers, "")), BODY)


def test_the_same_values_in_another_notation_have_the_same_fingerprint() -> None:
    same = fingerprint()

    assert fingerprint(notes=None) == same
    body = Allocate.model_validate_json('{"credits": 5, "targetUserId": "u1"}')
    found = key({"Idempotency-Key": "k"}, body)
    assert found is not None
    assert found.fingerprint == same


def test_a_fingerprint_does_not_depend_on_the_order_of_fields_at_any_depth() -> None:
    def digest(text: str) -> str:
        return fingerprint_of(Record.model_validate_json(text))

    one = (
        '{"service": "s", "operation": "o", "credits": 1, "metadata": {"a": 1, "b": {"c": [{"x": 1, "y": 2}], "d": 3}}}'
    )
    other = (
        '{"metadata": {"b": {"d": 3, "c": [{"y": 2, "x": 1}]}, "a": 1}, "credits": 1, "operation": "o", "service": "s"}'
    )

    assert digest(one) == digest(other)
    assert digest(one) != digest(one.replace('"x": 1', '"x": 2'))


def test_a_new_optional_field_does_not_change_fingerprints() -> None:
    class Newer(Allocate):
        added: str = "a default"

    sent = {"userId": "u1", "credits": 5}

    assert fingerprint_of(Newer.model_validate(sent)) == fingerprint_of(Allocate.model_validate(sent))


@pytest.mark.parametrize("other", [{"credits": 6}, {"userId": "u2"}, {"notes": ""}, {"notes": "x"}, {"expiryDays": 30}])
def test_other_values_have_another_fingerprint(other: dict[str, Any]) -> None:
    assert fingerprint(**other) != fingerprint()
