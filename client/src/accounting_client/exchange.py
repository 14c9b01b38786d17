"""Decides what to send for a call, and whether to send it again.

This module does no input or output: the sync and the async client send the requests and wait.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx

from accounting_client.call import Access, Answer, Call
from accounting_client.credentials import valid_in_header
from accounting_client.errors import (
    AccountingError,
    Contention,
    RateLimited,
    ServiceCredentialInvalid,
    TokenExpired,
    TokenInvalid,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    error_of,
)
from accounting_client.reading import Misread, json_in
from accounting_client.retries import Retries, require_seconds
from accounting_client.version import __version__

T = TypeVar("T")

NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""Errors that occur before a request can have reached the service."""
GARBLED = (httpx.DecodingError, httpx.TooManyRedirects, httpx.InvalidURL)
"""Errors that an answer causes: its encoding is wrong, or it redirects too often or to an invalid address."""
Fault = httpx.RequestError | httpx.InvalidURL
FAULTS = (httpx.RequestError, httpx.InvalidURL)
"""Errors that sending a request can raise. InvalidURL is raised for an invalid redirect."""
PERMANENT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)
"""Errors that would occur again at every attempt."""
CONNECTIONS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
LEAST_TIMEOUT_SECONDS = 0.1


@dataclass(frozen=True)
class Settings:
    """The settings that all calls of a client share. Use `checked_settings` to create them."""

    base_url: str
    service_key: str | None = field(repr=False)
    timeout_seconds: float
    retries: Retries
    acts_for: str | None = None


def checked_settings(base_url: str, service_key: str | None, timeout_seconds: float, retries: Retries) -> Settings:
    """The settings of a new client. Raises ValueError if the address, the key or the number is invalid."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url is not a valid address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url is not a valid address: {base_url}")
    if service_key is not None:
        valid_in_header(service_key, "the service key")
    require_seconds("timeout_seconds", timeout_seconds)
    return Settings(base_url.rstrip("/"), service_key, timeout_seconds, retries)


@dataclass(frozen=True)
class Succeeded(Generic[T]):
    """The call's result."""

    value: T


@dataclass(frozen=True)
class Again:
    """Wait, and send again."""

    pause_seconds: float


class Exchange(Generic[T]):
    """A call in progress. Send ``request`` and pass the outcome to ``judge``, until it returns `Succeeded` or raises.

    ``refused`` is the authorization that the service refused, if the client may get a new one.
    ``may_be_done`` says whether the service may have carried out the call in any attempt so far.
    """

    def __init__(self, call: Call[T], settings: Settings, retries: Retries | None, *, renewable: bool) -> None:
        """If ``retries`` is None, the retries of the settings apply."""
        self._call = call
        self._settings = settings
        self._retries = settings.retries if retries is None else retries
        self._renewable = renewable and self.sends_token
        self._began = time.monotonic()
        self._attempts = 0
        self._authorization: str | None = None
        self.refused: str | None = None
        self.may_be_done = False
        self._may_be_done_before = False

    @property
    def sends_token(self) -> bool:
        """Whether the call sends the client's credential."""
        return self._call.access in (Access.USER, Access.REPORT)

    def request(self, http: httpx.Client | httpx.AsyncClient, authorization: str | None) -> httpx.Request:
        """Return the request to send now, and count it as an attempt."""
        call, settings = self._call, self._settings
        headers = {"User-Agent": f"accounting-client/{__version__}"}
        if authorization is not None and self.sends_token:
            headers["Authorization"] = authorization
            if settings.acts_for is not None:
                headers["X-On-Behalf-Of"] = quote(settings.acts_for, safe="")
        if settings.service_key is not None and call.access in (Access.REPORT, Access.INTERNAL):
            headers["X-Internal-Api-Key"] = settings.service_key
        if call.idempotency_key is not None:
            headers["Idempotency-Key"] = call.idempotency_key
        self._attempts += 1
        self._authorization = authorization
        left = self._retries.total_seconds - self._elapsed()
        timeout = max(LEAST_TIMEOUT_SECONDS, min(settings.timeout_seconds, left))
        try:
            request = http.build_request(
                call.method,
                settings.base_url + call.path,
                params=call.query or None,
                json=call.body,
                headers=headers,
                timeout=timeout,
            )
        except httpx.InvalidURL as error:
            raise ValueError(f"the request has no valid address: {error}") from error
        self._may_be_done_before, self.may_be_done = self.may_be_done, True
        return request

    def judge(self, outcome: httpx.Response | Fault) -> Succeeded[T] | Again:
        """Judge the outcome of the request. Raises AccountingError if the call failed and is not to be sent again."""
        self.may_be_done = self._may_be_done_before or _may_be_done(outcome)
        if isinstance(outcome, httpx.Response) and (outcome.is_success or self._is_answer(outcome)):
            return Succeeded(self._read(outcome))
        error = error_of(outcome) if isinstance(outcome, httpx.Response) else _unreachable(outcome)
        if isinstance(error, TokenExpired | TokenInvalid | ServiceCredentialInvalid) and self._renewable:
            self._renewable, self.refused = False, self._authorization
            self._attempts -= 1
            return Again(0)
        if not self._may_be_repeated(error, outcome):
            raise error
        asked = error.retry_after_seconds or 0
        pause = self._retries.pause(self._attempts, self._elapsed(), asked, random.random())
        if pause is None:
            raise error
        return Again(pause)

    def _may_be_repeated(self, error: AccountingError, outcome: httpx.Response | Fault) -> bool:
        """Whether a repeat may succeed, and cannot carry out the call twice."""
        if not isinstance(error, RateLimited | Unavailable) or isinstance(outcome, PERMANENT):
            return False
        return self._call.repeatable or not _may_be_done(outcome)

    def _is_answer(self, response: httpx.Response) -> bool:
        """Whether the response is a refusal whose JSON has the call's ``answer_field``, so it is read as an answer."""
        if self._call.answer_field is None or not response.is_client_error:
            return False
        try:
            body = json_in(response.content)
        except Misread:
            return False
        return isinstance(body, dict) and self._call.answer_field in body

    def _read(self, response: httpx.Response) -> T:
        try:
            answer = Answer(json_in(response.content), response.headers, repeated=self._attempts > 1)
            return self._call.read(answer)
        except Misread as error:
            raise _unexpected(error, response.status_code) from error

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _may_be_done(outcome: httpx.Response | Fault) -> bool:
    """Whether the service may have carried out a request with this outcome. A refused request was not carried out."""
    if not isinstance(outcome, httpx.Response):
        return not isinstance(outcome, NEVER_SENT)
    error = None if outcome.is_success else error_of(outcome)
    return error is None or (is_temporary(error) and not isinstance(error, RateLimited | Contention))


def _unreachable(cause: Fault) -> AccountingError:
    if isinstance(cause, httpx.LocalProtocolError):  # its text may quote a header with a secret
        return Unreachable("The request can't be sent", "UNREACHABLE")
    if isinstance(cause, GARBLED):
        error: AccountingError = _unexpected(cause, None)
    else:
        error = Unreachable(f"{type(cause).__name__}: {cause}", "UNREACHABLE")
    error.__cause__ = cause
    return error


def _unexpected(cause: Exception, status: int | None) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"The answer can't be read: {cause}", "UNEXPECTED_ANSWER", status)


def is_temporary(error: AccountingError) -> bool:
    """Whether the same request may succeed later, because the error is not about what was sent."""
    return isinstance(error, RateLimited | Unavailable | UnexpectedAnswer) or (error.status or 0) >= 500
