"""Access tokens: HS256 JWTs of the platform's own issuer. PyJWT verifies the signature; the claims are read here.

A claim that is null is absent. An optional claim that describes the user and cannot be used is absent, too: a token
with an odd name still lets its user in. Claims that decide whether a token counts are refused, by name.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from accounting.domain import addresses
from accounting.domain.errors import TokenExpired, TokenInvalid, TokenTypeInvalid
from accounting.domain.texts import is_plain
from accounting.domain.users import RESERVED_USER_IDS, ROLES, Description
from accounting.web.caller import CLOCK_LEEWAY_SECONDS

MAX_SUBJECT = 128
MAX_EMAIL = 254
MAX_USERNAME = 200

_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    "require": [],
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False),
    **dict.fromkeys(("verify_sub", "verify_jti"), False),
}
"""PyJWT judges claims before nulls could be taken out, and does not name the one that it refuses."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine token says of its user, and until when (epoch seconds)."""

    user: Description
    expires_at: int


def verify(token: str, secrets: Callable[..., list[bytes]]) -> Claims:
    """The claims of a genuine access token.

    It must be signed with HS256 and one of the secrets, and carry ``sub`` (a user's id), ``exp`` and ``type`` =
    ``access``. When no secret fits they are read again, for one may have been rotated in. Raises TokenExpired,
    TokenTypeInvalid, TokenInvalid.
    """
    payload = _payload(token, secrets(refresh=False)) or _payload(token, secrets(refresh=True))
    if payload is None:
        raise TokenInvalid("The signature of the access token is wrong")
    claims = {name: value for name, value in payload.items() if value is not None}
    expires_at = _lifetime(claims)
    if claims.get("type") != "access":
        raise TokenTypeInvalid("This is not an access token: its claim type must be access")
    issued_at = _time(claims, "iat") or 0
    if issued_at < 0:
        raise TokenInvalid("The claim iat of the access token is not a time")
    user = Description(
        id=_subject(claims),
        email=_email(claims),
        username=_text(claims, "username", MAX_USERNAME),
        role=_role(claims),
        issued_at=issued_at,
        role_at=issued_at * 1000,
    )
    return Claims(user, expires_at)


def _payload(token: str, secrets: list[bytes]) -> dict[str, Any] | None:
    """The token's payload, or None when none of the secrets signed it. Raises TokenInvalid."""
    for secret in secrets:
        try:
            payload: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], options=_SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError as error:
            raise TokenInvalid("The access token is not signed with HS256") from error
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise TokenInvalid("The access token is not a JWT") from error
        return payload
    return None


def _lifetime(claims: dict[str, Any]) -> int:
    """When the token ends. Raises TokenExpired, and TokenInvalid when it has no end or does not count yet."""
    now = time.time()
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise TokenInvalid("The access token has no end: the claim exp is missing")
    if expires_at <= now - CLOCK_LEEWAY_SECONDS:
        raise TokenExpired("The access token has expired")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + CLOCK_LEEWAY_SECONDS:
            raise TokenInvalid(f"The access token is not valid yet: its claim {name} is in the future")
    return expires_at


def _time(claims: dict[str, Any], name: str) -> int | None:
    """A claim in epoch seconds; None if it is absent. Raises TokenInvalid when it is not a number."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TokenInvalid(f"The claim {name} of the access token is not a time") from error


def _subject(claims: dict[str, Any]) -> str:
    """The user's id. Raises TokenInvalid."""
    subject = claims.get("sub")
    if subject is None or subject == "":
        raise TokenInvalid("The access token has no subject: the claim sub is missing")
    if not isinstance(subject, str):
        raise TokenInvalid("The claim sub of the access token is not a text")
    if len(subject) > MAX_SUBJECT or not is_plain(subject):
        raise TokenInvalid(
            f"The claim sub of the access token is not an id: at most {MAX_SUBJECT} characters, no control characters"
        )
    if subject in RESERVED_USER_IDS:
        raise TokenInvalid("The claim sub of the access token is a reserved name and not an id")
    return subject


def _email(claims: dict[str, Any]) -> str | None:
    """The user's address; None if the token names none that is one, or does not say that it is verified."""
    email = _text(claims, "email", MAX_EMAIL)
    verified = claims.get("email_verified", True)
    is_verified = verified is True or (isinstance(verified, str) and verified.lower() == "true")
    return email if is_verified and addresses.canonical(email) is not None else None


def _role(claims: dict[str, Any]) -> str | None:
    role = claims.get("role")
    return role if isinstance(role, str) and role in ROLES else None


def _text(claims: dict[str, Any], name: str, longest: int) -> str | None:
    """A claim that is a text with something in it; else None."""
    value = claims.get(name)
    usable = isinstance(value, str) and len(value) <= longest and is_plain(value) and bool(value.strip())
    return str(value) if usable else None
