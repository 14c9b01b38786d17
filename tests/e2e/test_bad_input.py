"""Bad input over HTTP gets a 4xx in the usual error shape, and changes nothing.

The integration tests call the functions directly, with every bad value of every field. The gateway does not change a
body, so a few fields are enough here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.bad_input import (
    ADD_PRICE,
    ADJUST,
    ALLOCATE,
    BAD_BODIES,
    BEGIN_RUN,
    COMMANDS,
    CREATE_KEY,
    CREATE_SERVICE,
    FIELDS,
    INITIALIZE,
    INSTANT,
    QUESTIONS,
    RECORD,
    RENAME,
    SET,
    SET_BUDGET,
    SINCE,
    STRICT,
    SYNC,
    UNKNOWN_USER,
    VALIDATE_KEY,
    WITH_BODIES,
    Route,
    by_function,
    fields_named,
    is_json,
    route_id,
    text_of,
)
from tests.e2e.client import assert_refused, described
from tests.e2e.target import Target, nothing_moves, person

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.stack import Stack

__all__ = ["person"]

OVER_HTTP = [
    *((ALLOCATE, "credits"), (ALLOCATE, "notes"), (INITIALIZE, "sessionId"), (RECORD, "metadata")),
    *((CREATE_KEY, "permissions"), (CREATE_SERVICE, "name"), (ADD_PRICE, "effectiveFrom"), (SYNC, "email")),
    *((SET_BUDGET, "warnAtPercent"), (BEGIN_RUN, "runId"), (RENAME, "name")),
]
FIELDS_OVER_HTTP = [case for case in FIELDS if case[:2] in OVER_HTTP]


def test_every_field_to_send_over_http_has_bad_values() -> None:
    assert len(FIELDS_OVER_HTTP) == len(OVER_HTTP)


def test_a_field_of_each_function_is_sent_over_http() -> None:
    assert _beginnings(OVER_HTTP) == _beginnings(FIELDS)


def _beginnings(fields: Sequence[tuple[Any, ...]]) -> set[str]:
    """Return the first part of each path. Among routes with bodies, this part identifies the Lambda function."""
    return {path.partition("/")[0] for (_, path, _), *_ in fields}


@pytest.mark.parametrize(("route", "field", "values"), FIELDS_OVER_HTTP, ids=route_id)
def test_the_refusal_of_a_bad_value_names_its_field(
    service: Stack, person: Target, route: Route, field: str, values: list[Any]
) -> None:
    method, path, good = route
    with nothing_moves(service, person):
        for value in values:
            body = text_of({**good, field: value}, person.names)
            answer = person.call(method, path, body)
            details = assert_refused(answer, 400, "VALIDATION_ERROR")
            if is_json(body):
                assert fields_named(details["errors"]) == [field], (value, described(answer))


@pytest.mark.parametrize("route", by_function(STRICT), ids=route_id)
def test_a_command_refuses_an_unknown_field_and_names_it(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with nothing_moves(service, person):
        for name in ("expiryDay", "Credits", "user_id", "__proto__", "toString", "", "ä", "body", "query", "header"):
            in_body = person.call(method, path, text_of({**good, name: 1}, person.names))
            in_query = person.call(method, path, text_of(good, person.names), params={name or "x": "1"})
            for answer, named in ((in_body, name), (in_query, name or "x")):
                details = assert_refused(answer, 400, "VALIDATION_ERROR")
                assert details["errors"] == [{"field": named, "problem": "unknown field"}], described(answer)


@pytest.mark.parametrize(
    "route",
    [
        *(("POST", "api-keys/{key}/revoke"), ("DELETE", "api-keys/{key}"), ("POST", "users/{other}/enable")),
        *(("DELETE", f"pricing/{{model}}/{SINCE}"), ("DELETE", "service-credentials/{service}")),
        *(("DELETE", "organizations/{organization}/members/{other}"), ("DELETE", "budgets/{account}/members")),
        ("POST", "runs/{account}/{run}/stop"),
    ],
)
def test_a_command_without_a_body_refuses_unknown_parameters_and_fields(
    service: Stack, person: Target, route: tuple[str, str]
) -> None:
    with nothing_moves(service, person):
        for answer in (person.call(*route, params={"dryRun": "true"}), person.call(*route, {"dryRun": True})):
            assert assert_refused(answer, 400, "VALIDATION_ERROR")["errors"][0]["field"] == "dryRun"


@pytest.mark.parametrize("route", QUESTIONS, ids=route_id)
def test_a_route_that_changes_nothing_accepts_unknown_fields(person: Target, route: Route) -> None:
    method, path, good = route

    answer = person.call(method, path, text_of({**good, "more": 1}, person.names), params={"more": "1"})
    without = person.call(method, path, text_of(good, person.names))

    status = 401 if route == VALIDATE_KEY else 200  # the sample for VALIDATE_KEY has an API key that does not exist
    assert (answer.status_code, without.status_code) == (status, status), described(answer)
    assert answer.json() == without.json()


@pytest.mark.parametrize(("route", "field"), [(ALLOCATE, "credits"), (SET, "credits"), (ADJUST, "adjustment")])
def test_an_expiry_that_is_invalid_out_of_range_or_set_in_two_fields_is_refused(
    service: Stack, person: Target, route: Route, field: str
) -> None:
    method, path, _ = route
    with nothing_moves(service, person):
        for bad in [*INSTANT[:-2], "2026-01-01", "2036-12-31", "9999-12-31"]:
            body = text_of({"userId": person.id, field: 5, "expiresAt": bad}, person.names)
            details = assert_refused(person.call(method, path, body), 400, "VALIDATION_ERROR")
            if is_json(body):
                assert [error["field"] for error in details["errors"]] == ["expiresAt"]
        both = {"userId": person.id, field: 5, "expiresAt": "2035-01-01", "expiryDays": 5}
        details = assert_refused(person.call(method, path, both), 400, "VALIDATION_ERROR")
        assert [error["field"] for error in details["errors"]] == ["expiresAt"]


@pytest.mark.parametrize("route", by_function(COMMANDS), ids=route_id)
def test_a_command_about_an_unknown_user_gets_404(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with nothing_moves(service, person):
        for value in UNKNOWN_USER:
            answer = person.call(method, path, text_of({**good, "userId": value}, person.names))
            assert_refused(answer, 404, "USER_NOT_FOUND", "User not found")


@pytest.mark.parametrize("route", by_function(WITH_BODIES), ids=route_id)
def test_a_body_must_be_one_json_object_with_the_required_fields(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with nothing_moves(service, person):
        for body in (*BAD_BODIES, b"[" + text_of(good, person.names) + b"]"):
            answer = person.call(method, path, body, headers={"Content-Type": "application/json"})
            assert_refused(answer, 400, "VALIDATION_ERROR")
        form = person.call(method, path, data={"userId": person.id, "credits": "5"})
        assert_refused(form, 400, "VALIDATION_ERROR")
        upload = person.call(method, path, files={"file": b"{}"})
        assert_refused(upload, 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("route", by_function(WITH_BODIES), ids=route_id)
def test_a_body_of_a_megabyte_is_refused(service: Stack, person: Target, route: Route) -> None:
    method, path, good = route
    with nothing_moves(service, person):
        for body in (
            text_of({**good, "padding": "x" * 1_000_000}, person.names),
            text_of(good, person.names) + b" " * 1_000_000,
            b"[" * 1_000_000,
            b"\xff" * 1_000_000,
        ):
            assert_refused(person.call(method, path, body), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "", "x"]
)
def test_a_body_is_read_as_json_whatever_its_content_type(person: Target, content_type: str) -> None:
    answer = person.call("POST", "credits/check", b'{"credits": 5}', headers={"Content-Type": content_type})

    assert answer.status_code == 200
