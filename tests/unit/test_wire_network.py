"""The wire (our own DynamoDB client) and boto3's client, compared on a network with many kinds of faults.

Instead of DynamoDB, a peer answers: a server on this machine that reacts to each request as the test chooses.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from accounting.store.table import connection, exchange, surroundings, wire
from accounting.store.table.surroundings import Credentials, Place
from accounting.store.table.wire import Wire
from tests.peer import Deed, Peer, _request, answer, certificate, half_an_answer, in_chunks, send

KEY = {"TableName": "t", "Key": {"pk": {"S": "a"}, "sk": {"S": "é\n"}}, "ConsistentRead": True}
ITEM = {"Item": {"pk": {"S": "a"}, "sk": {"S": "b"}}}
CREDENTIALS = Credentials("key", "secret", None)
READ_SECONDS = 0.5


def test_the_peer_ignores_a_request_that_breaks_off() -> None:
    for sent in ([b"POST / HTTP/1.1\r\nContent-Le"], [b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"half"]):
        received = iter([*sent, b""])
        connection: Any = SimpleNamespace(recv=lambda _size, received=received: next(received))
        assert _request(connection) == b""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use shorter timeouts than the service, no pauses before retries, no proxies, and test credentials."""
    monkeypatch.setattr(exchange, "READ_SECONDS", READ_SECONDS)
    monkeypatch.setattr(wire, "jitter", lambda _longest: 0)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    for name in {"REQUESTS_CA_BUNDLE", *(name for name in os.environ if name.lower().endswith("_proxy"))}:
        monkeypatch.delenv(name, raising=False)
    for name, value in (("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer.listening() as listening:
        yield listening


def wire_to(url: str) -> Wire:
    return Wire(Place(url, "eu-west-1", None, lambda: CREDENTIALS))


def both(url: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The wire, and boto3's client as the store configures it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    return [wire_to(url), connection.sdk_client(botocore.session.get_session())]


def outcome(client: Any) -> Any:
    """Read an item. Return the answer, or the code and retries of a ClientError, or the class of any other error."""
    try:
        answered = client.get_item(**KEY)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["ResponseMetadata"]["RetryAttempts"]
    except BotoCoreError as error:
        return type(error)
    answered.pop("ResponseMetadata", None)
    return answered


THROTTLED = answer({"__type": "x#ThrottlingException"}, 400)
DOWN = answer({"__type": "x#InternalServerError"}, 500)
BAD_GATEWAY = answer(b"<html>Bad Gateway</html>", 502)
GARBAGE = send(b"\x00\x01garbage\r\n\r\n")


@pytest.mark.parametrize(
    ("deeds", "expected", "attempts"),
    [
        ([answer(ITEM)], ITEM, 1),
        ([answer({})], {}, 1),
        ([answer({"Item": None})], {}, 1),
        ([in_chunks(json.dumps(ITEM).encode()[:9], json.dumps(ITEM).encode()[9:])], ITEM, 1),
        ([answer(ITEM, 200, "Connection: close")], ITEM, 1),
        ([answer({"__type": "x#ValidationException"}, 400)], ("ValidationException", 0), 1),
        ([answer({"__type": "ResourceNotFoundException:http://x"}, 400)], ("ResourceNotFoundException", 0), 1),
        ([answer(b"<html>Forbidden</html>", 403)], ("403", 0), 1),
        ([answer({"message": "Moved"}, 301)], ("301", 0), 1),
        ([THROTTLED, DOWN, answer(ITEM)], ITEM, 3),
        ([THROTTLED], ("ThrottlingException", 2), 3),
        ([DOWN], ("InternalServerError", 2), 3),
        ([BAD_GATEWAY, answer(b"", 503), answer(ITEM)], ITEM, 3),
        ([BAD_GATEWAY], ("502", 2), 3),
        ([answer(ITEM, 200, "x-amz-crc32: 1"), answer(ITEM)], ITEM, 2),
        ([send(b"", reset=True), send(b""), answer(ITEM)], ITEM, 3),
        ([send(b"", reset=True)], ConnectionClosedError, 3),
        ([send(b"")], ConnectionClosedError, 3),
        ([half_an_answer(reset=True)], ConnectionClosedError, 3),
        ([half_an_answer(hang=True)], ReadTimeoutError, 3),
        ([send(b"HTTP/1.1 200 OK\r\nContent-", hang=True)], ReadTimeoutError, 3),
        ([send(b"", hang=True), answer(ITEM)], ITEM, 2),
        ([send(b"", hang=True)], ReadTimeoutError, 3),
        ([GARBAGE, answer(ITEM)], ITEM, 2),
        ([GARBAGE], ConnectionClosedError, 3),
    ],
)
def test_wire_and_boto3_give_the_same_result(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, deeds: list[Deed], expected: Any, attempts: int
) -> None:
    for client in both(peer.url, monkeypatch):
        peer.does(*deeds)
        assert outcome(client) == expected, type(client)
        assert len(peer.requests) == attempts, type(client)
        assert len({request.partition(b"\r\n\r\n")[2] for request in peer.requests}) == 1, (
            "every attempt must have the same body"
        )


@pytest.mark.parametrize(
    "deed",
    [
        half_an_answer(),
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-A: 1\r\nTransfer-Encoding: identity\r\n\r\n{}"),
        answer(b"<html>welcome</html>"),
        answer(b""),
    ],
)
def test_an_answer_that_boto3_reads_as_empty_counts_as_lost(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, deed: Deed
) -> None:
    ours, theirs = both(peer.url, monkeypatch)
    peer.does(deed)
    assert outcome(theirs) == {}, "boto3 no longer reads this as empty, so the wire need not be stricter than boto3"

    assert outcome(ours) is ConnectionClosedError

    peer.does(deed, answer(ITEM))
    assert outcome(ours) == ITEM


def test_each_attempt_times_out_if_no_answer_comes(peer: Peer) -> None:
    peer.does(send(b"", hang=True))
    started = time.monotonic()

    assert outcome(wire_to(peer.url)) is ReadTimeoutError

    assert 3 * READ_SECONDS <= time.monotonic() - started < 3 * READ_SECONDS + 1


def test_a_late_answer_is_not_returned_for_the_next_request(peer: Peer) -> None:
    """The connection of an abandoned request is never used again."""

    def late(connection: Any) -> bool:
        time.sleep(2 * READ_SECONDS)
        return answer({"Item": {"late": {"BOOL": True}}})(connection)

    ours = wire_to(peer.url)
    peer.does(answer({}), late, answer(ITEM))
    assert outcome(ours) == {}

    assert outcome(ours) == ITEM
    time.sleep(2 * READ_SECONDS)
    assert outcome(ours) == ITEM
    assert peer.connections == 2


def test_an_open_connection_is_reused_and_a_closed_connection_is_replaced(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ATTEMPTS", 1)
    ours = wire_to(peer.url)
    peer.does(answer(ITEM), answer(ITEM), send(_response_with(ITEM)), answer(ITEM))

    for _ in range(3):
        assert outcome(ours) == ITEM
    assert peer.connections == 1
    time.sleep(0.1)

    assert outcome(ours) == ITEM
    assert peer.connections == 2


def _response_with(answered: Any) -> bytes:
    content = json.dumps(answered).encode()
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def test_threads_share_a_wire_and_each_gets_the_answer_to_its_own_request(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread needs one connection. After requests from many threads, at most ``KEPT_CONNECTIONS`` stay open."""
    monkeypatch.setattr(exchange, "KEPT_CONNECTIONS", 3)

    def echo(connection: Any) -> bool:
        return answer({"Item": json.loads(peer.request.partition(b"\r\n\r\n")[2])["Key"]})(connection)

    peer.does(echo)
    ours = wire_to(peer.url)

    def ask(number: int) -> bool:
        key = {"pk": {"S": f"{number}"}, "sk": {"S": "x"}}
        return bool(ours.get_item(TableName="t", Key=key)["Item"] == key)

    with ThreadPoolExecutor(1) as one:
        assert all(one.map(ask, range(20)))
    assert peer.connections == 1
    peer.does(echo)
    with ThreadPoolExecutor(12) as many:
        assert all(many.map(ask, range(600)))
    assert peer.connections > 1
    assert len(ours._exchange._idle) <= 3


def test_both_clients_raise_the_same_error_for_an_unreachable_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer.listening() as gone:
        url = gone.url
    for client in both(url, monkeypatch):
        assert outcome(client) is EndpointConnectionError
    for client in both("http://nowhere.invalid", monkeypatch):
        assert outcome(client) is EndpointConnectionError


def test_both_clients_raise_the_same_error_if_no_connection_opens_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        host = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(host)
        for client in both(f"http://127.0.0.1:{host[1]}", monkeypatch):
            assert outcome(client) is ConnectTimeoutError
        for each in waiting:
            each.close()


def test_an_ipv6_address_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer.listening("::1") as peer:
        peer.does(answer(ITEM))
        for client in both(peer.url, monkeypatch):
            assert outcome(client) == ITEM
        assert len(peer.requests) == 2
        for request in peer.requests:
            assert f"host: [::1]:{peer.port}\r\n".encode() in request.lower()


def test_a_certificate_in_a_configured_bundle_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path, "127.0.0.1")
    with Peer.listening(tls=context) as peer:
        peer.does(answer(ITEM))
        monkeypatch.setenv("AWS_ENDPOINT_URL", peer.url)
        without_bundle: Any = connection.client.__wrapped__()
        assert isinstance(without_bundle, Wire)
        assert outcome(without_bundle) is SSLError
        for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as trusting:
                trusting.setenv(name, str(trusted))
                connected: Any = connection.client.__wrapped__()
                assert isinstance(connected, Wire)
                assert outcome(connected) == outcome(connected) == ITEM
                assert outcome(connection.sdk_client(botocore.session.get_session())) == ITEM


def test_without_botocore_the_wire_trusts_the_systems_certificates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context, trusted = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setattr(surroundings, "place_of_client", None)
    with Peer.listening(tls=context) as peer:
        peer.does(answer(ITEM))
        monkeypatch.setenv("AWS_ENDPOINT_URL", peer.url)
        assert outcome(connection.client.__wrapped__()) is SSLError

        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))

        assert outcome(connection.client.__wrapped__()) == ITEM


def test_a_certificate_for_another_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    context, trusted = certificate(tmp_path, "db.example.com", "127.0.0.2")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    with Peer.listening(tls=context) as peer:
        peer.does(answer(ITEM))
        monkeypatch.setenv("AWS_ENDPOINT_URL", peer.url)
        for client in (connection.client.__wrapped__(), connection.sdk_client(botocore.session.get_session())):
            assert outcome(client) is SSLError
        assert peer.requests == []


def test_boto3s_client_is_used_if_a_proxy_is_configured(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    peer.does(answer(ITEM))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://db.example.com")
    monkeypatch.setenv("http_proxy", peer.url)

    assert outcome(connection.client.__wrapped__()) == ITEM
    assert peer.requests[0].startswith(b"POST http://db.example.com/ HTTP/1.1\r\n")


def test_credentials_of_a_container_are_refreshed_by_botocore(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    """With SnapStart, credentials come from an HTTP address, and botocore renews them before they expire."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    soon = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    later = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with Peer.listening() as container:
        first, second = (
            answer({"AccessKeyId": key, "SecretAccessKey": "s", "Token": f"token-of-{key}", "Expiration": until})
            for key, until in (("first", soon), ("second", later))
        )
        container.does(first, second)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{container.url}/credentials")
        monkeypatch.setenv("AWS_ENDPOINT_URL", peer.url)
        peer.does(answer(ITEM))

        connected: Any = connection.client.__wrapped__()

        assert isinstance(connected, Wire)
        assert outcome(connected) == outcome(connected) == ITEM
    assert [b"Credential=second/" in request for request in peer.requests] == [True, True]
    assert b"x-amz-security-token: token-of-second\r\n" in peer.requests[0]
    assert len(container.requests) == 2
