"""Exceptions for the service's refusals, and for failures to reach the service.

Catch the narrowest exception that you can act on, or `AccountingError` for all of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from accounting_client.reading import Misread, json_in, read

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Limit:
    """A limit that has fewer credits left than a request requires.

    ``limit`` is ``balance``, ``member:<user id>``, ``members``, ``key:<key id>`` or ``run:<run id>``.
    """

    limit: str
    remaining_credits: int
    required_credits: int
    resets_at: datetime | None = None


class AccountingError(Exception):
    """A request was refused, failed, or got no usable answer.

    ``code`` is stable. ``status`` is the HTTP status, None if there was no answer. ``details`` has what a program
    needs to react. ``request_id`` lets the service's operators find the request. ``retry_after_seconds`` is the time
    to wait before the next attempt, None if the service did not say.
    """

    def __init__(
        self,
        message: str,
        code: str = "",
        status: int | None = None,
        details: dict[str, Any] | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, code, status, details, request_id, retry_after_seconds)
        self.message = message
        self.code = code
        self.status = status
        self.details = details or {}
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def _number(self, name: str) -> int | None:
        value = self.details.get(name)
        return value if type(value) is int else None

    def _text(self, name: str) -> str | None:
        value = self.details.get(name)
        return value if isinstance(value, str) else None

    def __str__(self) -> str:
        where = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.code}{where})"


class NotAccounted(RuntimeError):
    """A call of a provider's SDK was not sent, because it would have used a model without being accounted."""


