"""Access tokens: HS256 JWTs of the platform's own issuer, verified as PyJWT's documentation shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from accounting.domain.errors import TokenExpired, TokenInvalid, TokenTypeInvalid
from accounting.domain.usage import RESERVED_NAMES
from accounting.store.users import DEFAULT_ROLE, ROLES, User
from accounting.web.caller import CLOCK_LEEWAY_SECONDS

MAX_SUBJECT = 128
MAX_EMAIL = 254
MAX_USERNAME = 200


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine token says of its user, and until when (epoch seconds)."""

    user: User
    expires_at: int


def verify(token: str, secrets: Callable[..., list[bytes]]) -> Claims:
    """The claims of a genuine access token.

    It must be signed with HS256 and one of the secrets, and carry ``sub`` (1 to 128 printable characters, no reserved
    name), ``exp`` and ``type`` = ``access``; a role that is not known is ``user``. When no secret fits they are read
    again, for one may have been rotated in. Raises TokenExpired, TokenTypeInvalid, TokenInvalid.
    """
    payload = _payload(token, secrets(refresh=False)) or _payload(token, secrets(refresh=True))
    if payload is None:
        raise TokenInvalid("The access token is invalid")
    if payload.get("type") != "access":
        raise TokenTypeInvalid("This is not an access token")
    role = payload.get("role")
    user = User(
        id=_text(payload, "sub", MAX_SUBJECT),
        email=_text(payload, "email", MAX_EMAIL),
        username=_text(payload, "username", MAX_USERNAME),
        role=role if role in ROLES else DEFAULT_ROLE,
        issued_at=int(payload.get("iat", 0)),
    )
    if not user.id or user.id in RESERVED_NAMES:
        raise TokenInvalid("The access token has no subject that can be a user's id")
    if user.issued_at < 0:  # PyJWT judges the other end only, and no table holds just any number
        raise TokenInvalid("The access token's iat is invalid")
    return Claims(user, int(payload["exp"]))


def _payload(token: str, secrets: list[bytes]) -> dict[str, Any] | None:
    """The token's payload, or None when none of the secrets signed it. Raises TokenExpired, TokenInvalid."""
    for secret in secrets:
        try:
            payload: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                leeway=CLOCK_LEEWAY_SECONDS,
                options={"require": ["exp", "sub"], "verify_aud": False},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired("The access token has expired") from error
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise TokenInvalid("The access token is invalid") from error
        return payload
    return None


def _text(payload: dict[str, Any], claim: str, longest: int) -> str:
    """A claim that is a printable text, empty when it is missing. Raises TokenInvalid."""
    value = payload.get(claim)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise TokenInvalid(f"The access token's {claim} is invalid")
    return value
