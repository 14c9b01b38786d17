"""For each route of the service, a function that returns a `Call`, and the dataclass of the result.

A function's docstring names the errors that are specific to its route. Any call may also raise `Unauthorized`,
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
