"""An issuer's keys are fetched rarely, kept during its outages, and never replaced by an invalid answer."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from accounting.domain.errors import TokenInvalid, Unavailable
from accounting.identity import keys
from accounting.identity.keys import FetchFailed, SigningKeys, fetch_within_seconds, parse
from tests.providers import KeyServer, key_server, key_set, make_key, write_certificate

ONE, TWO = make_key("ES256", "one"), make_key("EdDSA", "two")


class Issuer:
    """A fake issuer and a fake clock."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.fetches = 0
        self.body: bytes | None = key_set(ONE)
        self.keys = SigningKeys("https://issuer.example/keys", self.fetch, lambda: self.now)

    def fetch(self) -> bytes:
        self.fetches += 1
        if self.body is None:
            raise FetchFailed("no answer")
        return self.body

    def after(self, seconds: float, key_id: str) -> str:
        """Let seconds pass, then look the key up. Return "found", or the name of the error."""
        self.now += seconds
        try:
            self.keys.find(key_id)
        except (TokenInvalid, Unavailable) as error:
            return type(error).__name__
        return "found"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def test_keys_are_fetched_once_in_ten_minutes(issuer: Issuer) -> None:
    assert [issuer.after(seconds, "one") for seconds in (0, 1, 598)] == ["found"] * 3
    assert issuer.fetches == 1
    issuer.after(1, "one")
    assert issuer.fetches == 2


def test_a_withdrawn_key_is_refused_after_the_next_fetch(issuer: Issuer) -> None:
    issuer.after(0, "one")
    issuer.body = key_set(TWO)

    assert issuer.after(599, "one") == "found"
    assert issuer.after(1, "one") == "TokenInvalid"


def test_a_new_key_is_found_at_once(issuer: Issuer) -> None:
    issuer.after(0, "one")
    issuer.body = key_set(ONE, TWO)

    assert issuer.after(1, "two") == "found"
    assert issuer.fetches == 2


def test_unknown_keys_cause_one_fetch_a_minute(issuer: Issuer) -> None:
    issuer.after(0, "one")

    assert {issuer.after(0.5, f"made-up-{number}") for number in range(120)} == {"TokenInvalid"}
    assert issuer.fetches == 2
    issuer.after(0.5, "another")
    assert issuer.fetches == 3


def test_known_keys_stay_valid_for_hours_if_the_issuer_does_not_answer(issuer: Issuer) -> None:
    issuer.after(0, "one")
    issuer.body = None

    assert [issuer.after(3600, "one") for _ in range(11)] == ["found"] * 11
    assert issuer.after(3600, "one") == "Unavailable"


def test_an_issuer_that_does_not_answer_is_asked_once_a_minute(issuer: Issuer) -> None:
    issuer.after(0, "one")
    issuer.body = None
    issuer.after(600, "one")

    assert {issuer.after(0.5, "one") for _ in range(119)} == {"found"}
    assert {issuer.after(0, f"made-up-{number}") for number in range(50)} == {"Unavailable"}
    assert issuer.fetches == 2
    issuer.after(0.5, "one")
    assert issuer.fetches == 3


def test_an_unknown_key_is_unavailable_and_not_invalid_while_the_issuer_does_not_answer(issuer: Issuer) -> None:
    issuer.after(0, "one")
    issuer.body = None

    assert [issuer.after(1, "two") for _ in range(30)] == ["Unavailable"] * 30
    assert issuer.fetches == 2
    issuer.body = key_set(ONE, TWO)
    assert issuer.after(60, "two") == "found"


