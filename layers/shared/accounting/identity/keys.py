"""The public keys of a token issuer, fetched over HTTP and kept in this process.

This module replaces PyJWT's PyJWKClient, which waits for up to 30 seconds, forgets its keys if one fetch fails, and
fetches again for every unknown key id. Any caller can make up such an id.
"""

import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

import jwt
from aws_lambda_powertools import Logger
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from accounting.domain.errors import TokenInvalid, Unavailable

FRESH_SECONDS = 600
USABLE_SECONDS = 12 * 3600
"""How long fetched keys can be used while the issuer does not answer."""
RETRY_SECONDS = 60
"""The shortest wait between two fetches for unknown key ids.

Also the shortest wait after a failed fetch if an earlier fetch succeeded.
"""
FIRST_RETRY_SECONDS = 10
"""The shortest wait after a failed fetch if no fetch has succeeded yet."""
FETCH_SECONDS = 2
MAX_BYTES = 1_000_000
MAX_KEYS = 100
MIN_RSA_BITS = 2048
PUBLIC_PARTS = ("kty", "n", "e", "crv", "x", "y")

logger = Logger()


class FetchFailed(Exception):
    """The issuer's keys could not be fetched; the message says why."""


class SigningKeys:
    """The keys of one issuer. ``fetch`` returns the body at ``address``; ``now`` is a clock in seconds."""

    def __init__(
        self, address: str, fetch: Callable[[], bytes] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._address = address
        self._fetch = fetch or (lambda: fetch_within_seconds(address))
        self._now = now
        self._lock = Lock()
        self._keys: Mapping[str, Any] | None = None
        self._fetched_at = self._attempted_at = self._sought_at = float("-inf")
        self._failure = ""

    def find(self, key_id: str) -> Any:
        """The key with this id.

        Raises TokenInvalid if the issuer has no such key. If fetching the keys fails, a key that was fetched less than
        ``USABLE_SECONDS`` ago is still returned. For any other key, raises Unavailable.
        """
        with self._lock:
            now = self._now()
            if now - self._fetched_at >= FRESH_SECONDS:
                self._refresh(now)
            elif key_id not in (self._keys or {}) and now - self._sought_at >= RETRY_SECONDS:
                self._sought_at = now
                self._refresh(now)
            if self._keys is None or now - self._fetched_at >= USABLE_SECONDS:
                raise Unavailable(f"The keys of the token's issuer cannot be fetched just now: {self._failure}")
            if key_id in self._keys:
                return self._keys[key_id]
            if self._failure:
                raise Unavailable(f"The token's key is unknown, and the issuer does not answer: {self._failure}")
            raise TokenInvalid("The access token's issuer has no key with the token's key id (kid)")

    def _refresh(self, now: float) -> None:
        """Fetch the keys, and keep the old keys if that fails. If a fetch failed a moment ago, do nothing."""
        wait = FIRST_RETRY_SECONDS if self._keys is None else RETRY_SECONDS
        if self._failure and now - self._attempted_at < wait:
            return
        self._attempted_at = now
        try:
            self._keys = parse(self._fetch())
        except FetchFailed as error:
            self._failure = str(error)
            logger.warning("the keys of an issuer could not be fetched", address=self._address, reason=self._failure)
            return
        self._failure, self._fetched_at = "", now


@cache
def keys_at(address: str) -> SigningKeys:
    """The keys at an address. The process keeps them for all tokens."""
    return SigningKeys(address)


def parse(body: bytes) -> Mapping[str, Any]:
    """The usable keys of a key set (RFC 7517), by key id.

    Raises FetchFailed if the body is not a key set of at most ``MAX_KEYS`` keys, or has no usable key.
    """
    try:
        listed = json.loads(body)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FetchFailed("the answer is not a key set") from error
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise FetchFailed(f"the answer is not a key set of at most {MAX_KEYS} keys")
    keys: dict[str, Any] = {}
    for each in listed:
        if isinstance(each, dict) and isinstance(each.get("kid"), str) and each.get("use", "sig") == "sig":
            key = _public_key(each)
            if key is not None:
                keys.setdefault(each["kid"], key)
    if not keys:
        raise FetchFailed("the key set has no public key to verify signatures with")
    return keys


def _public_key(listed: dict[str, Any]) -> Any:
    """The key in a form that PyJWT verifies with; None for a shared secret, a weak key or an unreadable key."""
    if listed.get("kty") == "oct":
        return None
    try:
        key = jwt.PyJWK({part: listed[part] for part in PUBLIC_PARTS if part in listed}).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS else key


def fetch_within_seconds(address: str) -> bytes:
    """Return the body at an address, within ``FETCH_SECONDS``. Raises FetchFailed.

    A separate thread does the work, because a connection's timeout limits neither a name look-up nor a server that
    sends one byte a second.
    """
    answers: SimpleQueue[bytes | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_get(address))
        except (OSError, HTTPException, ValueError, FetchFailed) as error:
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=FETCH_SECONDS)
    except Empty:
        raise FetchFailed(f"no answer within {FETCH_SECONDS} seconds") from None
    if isinstance(answer, Exception):
        raise FetchFailed(f"{type(answer).__name__}: {answer}") from answer
    return answer


def _get(address: str) -> bytes:
    """GET, without proxies and without following a redirect."""
    parts = urlsplit(address)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(str(parts.hostname), parts.port, timeout=FETCH_SECONDS)
    try:
        path = parts.path or "/"
        connection.request(
            "GET", f"{path}?{parts.query}" if parts.query else path, headers={"Accept": "application/json"}
        )
        answer = connection.getresponse()
        if answer.status != 200:
            raise FetchFailed(f"status {answer.status}")
        return _bounded(answer.read1)
    finally:
        connection.close()


def _bounded(read: Callable[[int], bytes]) -> bytes:
    body, deadline = bytearray(), time.monotonic() + FETCH_SECONDS
    while chunk := read(65_536):
        body += chunk
        if len(body) > MAX_BYTES or time.monotonic() > deadline:
            raise FetchFailed(f"the answer has more than {MAX_BYTES} bytes, or takes too long")
    return bytes(body)
