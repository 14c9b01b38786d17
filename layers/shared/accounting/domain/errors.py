"""Every refusal the service can give, by its stable code. Imports nothing of ours."""

from typing import Any, ClassVar, Self


class AccountingError(Exception):
    """A refusal with a stable ``code``; the HTTP status of a code stands in ``web/api.py`` only.

    ``details`` is what a client needs to act on it, JSON-ready, with camelCase names.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(AccountingError):
    """The request is not of the contract's form; ``details.errors`` names the fields."""

    code = "VALIDATION_ERROR"

    @classmethod
    def field(cls, field: str, problem: str) -> Self:
        """The refusal of one field."""
        return cls(f"{field}: {problem}", errors=[{"field": field, "problem": problem}])


class ModelUnknown(AccountingError):
    """The model has no price rule and no default, and ``UnknownModels`` is ``refuse``."""

    code = "MODEL_UNKNOWN"


class PayloadTooLarge(AccountingError):
    """The body is larger than any request of the contract can be."""

    code = "PAYLOAD_TOO_LARGE"


class NotAuthenticated(AccountingError):
    """The request does not say, or not truly, who sends it."""


class TokenExpired(NotAuthenticated):
    """The caller's token ran out after the gateway had let it pass."""

    code = "TOKEN_EXPIRED"


class TokenRequired(NotAuthenticated):
    """The request carries no identity."""

    code = "TOKEN_REQUIRED"


class TokenInvalid(NotAuthenticated):
    """The token is malformed, forged, or lacks a claim."""

    code = "TOKEN_INVALID"


class TokenTypeInvalid(NotAuthenticated):
    """The token is genuine but not an access token."""

    code = "TOKEN_TYPE_INVALID"


class ApiKeyInvalid(NotAuthenticated):
    """The API key does not authenticate."""

    code = "API_KEY_INVALID"


class Forbidden(AccountingError):
    """The caller is known and may not do this."""

    code = "FORBIDDEN"


class UserDisabled(AccountingError):
    """An administrator has disabled the user: they may only end what they have begun."""

    code = "USER_DISABLED"

    def __init__(self) -> None:
        super().__init__("This user is disabled")


class UserNotFound(AccountingError):
    """No user has this id or e-mail address."""

    code = "USER_NOT_FOUND"


class RouteNotFound(AccountingError):
    """No route has this method and path."""

    code = "ROUTE_NOT_FOUND"


class ApiKeyNotFound(AccountingError):
    """The caller has no API key with this id."""

    code = "API_KEY_NOT_FOUND"


class PriceNotFound(AccountingError):
    """The model has no rule with this beginning."""

    code = "PRICE_NOT_FOUND"


class PriceExists(AccountingError):
    """The model has a rule with this beginning already; history is never overwritten."""

    code = "PRICE_EXISTS"


class PriceBegun(AccountingError):
    """The rule has begun, or begins so soon that processes may know it already: it can be ended, not withdrawn."""

    code = "PRICE_BEGUN"


class PriceEnded(AccountingError):
    """The rule ended in the past; when it ended is history and cannot be changed."""

    code = "PRICE_ENDED"


class TooManyApiKeys(AccountingError):
    """The caller has as many API keys as a user may have."""

    code = "TOO_MANY_API_KEYS"


class InsufficientCredits(AccountingError):
    """The wallet does not hold what was asked for; nothing was taken."""

    code = "INSUFFICIENT_CREDITS"

    def __init__(self, required: int, available: int, held: int, **details: Any) -> None:
        super().__init__(
            f"Insufficient credits: {required} required, {available} available",
            requiredCredits=required,
            availableCredits=available,
            heldCredits=held,
            shortfall=required - available,
            **details,
        )


class TooManyAllocations(AccountingError):
    """The wallet has as many live lots as it may have."""

    code = "TOO_MANY_ALLOCATIONS"


class SessionExists(AccountingError):
    """The session id is taken by a session with other values."""

    code = "SESSION_EXISTS"


class SessionEnded(AccountingError):
    """The session id belongs to a session that has ended, and opens no second stream; ``details`` say how it ended."""

    code = "SESSION_ENDED"

    def __init__(self, session_id: str, status: str, outcome: str | None) -> None:
        super().__init__(
            "This session has ended; a new stream needs a new sessionId",
            sessionId=session_id,
            status=status,
            outcome=outcome,
        )


class SessionNotActive(AccountingError):
    """There is no such session, or it is resolved already; ``details.status`` says which."""

    code = "SESSION_NOT_ACTIVE"

    def __init__(self, session_id: str, status: str | None = None, outcome: str | None = None) -> None:
        known = {} if status is None else {"status": status, "outcome": outcome}
        super().__init__("Active streaming session not found", sessionId=session_id, **known)


class IdempotencyConflict(AccountingError):
    """The idempotency key was used for another request."""

    code = "IDEMPOTENCY_CONFLICT"


class Contention(AccountingError):
    """Too many writers at one wallet for the time allowed; nothing was written, ask again."""

    code = "CONTENTION"


class Unavailable(AccountingError):
    """The database did not answer in time. The outcome of a write may be unknown: repeat it with the same key."""

    code = "UNAVAILABLE"
