"""The HTTP contract: every route, and what it answers when it does what it is asked."""

type Route = tuple[str, str]
"""A method and a path, with ``{}`` for each parameter."""

CONTRACT: dict[Route, set[int]] = {
    ("GET", "/api/health"): {200},
    ("GET", "/health"): {200},
    ("GET", "/api/openapi.json"): {200},
    ("GET", "/api/docs"): {200},
    ("GET", "/api/docs/{}"): {200},
    ("GET", "/api/credits/balance"): {200},
    ("GET", "/api/credits/balance/{}"): {200},
    ("POST", "/api/credits/check"): {200},
    ("POST", "/api/credits/calculate"): {200},
    ("POST", "/api/credits/allocate"): {201},
    ("POST", "/api/credits/set"): {200},
    ("DELETE", "/api/credits/remove"): {200},
    ("PUT", "/api/credits/adjust"): {200},
    ("GET", "/api/credits/allocations"): {200},
    ("GET", "/api/credits/allocations/{}"): {200},
    ("GET", "/api/credits/ledger"): {200},
    ("GET", "/api/credits/ledger/{}"): {200},
    ("GET", "/api/credits/audit/{}"): {200},
    ("POST", "/api/streaming-sessions/initialize"): {201, 200},
    ("POST", "/api/streaming-sessions/heartbeat"): {200},
    ("POST", "/api/streaming-sessions/finalize"): {200},
    ("POST", "/api/streaming-sessions/abort"): {200},
    ("POST", "/api/streaming-sessions/{}/{}/end"): {200},
    ("GET", "/api/streaming-sessions/active"): {200},
    ("GET", "/api/streaming-sessions/active/{}"): {200},
    ("GET", "/api/streaming-sessions/active/all"): {200},
    ("GET", "/api/streaming-sessions/recent"): {200},
    ("GET", "/api/streaming-sessions/recent/{}"): {200},
    ("POST", "/api/usage/record"): {201},
    ("GET", "/api/usage/stats"): {200},
    ("GET", "/api/usage/stats/{}"): {200},
    ("GET", "/api/usage/system-stats"): {200},
    ("GET", "/api/usage/system"): {200},
    ("POST", "/api/users/sync"): {201, 200},
    ("GET", "/api/users"): {200},
    ("GET", "/api/users/me"): {200},
    ("GET", "/api/users/{}"): {200},
    ("POST", "/api/users/{}/disable"): {200},
    ("POST", "/api/users/{}/enable"): {200},
    ("POST", "/api/api-keys"): {201},
    ("GET", "/api/api-keys"): {200},
    ("PUT", "/api/api-keys/{}"): {200},
    ("DELETE", "/api/api-keys/{}"): {200},
    ("POST", "/api/api-keys/{}/revoke"): {200},
    ("POST", "/api/api-keys/validate"): {200},
    ("GET", "/api/pricing"): {200},
    ("GET", "/api/pricing/{}"): {200},
    ("POST", "/api/pricing"): {201},
    ("PUT", "/api/pricing/{}/{}"): {200},
    ("DELETE", "/api/pricing/{}/{}"): {200},
}

HEALTH: set[Route] = {("GET", "/api/health"), ("GET", "/health")}
DOCS: set[Route] = {("GET", "/api/openapi.json"), ("GET", "/api/docs"), ("GET", "/api/docs/{}")}
PUBLIC = HEALTH | DOCS
"""Those that take no token: they tell anybody the same."""
HEADS: set[Route] = {("HEAD", path) for _, path in PUBLIC}
"""What answers as the open routes do, without a body. The document leaves them out: they would only repeat it."""
INTERNAL: set[Route] = {("POST", "/api/users/sync"), ("POST", "/api/api-keys/validate")}
"""Those that take the internal key and no token."""
