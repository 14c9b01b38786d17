"""Answers of any shape become a result or an AccountingError, whatever the client asked."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import importlib
import json
import pkgutil
import socket
import threading
import types
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    AccountingError,
    AsyncAccountingClient,
    InsufficientCredits,
    InvalidRequest,
    Retries,
    SessionNotActive,
    UnexpectedAnswer,
    routes,
)
from accounting_client.reading import Misread, camel, json_in, read
from client.tests.conftest import BASE_URL, Ask
from client.tests.played import BALANCE, GRANTED, Played, ok, refusal
from client.tests.test_contract import arguments, methods
from local.openapi import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT = "2026-11-21T08:30:00.000Z"
NESTED = b'{"message":' * 100_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "white space": b" \n",
    "HTML": b"<html>Bad Gateway</html>",
    "half an object": b'{"userId": "u", "totalCr',
    "two objects": b"{}{}",
    "null": b"null",
    "a number": b"7",
    "a text": b'"ok"',
    "true": b"true",
    "an empty object": b"{}",
    "an empty array": b"[]",
    "an array of arrays": b"[[[]]]",
    "an array of null": b"[null]",
    "an array of objects": b"[{}]",
    "objects that are never closed": NESTED,
    "arrays that are never closed": b"[" * 100_000,
    "deeply nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "NaN": b"NaN",
    "a field that is NaN": b'{"totalCredits": NaN}',
    "a number of 10,000 digits": b"9" * 10_000,
    "a field of 10,000 digits": b'{"totalCredits": ' + b"9" * 10_000 + b"}",
    "a huge exponent": b'{"defaultPrice": 1e999999, "models": []}',
    "invalid UTF-8": b'{"userId": "\xff\xfe"}',
    "UTF-16": '{"userId": "u"}'.encode("utf-16"),
    "UTF-8 with a byte order mark": b"\xef\xbb\xbf{}",
    "half a surrogate pair": b'{"userId": "\\ud800"}',
    "half a surrogate pair, raw": b'{"userId": "\xed\xa0\x80"}',
    "a zero byte": b"\x00",
    "bytes": bytes(range(256)),
    "wrong types in an error": b'{"message": [], "code": {}, "details": "no", "requestId": 7}',
    "a nested code": b'{"code": ' + b"[" * 900 + b"]" * 900 + b', "message": "no"}',
    "wrong details of a refusal": b'{"message": "no", "code": "INSUFFICIENT_CREDITS", "details": [1]}',
    "a text where a boolean belongs": b'{"valid": "perhaps"}',
    "wrong pages": b'{"total": "1", "totalPages": null, "users": {}, "nextCursor": 7}',
}
STATUSES = [
    101,
    200,
    201,
    204,
    206,
    299,
    300,
    304,
    400,
    401,
    402,
    403,
    404,
    409,
    413,
    418,
    429,
    500,
    503,
    504,
    599,
    999,
]
HEADERS: list[dict[str, str]] = [
    *({"Retry-After": text} for text in ("soon", "-1", "1.5", "", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT", "²")),
    *(
        {"Location": text}
        for text in ("/elsewhere", "mailto:a@b", "http://[::1", "https://x:abc/", "x" * 70_000, "\x00")
    ),
    {"Idempotency-Replayed": "true"},
    {"X-Next-Cursor": "\x00\x7f"},
    {"Content-Type": "text/html; charset=none-such"},
    {"Set-Cookie": "=;;;=\x00"},
]
ONCE = Retries(attempts=1)
NOT_READ = {"page", "problems"}
"""Fields that the client ignores.