def test_without_any_keys_the_issuer_is_asked_every_ten_seconds(issuer: Issuer) -> None:
    issuer.body = None

    assert {issuer.after(0.5, "one") for _ in range(19)} == {"Unavailable"}
    assert issuer.fetches == 1
    issuer.body = key_set(ONE)
    assert issuer.after(10, "one") == "found"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b"{}", b"null", b'{"keys": 5}', b'{"keys": {}}', b'{"keys": []}', b"[" * 100_000),
        *(b'{"keys": [1, null, "x"]}', b'{"keys": [{"kid": "one"}]}', b'{"keys": [{"kid": "one", "kty": "EC"}]}'),
        json.dumps({"keys": [ONE.in_key_set(kid=5)]}).encode(),
        json.dumps({"keys": [ONE.in_key_set(use="enc")]}).encode(),
        json.dumps({"keys": [ONE.in_key_set(crv="P-384")]}).encode(),
        json.dumps({"keys": [{"kid": "one", "kty": "oct", "k": "c2VjcmV0"}]}).encode(),
        json.dumps({"keys": [ONE.in_key_set()] * 101}).encode(),
    ],
    ids=range(17),  # numbers, because the bodies have random keys and a test's id must be the same in every process
)
def test_an_invalid_answer_replaces_no_keys(issuer: Issuer, body: bytes) -> None:
    issuer.after(0, "one")
    issuer.body = body

    assert issuer.after(600, "one") == "found"
    assert issuer.after(0, "two") == "Unavailable"
    assert issuer.fetches == 2


def test_keys_that_cannot_verify_signatures_are_left_out() -> None:
    weak = {"kid": "weak", "kty": "RSA", "e": "AQAB", "n": "w" * 170}
    listed = [
        {"kid": "shared", "kty": "oct", "k": "c2VjcmV0"},
        weak,
        ONE.in_key_set(kid="enc", use="enc"),
        TWO.in_key_set(),
    ]

    assert set(parse(json.dumps({"keys": listed}).encode())) == {"two"}


def test_a_published_private_key_is_read_as_a_public_key() -> None:
    private: Any = ONE.in_key_set(d="c2VjcmV0")

    assert not hasattr(parse(json.dumps({"keys": [private]}).encode())["one"], "private_numbers")


def failure_of(address: str) -> tuple[str, float]:
    """The message of the failed fetch, and how many seconds it took."""
    started = time.monotonic()
    with pytest.raises(FetchFailed) as failed:
        fetch_within_seconds(address)
    return str(failed.value), time.monotonic() - started


@pytest.fixture
def server() -> Any:
    with key_server() as running:
        yield running


def test_a_key_set_is_fetched_over_http(server: KeyServer) -> None:
    server.answers["/keys?v=1"] = key_set(ONE)

    assert set(parse(fetch_within_seconds(server.url("/keys?v=1")))) == {"one"}


def test_a_key_set_of_ten_megabytes_is_not_read(server: KeyServer) -> None:
    server.answers["/keys"] = b" " * 10_000_000 + key_set(ONE)

    assert "more than 1000000 bytes" in failure_of(server.url("/keys"))[0]


def test_waiting_for_a_silent_server_ends_after_two_seconds(server: KeyServer) -> None:
    server.silent.set()

    message, seconds = failure_of(server.url("/keys"))

    assert "no answer" in message or "timed out" in message
    assert keys.FETCH_SECONDS - 0.1 <= seconds < keys.FETCH_SECONDS + 1


def test_a_servers_certificate_is_verified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate, private = tmp_path / "certificate.pem", tmp_path / "private.pem"
    write_certificate("localhost", certificate, private)
    with key_server((certificate, private)) as server:
        server.answers["/keys"] = key_set(ONE)
        address = server.url("/keys").replace("127.0.0.1", "localhost")
        assert "CERTIFICATE_VERIFY_FAILED" in failure_of(address)[0]

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert set(parse(fetch_within_seconds(address))) == {"one"}
        assert "CERTIFICATE_VERIFY_FAILED" in failure_of(server.url("/keys"))[0], "the certificate is for another name"


def test_a_redirect_is_not_followed(server: KeyServer) -> None:
    server.answers["/keys"] = key_set(ONE)
    server.redirects["/moved"] = server.url("/keys")

    assert failure_of(server.url("/moved"))[0] == "FetchFailed: status 302"
    assert server.asked == ["/moved"]


def test_an_error_of_the_server_and_a_closed_port_are_failures(server: KeyServer) -> None:
    assert failure_of(server.url("/nothing-here"))[0] == "FetchFailed: status 404"
    assert "ConnectionRefusedError" in failure_of("http://127.0.0.1:1/keys")[0]
