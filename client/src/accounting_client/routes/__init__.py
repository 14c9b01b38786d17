"""Every route of the service: one function for each, from its arguments to a `Call`, and its result.

A function's documentation names the errors that are particular to it. Any call may also raise `Unauthorized`,
`Forbidden`, `InvalidRequest`, `RateLimited`, `Unavailable`, `InternalError` and `UnexpectedAnswer`.
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