The client follows cursors, so it needs no ``page``. An import with ``problems`` is refused, and the error lists them.
"""
ONLY_IN_THE_VIEW = {"ClosedView": {"role"}, "ProblemView": {"field", "index"}}
"""Fields of views (the service's models of its answers) that the client's dataclasses lack, besides NOT_READ.

The service never sends the ``role`` of a ``ClosedView``, and sends a ``ProblemView`` only in an error.
"""


def answers() -> Iterator[httpx.Response]:
    """Every body, every status with a few bodies, and every header with a success, a redirect and two refusals."""
    for body in BODIES.values():
        yield httpx.Response(200, content=body)
        yield httpx.Response(400, content=body)
    for status in STATUSES:
        for name in ("nothing", "HTML", "an empty object", "wrong types in an error"):
            yield httpx.Response(status, content=BODIES[name])
    for headers in HEADERS:
        for status in (200, 302, 401, 429):
            raw = [(name.encode(), text.encode("latin-1")) for name, text in headers.items()]
            yield httpx.Response(status, content=b"{}", headers=raw)


def test_every_field_of_an_answer_can_be_read() -> None:
    """Compare each view of the service with the client's dataclass whose fields are most like the view's fields."""
    fields = {kind: {camel(each.name) for each in dataclasses.fields(kind)} for kind in kinds()}
    views = {
        name: schema["properties"].keys()
        for name, schema in document()["components"]["schemas"].items()
        if name.endswith("View") and "properties" in schema
    }
    unread = {}
    for name, view in views.items():
        closest = max(fields.values(), key=lambda names: len(view & names) / len(view | names))
        unread[name] = view - closest - NOT_READ

    assert len(unread) > 50
    assert {name: names for name, names in unread.items() if names} == ONLY_IN_THE_VIEW


def test_the_tests_below_try_many_answers_and_methods() -> None:
    assert len(list(answers())) > 150
    assert len(methods(AccountingClient)) > 40


@pytest.mark.slow
def test_every_method_turns_any_answer_into_a_result_or_an_error() -> None:
    results, errors = [], []
    for answer in answers():
        with httpx.Client(transport=httpx.MockTransport(Played(answer))) as http:
            client = AccountingClient(BASE_URL, "jwt", service_key="key", http=http, retries=ONCE)
            for method in methods(client).values():
                try:
                    result = method(**next(arguments(method)))
                    results.append(list(result) if hasattr(result, "__next__") else result)
                except AccountingError as error:
                    errors.append(error)

    assert results, "some of the answers should be valid, such as an empty list"
    assert len(errors) > 5000
    assert all(str(error) and repr(error) for error in errors)
    assert {error.retry_after_seconds for error in errors} == {None}


def test_every_async_method_turns_answers_into_a_result_or_an_error() -> None:
    """Both clients read answers with the same code, so each method gets only a third of the answers here."""

    async def ask(number: int, answer: httpx.Response) -> int:
        asked = 0
        async with httpx.AsyncClient(transport=httpx.MockTransport(Played(answer))) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", service_key="key", http=http, retries=ONCE)
            for method in list(methods(client).values())[number % 3 :: 3]:
                result = method(**next(arguments(method)))
                try:
                    if hasattr(result, "__anext__"):
                        [_ async for _ in result]
                    else:
                        await result
                except AccountingError:
                    pass
                asked += 1
        return asked

    async def run() -> int:
        return sum([await ask(number, answer) for number, answer in enumerate(answers())])

    assert asyncio.run(run()) > 5000


def kinds() -> list[type[Any]]:
    """Every dataclass that an answer can become."""
    modules = [
        importlib.import_module(f"{routes.__name__}.{each.name}") for each in pkgutil.iter_modules(routes.__path__)
    ]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == module.__name__
    ]


hints_of: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def sample(kind: Any) -> Any:
    """The JSON of an answer of this kind, with all of its fields."""
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return sample(next(each for each in of if each is not type(None)))
    if origin is tuple:
        return [sample(of[0])]
    if origin is dict:
        return {"a": sample(of[1])}
    if dataclasses.is_dataclass(kind):
        return {camel(name): sample(hint) for name, hint in hints_of(kind).items()}
    return {datetime: AT, Decimal: 0.25, int: 7, str: "text", bool: True}.get(kind, {"any": 1})


def spoiled(value: Any) -> Iterator[Any]:
    """``value`` with one part, at any depth, replaced or left out."""
    yield from (None, True, 7, -1.5, "text", "2026-99-99", "0001-01-01T00:00:00+23:59", "2026-11-21", [], [None], {})
    if isinstance(value, dict):
        for name in value:
            yield {key: each for key, each in value.items() if key != name}
            for replaced in spoiled(value[name]):
                yield value | {name: replaced}
    if isinstance(value, list):
        for replaced in spoiled(value[0]):
            yield [replaced]


def test_a_changed_answer_raises_misread_or_is_read_with_the_declared_types() -> None:
    misread = 0
    for kind in kinds():
        assert isinstance(read(kind, sample(kind)), kind)
        for value in spoiled(sample(kind)):
            try:
                found = read(kind, value)
            except Misread:
                misread += 1
            else:
                assert_typed(kind, found)
    assert misread > 1000


def assert_typed(kind: Any, value: Any) -> None:
    """Assert that everything in ``value`` has the type that the dataclass declares."""
    origin, of = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is not None:
            assert_typed(next(each for each in of if each is not type(None)), value)
    elif origin is tuple:
        assert isinstance(value, tuple)
        for each in value:
            assert_typed(of[0], each)
    elif origin is dict:
        assert isinstance(value, dict)
        for each in value.values():
            assert_typed(of[1], each)
    elif dataclasses.is_dataclass(kind):
        for name, hint in hints_of(kind).items():
            assert_typed(hint, getattr(value, name))
    elif kind is not Any:
        assert type(value) is kind
        assert not isinstance(value, datetime) or value.utcoffset() is not None


@pytest.mark.parametrize(
    "name", ["invalid UTF-8", "half a surrogate pair", "NaN", "a field of 10,000 digits", "deeply nested arrays"]
)
def test_a_body_that_cannot_be_read_as_json_raises_misread(name: str) -> None:
    with pytest.raises(Misread):
        json_in(BODIES[name])


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert json_in(b'{"name": "\\ud83d\\ude00"}') == {"name": "\U0001f600"}


DETAILS = [None, "text", -1.5, True, [], [7], {}, {"a": 1}]


@pytest.mark.parametrize("wrong", DETAILS, ids=repr)
def test_details_of_a_wrong_type_are_ignored(ask: Ask, wrong: Any) -> None:
    names = ("requiredCredits", "availableCredits", "heldCredits", "shortfall", "affordableTokens")
    with pytest.raises(InsufficientCredits) as lacking:
        ask(
            Played(refusal(402, "INSUFFICIENT_CREDITS", **dict.fromkeys(names, wrong))), lambda client: client.balance()
        )
    error = lacking.value
    assert (error.required, error.available, error.held, error.shortfall, error.affordable_tokens) == (0, 0, 0, 0, None)

    with pytest.raises(SessionNotActive) as over:
        ask(Played(refusal(404, "SESSION_NOT_ACTIVE", status=[wrong], outcome=7)), lambda client: client.balance())
    assert (over.value.session_status, over.value.outcome) == (None, None)

    with pytest.raises(InvalidRequest) as invalid:
        ask(Played(refusal(400, "VALIDATION_ERROR", errors=wrong)), lambda client: client.balance())
    assert invalid.value.errors == []


def test_a_server_error_is_raised_even_if_its_body_looks_like_an_answer(ask: Ask) -> None:
    broken = httpx.Response(503, json={"valid": False, "code": "EXPIRED", "message": "no"})

    with pytest.raises(AccountingError):
        ask(Played(broken), lambda client: client.validate_api_key("acct_1"))


@pytest.mark.parametrize("location", ["mailto:a@b", "foo:bar", "http:\\\\x"])
def test_a_redirect_to_an_invalid_address_is_an_unexpected_answer(ask: Ask, location: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        ask(Played(httpx.Response(302, headers={"Location": location})), lambda client: client.balance())


def test_an_overlong_request_address_raises_value_error(ask: Ask) -> None:
    service = Played(ok(BALANCE))

    with pytest.raises(ValueError, match="the request has no valid address"):
        ask(service, lambda client: client.balance("u" * 70_000))
    assert service.requests == []


@contextmanager
def speaking(content: bytes) -> Iterator[str]:
    """A server that answers every request with ``content``, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(content)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, b"Connection: close", *headers, b"", body])


