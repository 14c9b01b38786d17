"""A client's credential: a token, an API key, a service credential, or a function that returns the current one."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from accounting_client.process import PerProcess


@dataclass(frozen=True)
class ApiKey:
    """An API key, ``acct_…``. It acts for its owner, within the key's permissions."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class ServiceCredential:
    """A service credential, ``svc_…``. It acts for the user that `for_user` names, within the credential's rights."""

    text: str = field(repr=False)


Credential = str | ApiKey | ServiceCredential
Token = Credential | Callable[[], Credential] | None
"""A JWT, an `ApiKey`, a `ServiceCredential`, or a function that returns one.

The function is called again when the service answers ``TOKEN_EXPIRED``, ``TOKEN_INVALID`` or
``SERVICE_CREDENTIAL_INVALID``.
"""
AsyncToken = Credential | Callable[[], Credential | Awaitable[Credential]] | None
"""Like `Token`, but the function may be a coroutine function."""


def header(credential: Credential | None) -> str | None:
    """Return the value of the ``Authorization`` header. Raises TypeError or ValueError for an invalid credential."""
    if credential is None:
        return None
    if isinstance(credential, ApiKey):
        return f"ApiKey {valid_in_header(credential.text, 'the API key')}"
    if isinstance(credential, ServiceCredential):
        return f"Service {valid_in_header(credential.text, 'the service credential')}"
    if not isinstance(credential, str):
        raise TypeError(f"a token must be a str, an ApiKey or a ServiceCredential, not {type(credential).__name__}")
    return f"Bearer {valid_in_header(credential, 'the token')}"


def valid_in_header(text: str, name: str) -> str:
    """Return ``text`` if it is valid in a header. Otherwise raise ValueError without the text, which is a secret."""
    if not (text and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(f"{name} is empty, or has a space, a line break or a letter that is not ASCII")
    return text


def identity_of(authorization: str | None) -> str:
    """Return a text that identifies the sender. It stays the same if the token is renewed."""
    scheme, _, text = (authorization or "").partition(" ")
    parts = text.split(".")
    if len(parts) != 3:
        return f"{scheme} {'_'.join(text.split('_')[:2])}"  # acct_<id>_<secret>, svc_<id>_<secret>
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
        return f"{scheme} {claims.get('iss', '')} {claims['sub']}"
    except (ValueError, LookupError, AttributeError, TypeError):
        return scheme


class Authorization:
    """The ``Authorization`` header, for many threads.

    If several threads need a new token, the token function is called once.
    """

    def __init__(self, token: Token) -> None:
        self._token = token
        self._current = None if callable(token) else header(token)
        self._lock = PerProcess(threading.Lock)
        self.renewable = callable(token)

    def get(self, refused: str | None) -> str | None:
        """Return the current header. ``refused`` is the last header that the service refused, or None.

        If the current header is the refused one, and there is a token function, call it and return a new header.
        """
        if not callable(self._token):
            return self._current
        with self._lock.get():
            if self._current is None or self._current == refused:
                self._current = header(self._token())
            return self._current


class AsyncAuthorization:
    """The ``Authorization`` header, for many tasks.

    If several tasks need a new token, the token function is called once.
    """

    def __init__(self, token: AsyncToken) -> None:
        self._token = token
        self._current = None if callable(token) else header(token)
        self._lock = PerProcess(asyncio.Lock)
        self.renewable = callable(token)

    async def get(self, refused: str | None) -> str | None:
        """Return the current header. ``refused`` is the last header that the service refused, or None.

        If the current header is the refused one, and there is a token function, call it and return a new header.
        """
        if not callable(self._token):
            return self._current
        async with self._lock.get():
            if self._current is None or self._current == refused:
                made = self._token()
                self._current = header(await made if inspect.isawaitable(made) else made)
            return self._current
