"""Who the client acts for: a token, an API key, a service's credential, or what returns the one that is good now."""

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
    """An API key, ``acct_…``; it acts for its owner within its permissions."""

    text: str = field(repr=False)


@dataclass(frozen=True)
class ServiceCredential:
    """A service's credential, ``svc_…``; it acts for the user that `for_user` names, within its rights."""

    text: str = field(repr=False)


Credential = str | ApiKey | ServiceCredential
Token = Credential | Callable[[], Credential] | None
"""A JWT, an `ApiKey`, a `ServiceCredential`, or a function that returns one.

The function is called again when the service refuses what it returned.
"""
AsyncToken = Credential | Callable[[], Credential | Awaitable[Credential]] | None
"""As `Token`; the function may be a coroutine function."""


def header(credential: Credential | None) -> str | None:
    """The header ``Authorization`` for a credential. Raises TypeError, ValueError for what is none."""
    if credential is None:
        return None
    if isinstance(credential, ApiKey):
        return f"ApiKey {visible(credential.text, 'the API key')}"
    if isinstance(credential, ServiceCredential):
        return f"Service {visible(credential.text, 'the service credential')}"
    if not isinstance(credential, str):
        raise TypeError(f"a token is a str, an ApiKey or a ServiceCredential, not {type(credential).__name__}")
    return f"Bearer {visible(credential, 'the token')}"


def visible(text: str, name: str) -> str:
    """``text``, which a header can carry. Raises ValueError, without it: it is a secret."""
    if not (text and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(f"{name} is empty, or has a space, a line break or a letter that is not ASCII")
    return text


def sender(authorization: str | None) -> str:
    """Whom a header stands for: the same text after its token or its secret was renewed."""
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
    """The header as it is good now, for many threads; its function is called once however many need it."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._held = None if callable(token) else header(token)
        self._lock = PerProcess(threading.Lock)
        self.renewable = callable(token)

    def get(self, refused: str | None) -> str | None:
        """The header, and another one than the one that was ``refused`` if there is another."""
        if not callable(self._token):
            return self._held
        with self._lock.get():
            if self._held is None or self._held == refused:
                self._held = header(self._token())
            return self._held


class AsyncAuthorization:
    """The header as it is good now, for many tasks; its function is called once however many need it."""

    def __init__(self, token: AsyncToken) -> None:
        self._token = token
        self._held = None if callable(token) else header(token)
        self._lock = PerProcess(asyncio.Lock)
        self.renewable = callable(token)

    async def get(self, refused: str | None) -> str | None:
        """The header, and another one than the one that was ``refused`` if there is another."""
        if not callable(self._token):
            return self._held
        async with self._lock.get():
            if self._held is None or self._held == refused:
                made = self._token()
                self._held = header(await made if inspect.isawaitable(made) else made)
            return self._held