BALANCED = json.dumps(BALANCE).encode()
GZIP = b"Content-Encoding: gzip"
ON_THE_WIRE: dict[str, bytes] = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "bytes": bytes(range(256)),
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": http(BALANCED)[:-5],
    "a body that is not gzip": http(BALANCED, GZIP),
    "half a gzip": http(gzip.compress(BALANCED)[:20], GZIP),
    "a body that is not deflate": http(BALANCED, b"Content-Encoding: deflate"),
    "a length that is not a number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a chunk size that is not a number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
    "a status that is not a number": http(BALANCED, status=b"abc OK"),
    "an upgrade": http(b"", status=b"101 Switching Protocols"),
    "no content": b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    "a redirect": http(b"", b"Location: mailto:a@b", status=b"302 Found"),
}


@pytest.mark.parametrize("name", ON_THE_WIRE)
def test_an_unusable_http_response_raises_accounting_error(name: str) -> None:
    with speaking(ON_THE_WIRE[name]) as url, httpx.Client(trust_env=False) as http:
        client = AccountingClient(url, "jwt", http=http, retries=ONCE)
        for act in (client.balance, lambda: client.allocate("u", 5), lambda: client.delete_api_key("k")):
            with pytest.raises(AccountingError):
                act()

        async def run() -> None:
            async with httpx.AsyncClient(trust_env=False) as http:
                await AsyncAccountingClient(url, "jwt", http=http, retries=ONCE).balance()

        with pytest.raises(AccountingError):
            asyncio.run(run())


def test_a_wrongly_encoded_answer_is_an_unexpected_answer() -> None:
    with (
        speaking(ON_THE_WIRE["a body that is not gzip"]) as url,
        httpx.Client(trust_env=False) as http,
        pytest.raises(UnexpectedAnswer),
    ):
        AccountingClient(url, "jwt", http=http).balance()


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "9" * 400, "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_an_invalid_retry_after_is_ignored(ask: Ask, text: str) -> None:
    service = Played(refusal(503, "CONTENTION", text), ok(GRANTED))

    ask(service, lambda client: client.allocate("u", 5))
    assert len(service.requests) == 2
