"""Each error code has a status, and refusals have the messages and details that clients need."""

import inspect

from accounting.domain import errors
from accounting.domain.errors import AccountingError
from accounting.web.api import STATUSES

CONTRACT = {
    "VALIDATION_ERROR": 400,
    "MODEL_UNKNOWN": 400,
    "TOKEN_REQUIRED": 401,
    "TOKEN_EXPIRED": 401,
    "TOKEN_INVALID": 401,
    "TOKEN_TYPE_INVALID": 401,
    "API_KEY_INVALID": 401,
    "SERVICE_CREDENTIAL_INVALID": 401,
    "INSUFFICIENT_CREDITS": 402,
    "BUDGET_EXCEEDED": 402,
    "FORBIDDEN": 403,
    "RIGHT_MISSING": 403,
    "USER_DISABLED": 403,
    "USER_NOT_FOUND": 404,
    "ACCOUNT_NOT_FOUND": 404,
    "MEMBER_NOT_FOUND": 404,
    "SESSION_NOT_ACTIVE": 404,
    "API_KEY_NOT_FOUND": 404,
    "SERVICE_CREDENTIAL_NOT_FOUND": 404,
    "PRICE_NOT_FOUND": 404,
    "ROUTE_NOT_FOUND": 404,
    "BUDGET_NOT_FOUND": 404,
    "RUN_NOT_FOUND": 404,
    "RUN_EXISTS": 409,
    "RUN_ENDED": 409,
    "TOO_MANY_BUDGETS": 409,
    "SESSION_EXISTS": 409,
    "SESSION_ENDED": 409,
    "PRICE_EXISTS": 409,
    "PRICE_BEGUN": 409,
    "PRICE_ENDED": 409,
    "USER_ERASED": 409,
    "LAST_OWNER": 409,
    "TOO_MANY_MEMBERS": 409,
    "ORGANIZATION_CLOSED": 409,
    "IDEMPOTENCY_CONFLICT": 409,
    "TOO_MANY_ALLOCATIONS": 409,
    "TOO_MANY_API_KEYS": 409,
    "TOO_MANY_SERVICE_CREDENTIALS": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "INTERNAL_ERROR": 500,
    "CONTENTION": 503,
    "UNAVAILABLE": 503,
}
"""Every code that the Lambda functions answer with, and its status, which never changes. Add new codes here."""


def refusals() -> list[type[AccountingError]]:
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass)]
    return [found for found in classes if issubclass(found, AccountingError) and "code" in vars(found)]


def test_every_error_has_a_code_of_its_own_and_a_status() -> None:
    codes = [error.code for error in refusals()]

    assert len(set(codes)) == len(codes)
    assert set(codes) == set(STATUSES)


def test_every_code_keeps_its_status() -> None:
    assert {code: int(status) for code, status in STATUSES.items()} == CONTRACT


def test_insufficient_credits_has_the_details_that_a_client_needs() -> None:
    refused = errors.InsufficientCredits(10, 4, 3, affordableTokens=2)

    assert refused.details == {
        "requiredCredits": 10,
        "availableCredits": 4,
        "heldCredits": 3,
        "shortfall": 6,
        "affordableTokens": 2,
    }


def test_budget_exceeded_has_the_remaining_credits_and_the_exceeded_limits() -> None:
    refused = errors.BudgetExceeded(10, 4, limits=["run:r1"])

    assert refused.details == {"requiredCredits": 10, "remainingCredits": 4, "limits": ["run:r1"]}


def test_a_refused_field_is_named_with_its_problem() -> None:
    refused = errors.Invalid.field("credits", "must be positive")

    assert (refused.message, str(refused)) == ("credits: must be positive", "credits: must be positive")
    assert refused.details == {"errors": [{"field": "credits", "problem": "must be positive"}]}


def test_a_refusals_message_says_what_happened() -> None:
    ended = errors.SessionEnded("s1", "failed", "swept")

    assert ended.message == "This session has ended; a new stream needs a new sessionId"
    assert errors.SessionNotActive("s1").message == "Active streaming session not found"
    assert errors.UserDisabled().message == "This user is disabled"
    assert errors.UserErased().message == "This user was erased"
    assert errors.AccountNotFound().message == "Account not found"
    assert errors.OrganizationClosed().message == "This organization is closed"
    assert errors.BudgetExceeded(10, 4).message == "A limit is exceeded: 10 credits required, 4 remaining"
    assert errors.InsufficientCredits(10, 4, 3).message == "Insufficient credits: 10 required, 4 available"


def test_the_refusal_of_an_ended_session_has_the_sessions_status_and_outcome() -> None:
    refused = errors.SessionEnded("s1", "failed", "swept")

    assert refused.details == {"sessionId": "s1", "status": "failed", "outcome": "swept"}


def test_session_not_active_has_the_status_only_if_the_session_exists() -> None:
    assert errors.SessionNotActive("s1").details == {"sessionId": "s1"}
    refused = errors.SessionNotActive("s1", "failed", "swept")
    assert refused.details == {"sessionId": "s1", "status": "failed", "outcome": "swept"}
