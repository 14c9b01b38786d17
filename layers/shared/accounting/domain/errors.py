"""Every refusal that the service can give."""

from typing import Any, ClassVar, Self


class AccountingError(Exception):
    """A refusal with a stable ``code``. Only ``web/api.py`` knows the HTTP status of a code.

    ``details`` has what a client needs to react, as JSON values with camelCase names.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Invalid(AccountingError):
    """The request is not valid. If fields are wrong, ``details.errors`` lists each of them and its problem."""

    code = "VALIDATION_ERROR"

    @classmethod
    def field(cls, field: str, problem: str) -> Self:
        """The refusal of one field."""
        return cls(f"{field}: {problem}", errors=[{"field": field, "problem": problem}])


class ModelUnknown(AccountingError):
    """The model has no price rule in force and no built-in price, and ``UnknownModels`` is ``refuse``."""

    code = "MODEL_UNKNOWN"


class PayloadTooLarge(AccountingError):
    """The body has more bytes than ``details.limit``."""

    code = "PAYLOAD_TOO_LARGE"


class NotAuthenticated(AccountingError):
    """The request does not prove who sends it."""


class TokenExpired(NotAuthenticated):
    """The token has expired: send a fresh one."""

    code = "TOKEN_EXPIRED"


class TokenRequired(NotAuthenticated):
    """The request has no token, no key and no service credential."""

    code = "TOKEN_REQUIRED"


class TokenInvalid(NotAuthenticated):
    """The token is malformed, has a wrong signature, or has a wrong or missing claim; ``message`` says which."""

    code = "TOKEN_INVALID"


class TokenTypeInvalid(NotAuthenticated):
    """The token is valid, but it is not an access token: its ``type`` is not ``access``."""

    code = "TOKEN_TYPE_INVALID"


class ApiKeyInvalid(NotAuthenticated):
    """The API key is unknown, revoked, expired or switched off, or the internal key is wrong."""

    code = "API_KEY_INVALID"


class ServiceCredentialInvalid(NotAuthenticated):
    """The service credential is unknown or deleted, or its secret was replaced; ``message`` says which."""

    code = "SERVICE_CREDENTIAL_INVALID"


class Forbidden(AccountingError):
    """The caller may not do this; ``message`` says why."""

    code = "FORBIDDEN"


class RightMissing(AccountingError):
    """The service credential lacks the right in ``details.right``.

    To act for a user that does not exist yet, a service needs ``users:sync``.
    """

    code = "RIGHT_MISSING"


class UserDisabled(AccountingError):
    """An administrator has disabled the user. The user can only end their open sessions."""

    code = "USER_DISABLED"

    def __init__(self) -> None:
        super().__init__("This user is disabled")


class UserErased(AccountingError):
    """The user's personal data was erased for good: the user cannot be enabled, synced or added to an organization."""

    code = "USER_ERASED"

    def __init__(self) -> None:
        super().__init__("This user was erased")


class UserNotFound(AccountingError):
    """No user has this id or e-mail address."""

    code = "USER_NOT_FOUND"


class AccountNotFound(AccountingError):
    """There is no such account or organization, or the caller has no access to it."""

    code = "ACCOUNT_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("Account not found")


class MemberNotFound(AccountingError):
    """The user is not a member of the organization."""

    code = "MEMBER_NOT_FOUND"


class LastOwner(AccountingError):
    """The member is the organization's only owner: make another member an owner first."""

    code = "LAST_OWNER"


class TooManyMembers(AccountingError):
    """The organization has the maximum number of members."""

    code = "TOO_MANY_MEMBERS"


class OrganizationClosed(AccountingError):
    """The organization is closed. Nothing new is paid from its account, and its members and roles cannot be changed."""

    code = "ORGANIZATION_CLOSED"

    def __init__(self) -> None:
        super().__init__("This organization is closed")


class RouteNotFound(AccountingError):
    """No route has this method and path."""

    code = "ROUTE_NOT_FOUND"


class ApiKeyNotFound(AccountingError):
    """No API key has this id, or it belongs to another user."""

    code = "API_KEY_NOT_FOUND"


