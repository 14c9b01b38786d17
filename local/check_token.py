"""`make check-token TOKEN=…`: shows what the service reads in a token, or why it refuses the token.

If the issuer's keys cannot be fetched, the command says that the token could not be checked.

ISSUERS=file.json lists the trusted issuers, as for `make run`. Without ISSUERS, only tokens signed with the service's
own secret are accepted, such as those of `make token`. The secret is JWT_ACCESS_SECRET or, if this variable is not set,
the secret of `make run`.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from accounting.domain.errors import AccountingError, Unavailable
from accounting.domain.users import DEFAULT_ROLE
from accounting.identity.tokens import verify
from accounting.tokens import Claims
from accounting.web.caller import CLOCK_LEEWAY_SECONDS
from local import issuers
from local.paths import JWT_SECRET
from local.steps import Refused, explain


def main() -> int:
    """Print the token's claims and return 0, or print why the token was refused or not checked and return 1."""
    try:
        claims = check(os.environ.get("TOKEN", ""), issuers.from_environment(os.environ) or "[]")
    except Refused as refused:
        return explain(refused)
    print(description(claims))
    return 0


def check(token: str, document: str) -> Claims:
    """Return the token's claims. ``document`` is the JSON list of the trusted issuers.

    Raises Refused, with the reason, if the token is refused or could not be checked.
    """
    if not token:
        raise Refused(
            "TOKEN is missing: `make check-token TOKEN=…`, with ISSUERS=file.json for an identity provider's token"
        )
    try:
        return verify(token, _secrets, lambda: document)
    except Unavailable as error:
        raise Refused(f"the token could not be checked, and may be good: {error.message} ({error.code})") from error
    except AccountingError as error:
        raise Refused(f"refused: {error.message} ({error.code})") from error


def description(claims: Claims) -> str:
    """Return the issuer and the claims that the service uses, one on each line."""
    user = claims.user
    ends = datetime.fromtimestamp(claims.expires_at + CLOCK_LEEWAY_SECONDS, UTC)
    lines = {
        "issuer": claims.issuer or "this service's own JWT secret",
        "user id": user.id,
        "e-mail": user.email or "none (not in the token, or not verified)",
        "name": user.username or "none",
        "role": user.role or f"none (this token acts as {DEFAULT_ROLE}, and does not change the user's stored role)",
        "accepted until": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
    }
    return "\n".join(f"{name + ':':<16}{value}" for name, value in lines.items())


def _secrets(*, refresh: bool) -> list[bytes]:  # noqa: ARG001 - `verify` passes it
    """Return JWT_ACCESS_SECRET or the secret of `make run`; without either, a random secret that fits no token."""
    given = os.environ.get("JWT_ACCESS_SECRET") or (JWT_SECRET.read_text() if JWT_SECRET.exists() else "")
    return [given.encode()] if given else [os.urandom(32)]


if __name__ == "__main__":
    sys.exit(main())
