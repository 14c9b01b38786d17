"""Creates the access tokens that the platform's own sign-in would issue.

`make token USER=alice ROLE=admin` prints a token for the service that `make run` started here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import httpx
import jwt

from local.paths import STACK_JSON
from local.steps import Refused, explain

ROLES = ("user", "supervisor", "admin")
PATIENCE_SECONDS = 60

LIFETIME_SECONDS = 12 * 3600


def mint(secret: str, sub: str, role: str = "user", **claims: Any) -> str:
    """Return an access token for `sub`. `claims` adds or replaces claims; the value None removes a claim."""
    now = int(time.time())
    payload = {
        "sub": sub,
        "email": f"{sub}@example.com",
        "username": sub,
        "role": role,
        "type": "access",
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    } | claims
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, secret, "HS256")


def main() -> int:
    """Print a token for the environment's USER and ROLE; return the exit status."""
    try:
        print(accepted_token(os.environ.get("USER", ""), os.environ.get("ROLE") or "user"))
    except Refused as refused:
        return explain(refused)
    return 0


def accepted_token(sub: str, role: str) -> str:
    """Return a token for `sub` with which the running service has accepted a request. This request creates the user.

    Raises Refused if an argument is invalid, the service is not running, or the service does not accept the token.
    """
    if not sub:
        raise Refused("say whose token it is: `make token USER=alice`, or `make token USER=alice ROLE=admin`")
    if role not in ROLES:
        raise Refused(f"ROLE must be {', '.join(ROLES[:-1])} or {ROLES[-1]}, not {role}")
    if not STACK_JSON.exists():
        raise Refused("the service is not running: start it with `make run`, then repeat this in a second terminal")
    stack = json.loads(STACK_JSON.read_text())
    token = mint(stack["jwtSecret"], sub, role)
    try:
        answer = httpx.get(
            f"{stack['baseUrl']}/api/credits/balance",
            headers={"Authorization": f"Bearer {token}"},
            timeout=PATIENCE_SECONDS,
            trust_env=False,
        )
    except httpx.TransportError as error:
        raise Refused(f"the service does not answer ({error}); is `make run` still running?") from error
    if not answer.is_success:
        raise Refused(f"the service does not accept a token of {sub}: {answer.status_code} {answer.text}")
    return token


if __name__ == "__main__":
    sys.exit(main())
