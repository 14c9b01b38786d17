"""The headers of every answer, and the request headers that handlers read.

Imports no pydantic, so that the functions ``health`` and ``docs`` start fast.
"""

import os
from functools import cache

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
}
EXPOSED = "Idempotency-Replayed, Retry-After, X-Next-Cursor"


@cache
def headers() -> dict[str, str]:
    """The headers of every answer. If ``CORS_ALLOW_ORIGIN`` is set, pages of that origin can read the answer."""
    origin = os.environ.get("CORS_ALLOW_ORIGIN")
    if not origin:
        return SECURITY_HEADERS
    return {
        **SECURITY_HEADERS,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED,
        "Vary": "Origin",
    }


READ = frozenset({"idempotency-key", "x-internal-api-key", "x-on-behalf-of"})
"""The request headers that handlers read, in lower case. Only the authorizer reads ``Authorization``."""


def is_read(name: str) -> bool:
    """Whether a handler reads the request header with this name, in upper or lower case."""
    return name.lower() in READ
