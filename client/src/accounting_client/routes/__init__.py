"""Every route of the service: a function each, from arguments to a `Call`, beside what it answers.

What they say of errors is what is particular to them. Any call may also raise `Unauthorized`, `Forbidden`,
`InvalidRequest`, `RateLimited`, `Unavailable`, `InternalError` and `UnexpectedAnswer`.
"""

from accounting_client.routes import (
    api_keys,
    credits,
    health,
    ledger,
    pricing,
    service_credentials,
    sessions,
    usage,
    users,
)

__all__ = ["api_keys", "credits", "health", "ledger", "pricing", "service_credentials", "sessions", "usage", "users"]
