"""Every route of the service: for each, a function that returns a `Call`, and the dataclass of the result.

A function's documentation names the errors that are particular to it. Any call may also raise `Unauthorized`,
`Forbidden`, `InvalidRequest`, `PayloadTooLarge`, `RateLimited`, `Unavailable`, `InternalError` and `UnexpectedAnswer`.
"""

from accounting_client.routes import (
    api_keys,
    budgets,
    credits,
    health,
    ledger,
    organizations,
    pricing,
    service_credentials,
    sessions,
    usage,
    users,
)

__all__ = [
    "api_keys",
    "budgets",
    "credits",
    "health",
    "ledger",
    "organizations",
    "pricing",
    "service_credentials",
    "sessions",
    "usage",
    "users",
]
