"""Mints the tokens that the platform's own sign-in would issue."""

from __future__ import annotations

import time
from typing import Any

import jwt

LIFETIME_SECONDS = 12 * 3600


def mint(secret: str, sub: str, role: str = "user", **claims: Any) -> str:
    """Return an access token of `sub`; `claims` adds to its claims or replaces them, None takes one away."""
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