class ServiceCredentialNotFound(AccountingError):
    """No service credential has this id."""

    code = "SERVICE_CREDENTIAL_NOT_FOUND"


class PriceNotFound(AccountingError):
    """The model has no price rule that begins at the time in the path."""

    code = "PRICE_NOT_FOUND"


class PriceExists(AccountingError):
    """The model id or alias in ``details.taken`` already has a price rule that begins at ``details.effectiveFrom``.

    Rules are never overwritten.
    """

    code = "PRICE_EXISTS"


class PriceBegun(AccountingError):
    """The price rule has begun, or begins before ``details.soonest`` (two minutes after the request).

    It can no longer be withdrawn: end it instead.
    """

    code = "PRICE_BEGUN"


class PriceEnded(AccountingError):
    """The price rule has already ended; its end cannot be changed."""

    code = "PRICE_ENDED"


class TooManyApiKeys(AccountingError):
    """The user has the maximum number of API keys; revoked ones count until they are deleted."""

    code = "TOO_MANY_API_KEYS"


class TooManyServiceCredentials(AccountingError):
    """The stack has the maximum number of service credentials."""

    code = "TOO_MANY_SERVICE_CREDENTIALS"


class InsufficientCredits(AccountingError):
    """The wallet has too few credits; nothing was taken.

    For a session, ``affordableTokens`` or ``affordableOutputTokens`` is the largest estimate that fits.
    """

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


class BudgetExceeded(AccountingError):
    """A budget or a run has too few credits left; nothing was taken.

    ``details.limits`` names each budget or run that has too few. For a session, ``affordableTokens`` or
    ``affordableOutputTokens`` is the largest estimate that fits.
    """

    code = "BUDGET_EXCEEDED"

    def __init__(self, required: int, remaining: int, **details: Any) -> None:
        super().__init__(
            f"A limit is exceeded: {required} credits required, {remaining} remaining",
            requiredCredits=required,
            remainingCredits=remaining,
            **details,
        )


class BudgetNotFound(AccountingError):
    """The account has no budget for this member or API key, or for all members."""

    code = "BUDGET_NOT_FOUND"


class TooManyBudgets(AccountingError):
    """The account has the maximum number of budgets."""

    code = "TOO_MANY_BUDGETS"


class RunNotFound(AccountingError):
    """The account has no run with this id, or the caller may not see it."""

    code = "RUN_NOT_FOUND"


class RunExists(AccountingError):
    """A run with this id exists, with different values."""

    code = "RUN_EXISTS"


class RunEnded(AccountingError):
    """The run was stopped or has expired (``details.status``). It takes no new session, usage record or larger hold."""

    code = "RUN_ENDED"


class TooManyAllocations(AccountingError):
    """The wallet has the maximum number of lots that have not expired, and no two of them can be merged."""

    code = "TOO_MANY_ALLOCATIONS"


class SessionExists(AccountingError):
    """An active session with this id exists, with different values."""

    code = "SESSION_EXISTS"


class SessionEnded(AccountingError):
    """The session with this id has ended; ``details`` says how. A new stream needs a new id."""

    code = "SESSION_ENDED"

    def __init__(self, session_id: str, status: str, outcome: str | None) -> None:
        super().__init__(
            "This session has ended; a new stream needs a new sessionId",
            sessionId=session_id,
            status=status,
            outcome=outcome,
        )


class SessionNotActive(AccountingError):
    """The session with this id does not exist or has ended; if it has ended, ``details.status`` says how."""

    code = "SESSION_NOT_ACTIVE"

    def __init__(self, session_id: str, status: str | None = None, outcome: str | None = None) -> None:
        known = {} if status is None else {"status": status, "outcome": outcome}
        super().__init__("Active streaming session not found", sessionId=session_id, **known)


class IdempotencyConflict(AccountingError):
    """The idempotency key was used before, for a different request."""

    code = "IDEMPOTENCY_CONFLICT"


class Contention(AccountingError):
    """Too many requests changed the same data at once. Nothing was written: send the request again."""

    code = "CONTENTION"


class Unavailable(AccountingError):
    """The database, a secret or an identity provider was not available. A write may have happened.

    Send the request again with the same idempotency key.
    """

    code = "UNAVAILABLE"