class InvalidRequest(AccountingError):
    """400: the request is malformed."""

    @property
    def errors(self) -> list[dict[str, str]]:
        """The invalid fields, each with ``field`` and ``problem``."""
        errors = self.details.get("errors")
        return [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []


class ModelUnknown(InvalidRequest):
    """The model has no price, and the service refuses such models (`UnknownModels`)."""


class Unauthorized(AccountingError):
    """401: the request does not prove who sends it."""


class TokenRequired(Unauthorized):
    """The client has no token, API key or service credential."""


class TokenExpired(Unauthorized):
    """The token has expired."""


class TokenInvalid(Unauthorized):
    """The token is malformed or forged, or has a wrong or missing claim."""


class TokenTypeInvalid(Unauthorized):
    """The token is genuine, but it is not an access token."""


class ApiKeyInvalid(Unauthorized):
    """The API key is invalid or, on an internal route, the service key is wrong."""


class ServiceCredentialInvalid(Unauthorized):
    """The service credential is unknown or deleted, or its secret was replaced."""


class InsufficientCredits(AccountingError):
    """402: the wallet has too few credits; nothing was taken."""

    @property
    def required(self) -> int:
        """The credits that the call needs."""
        return self._number("requiredCredits") or 0

    @property
    def available(self) -> int:
        """The credits that can be spent now."""
        return self._number("availableCredits") or 0

    @property
    def held(self) -> int:
        """The credits that sessions hold now."""
        return self._number("heldCredits") or 0

    @property
    def shortfall(self) -> int:
        """The credits that are missing."""
        return self._number("shortfall") or 0

    @property
    def affordable_tokens(self) -> int | None:
        """The largest `estimated_tokens` that a session could begin with now; None if the call had no such estimate."""
        return self._number("affordableTokens")

    @property
    def affordable_output_tokens(self) -> int | None:
        """The most output tokens that a session with the same input could begin with now.

        None if the call had no `estimated_usage`.
        """
        return self._number("affordableOutputTokens")

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Each of the balance, the budgets and the run that has too few credits."""
        try:
            return read(tuple[Limit, ...], self.details.get("limits", []))
        except Misread:
            return ()


class BudgetExceeded(InsufficientCredits):
    """402: a budget or a run has too few credits left; nothing was taken. ``limits`` has each limit that failed."""

    @property
    def available(self) -> int:
        """The credits that the limits still allow."""
        return self._number("remainingCredits") or 0

    @property
    def shortfall(self) -> int:
        """The credits that are missing."""
        return self.required - self.available


class Forbidden(AccountingError):
    """403: the caller may not do this, or the service key is missing (`RequireServiceKey`)."""


class RightMissing(Forbidden):
    """The service credential lacks a right.

    To act for a user that does not exist yet, a service needs ``users:sync``.
    """

    @property
    def right(self) -> str | None:
        """The right that is missing."""
        return self._text("right")


class UserDisabled(Forbidden):
    """The user is disabled and cannot begin anything new. Finalizing and aborting open sessions still works."""


class NotFound(AccountingError):
    """404: what the request names does not exist."""


class UserNotFound(NotFound):
    """No user has this id or e-mail address."""


class ServiceCredentialNotFound(NotFound):
    """No service credential has this id."""


class AccountNotFound(NotFound):
    """There is no such account or organization, or the caller has no access to it."""


class MemberNotFound(NotFound):
    """The user is not a member of the organization."""


class BudgetNotFound(NotFound):
    """The account has no budget for this subject."""


class RunNotFound(NotFound):
    """The account has no run with this id, or the caller may not see it."""


class SessionNotActive(NotFound):
    """No active session has this id."""

    @property
    def session_status(self) -> str | None:
        """``completed`` or ``failed``; None if there is no such session."""
        return self._text("status")

    @property
    def outcome(self) -> str | None:
        """``finalized``, ``aborted`` or ``swept``; None if there is no such session."""
        return self._text("outcome")


class ApiKeyNotFound(NotFound):
    """The caller has no API key with this id."""


class PriceNotFound(NotFound):
    """The model has no price rule that begins at the given time."""


class RouteNotFound(NotFound):
    """No route has this method and path: check the base URL."""


class Conflict(AccountingError):
    """409: the request conflicts with what is stored."""


class SessionExists(Conflict):
    """An active session with this id exists, with different values."""


class SessionEnded(Conflict):
    """The session with this id has ended. Nothing is held, so you must not stream under this id."""

    @property
    def session_status(self) -> str | None:
        """``completed`` or ``failed``."""
        return self._text("status")

    @property
    def outcome(self) -> str | None:
        """``finalized``, ``aborted`` or ``swept``."""
        return self._text("outcome")


class IdempotencyConflict(Conflict):
    """The idempotency key was used for another request."""


class TooManyAllocations(Conflict):
    """The wallet has the maximum number of live lots, and none can be merged.

    Two lots can be merged only if no other lot expires between them. A lot that was once kept beyond its expiry can be
    merged only with another such lot.
    """


class TooManyServiceCredentials(Conflict):
    """The stack has the maximum number of service credentials."""


class TooManyApiKeys(Conflict):
    """The user has the maximum number of API keys."""


class TooManyBudgets(Conflict):
    """The account has the maximum number of budgets."""


class RunExists(Conflict):
    """A run with this id exists, with different values."""


class RunEnded(Conflict):
    """The run was stopped or has expired: it admits nothing new."""


class LastOwner(Conflict):
    """The member is the organization's only owner."""


class TooManyMembers(Conflict):
    """The organization has the maximum number of members."""


class OrganizationClosed(Conflict):
    """The organization is closed: nothing new is paid from its account."""


class PriceExists(Conflict):
    """The model already has a price rule that begins at the same time. That rule was not changed."""


class PriceBegun(Conflict):
    """The price rule has begun, or begins very soon, so it can no longer be withdrawn."""


class PriceEnded(Conflict):
    """The price rule has already ended; its end cannot be changed."""


class UserErased(Conflict):
    """The user's personal data was erased: the user cannot be enabled, synced or added to an organization."""


class PayloadTooLarge(AccountingError):
    """413: the body is larger than the service accepts."""


class RateLimited(AccountingError):
    """429: too many requests; this one was not carried out."""


class InternalError(AccountingError):
    """500: a defect of the service."""


class Unavailable(AccountingError):
    """502, 503 and 504: no answer in time. Whether a write was carried out may be unknown."""


class Contention(Unavailable):
    """Too many requests changed the same data at once; nothing was written."""


class GatewayTimeout(Unavailable):
    """The gateway gave up waiting; the request may have been carried out."""


class Unreachable(Unavailable):
    """The network returned no answer; ``status`` is None. The request may have been carried out."""


class UnexpectedAnswer(AccountingError):
    """The answer is malformed: it came from another program, or from a later version of the service."""


MAX_RETRY_AFTER_DIGITS = 9
"""A Retry-After with more digits is ignored."""

BY_CODE: dict[str, type[AccountingError]] = {
    "VALIDATION_ERROR": InvalidRequest,
    "MODEL_UNKNOWN": ModelUnknown,
    "TOKEN_REQUIRED": TokenRequired,
    "TOKEN_EXPIRED": TokenExpired,
    "TOKEN_INVALID": TokenInvalid,
    "TOKEN_TYPE_INVALID": TokenTypeInvalid,
    "API_KEY_INVALID": ApiKeyInvalid,
    "SERVICE_CREDENTIAL_INVALID": ServiceCredentialInvalid,
    "INSUFFICIENT_CREDITS": InsufficientCredits,
    "BUDGET_EXCEEDED": BudgetExceeded,
    "BUDGET_NOT_FOUND": BudgetNotFound,
    "RUN_NOT_FOUND": RunNotFound,
    "TOO_MANY_BUDGETS": TooManyBudgets,
    "RUN_EXISTS": RunExists,
    "RUN_ENDED": RunEnded,
    "FORBIDDEN": Forbidden,
    "RIGHT_MISSING": RightMissing,
    "USER_DISABLED": UserDisabled,
    "USER_NOT_FOUND": UserNotFound,
    "ACCOUNT_NOT_FOUND": AccountNotFound,
    "MEMBER_NOT_FOUND": MemberNotFound,
    "SESSION_NOT_ACTIVE": SessionNotActive,
    "API_KEY_NOT_FOUND": ApiKeyNotFound,
    "SERVICE_CREDENTIAL_NOT_FOUND": ServiceCredentialNotFound,
    "PRICE_NOT_FOUND": PriceNotFound,
    "ROUTE_NOT_FOUND": RouteNotFound,
    "SESSION_EXISTS": SessionExists,
    "SESSION_ENDED": SessionEnded,
    "IDEMPOTENCY_CONFLICT": IdempotencyConflict,
    "TOO_MANY_ALLOCATIONS": TooManyAllocations,
    "TOO_MANY_API_KEYS": TooManyApiKeys,
    "TOO_MANY_SERVICE_CREDENTIALS": TooManyServiceCredentials,
    "LAST_OWNER": LastOwner,
    "TOO_MANY_MEMBERS": TooManyMembers,
    "ORGANIZATION_CLOSED": OrganizationClosed,
    "PRICE_EXISTS": PriceExists,
    "PRICE_BEGUN": PriceBegun,
    "PRICE_ENDED": PriceEnded,
    "USER_ERASED": UserErased,
    "PAYLOAD_TOO_LARGE": PayloadTooLarge,
    "RATE_LIMITED": RateLimited,
    "INTERNAL_ERROR": InternalError,
    "CONTENTION": Contention,
    "UNAVAILABLE": Unavailable,
    "TIMEOUT": GatewayTimeout,
}
"""The exception for every code of the service."""

BY_STATUS: dict[int, type[AccountingError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    402: InsufficientCredits,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    429: RateLimited,
    500: InternalError,
    502: Unavailable,
    503: Unavailable,
    504: GatewayTimeout,
}
"""The exception for each status, for answers whose code is unknown.

Such an answer comes from a proxy in between, or from a later version of the service.
"""


def error_of(response: httpx.Response) -> AccountingError:
    """Return the exception for an answer that is not a success.

    This is UnexpectedAnswer if both the code and the status of the answer are unknown.
    """
    try:
        body = json_in(response.content)
    except Misread:
        body = None
    fields: dict[str, Any] = body if isinstance(body, dict) else {}
    code, message, request_id = (_text(fields.get(name)) for name in ("code", "message", "requestId"))
    kind = BY_STATUS.get(response.status_code, UnexpectedAnswer)
    if response.is_error:
        kind = BY_CODE.get(code or "", kind)
    details = fields.get("details")
    return kind(
        message or response.reason_phrase,
        code or f"HTTP_{response.status_code}",
        response.status_code,
        details if isinstance(details, dict) else {},
        request_id,
        _seconds(response.headers.get("Retry-After")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _seconds(text: str | None) -> float | None:
    """Return the seconds in a Retry-After header.

    None if there is no header, or if it has too many digits or a date. The service never sends a date.
    """
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) <= MAX_RETRY_AFTER_DIGITS
    return float(text) if text is not None and is_number else None
