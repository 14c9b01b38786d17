"""Access tokens: HS256 JWTs of the platform's own issuer. PyJWT verifies the signature; the claims are read here.

Tokens of other issuers are read in ``identity``, which uses the functions of this module for their claims.

A claim that is null counts as absent. An optional claim about the user also counts as absent if its value is unusable:
a token whose ``username`` is too long is still valid. If a claim makes the token invalid, the refusal names the claim.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt

from accounting.domain import addresses
from accounting.domain.errors import TokenExpired, TokenInvalid, TokenTypeInvalid
from accounting.domain.texts import is_plain
from accounting.domain.users import RESERVED_USER_IDS, ROLES, Description
from accounting.web.caller import CLOCK_LEEWAY_SECONDS

MAX_SUBJECT = 128
MAX_EMAIL = 254
MAX_USERNAME = 200

SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    "require": [],
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), False),
    **dict.fromkeys(("verify_sub", "verify_jti"), False),
}
"""Options with which PyJWT checks no claims, because this module checks the claims."""


class Claims(NamedTuple):
    """The user that a genuine token describes, and when the token expires (epoch seconds).

    ``issuer`` is the configured issuer of the token; it is None for the platform's own issuer.
    """

    user: Description
    expires_at: int
    issuer: str | None = None


def verify(token: str, secrets: Callable[..., list[bytes]]) -> Claims:
    """The claims of a genuine access token.

    The token must be signed with HS256 and one of the secrets, and have ``sub`` (a user's id), ``exp`` and ``type`` =
    ``access``. If no secret fits, the secrets are read again, because a new secret may just have been added. Raises
    TokenExpired, TokenTypeInvalid, TokenInvalid.
    """
    payload = _payload(token, secrets(refresh=False)) or _payload(token, secrets(refresh=True))
    if payload is None:
        raise TokenInvalid("The signature of the access token is wrong")
    claims = {name: value for name, value in payload.items() if value is not None}
    expires_at = valid_until(claims, CLOCK_LEEWAY_SECONDS)
    if claims.get("type") != "access":
        raise TokenTypeInvalid("This is not an access token: its claim 'type' must be 'access'")
    second = issued_at(claims)
    user = Description(
        id=user_id(claims.get("sub"), "sub"),
        email=email(claims.get("email"), claims.get("email_verified", True)),
        username=text(claims.get("username"), MAX_USERNAME),
        role=_role(claims),
        issued_at=second,
        role_at=second * 1000,
    )
    return Claims(user, expires_at)


def _payload(token: str, secrets: list[bytes]) -> dict[str, Any] | None:
    """The token's payload, or None if none of the secrets signed it.

    Raises TokenInvalid if the token is not a JWT or is not signed with HS256.
    """
    for secret in secrets:
        try:
            payload: dict[str, Any] = jwt.decode(token, secret, algorithms=["HS256"], options=SIGNATURE_ONLY)
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError as error:
            raise TokenInvalid("The access token is not signed with HS256") from error
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise TokenInvalid("The access token is not a JWT") from error
        return payload
    return None


def valid_until(claims: dict[str, Any], leeway: int) -> int:
    """When the token expires (epoch seconds).

    ``leeway`` is in seconds. Raises TokenExpired, or TokenInvalid if ``exp`` is missing, a time is not a number, or the
    token is not valid yet.
    """
    now = time.time()
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise TokenInvalid("The access token has no end: the claim exp is missing")
    if expires_at <= now - leeway:
        raise TokenExpired("The access token has expired")
    for name in ("nbf", "iat"):
        begins_at = _time(claims, name)
        if begins_at is not None and begins_at > now + leeway:
            raise TokenInvalid(f"The access token is not valid yet: its claim {name} is in the future")
    return expires_at


def issued_at(claims: dict[str, Any]) -> int:
    """When the token was issued (epoch seconds); 0 without ``iat``. Raises TokenInvalid if ``iat`` is not a time."""
    second = _time(claims, "iat") or 0
    if second < 0:
        raise TokenInvalid("The claim iat of the access token is not a time")
    return second


def _time(claims: dict[str, Any], name: str) -> int | None:
    """A claim in epoch seconds; None if it is absent. Raises TokenInvalid if it is not a finite number."""
    value = claims.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TokenInvalid(f"The claim {name} of the access token is not a time") from error


def user_id(subject: Any, claim: str, prefix: str = "") -> str:
    """The user's id: ``prefix`` and ``subject`` joined. ``claim`` is the name of the claim that has the subject.

    Raises TokenInvalid if the result is not a valid id.
    """
    if subject is None or subject == "":
        raise TokenInvalid(f"The access token has no subject: the claim {claim} is missing")
    if not isinstance(subject, str):
        raise TokenInvalid(f"The claim {claim} of the access token is not a text")
    full_id = prefix + subject
    if len(full_id) > MAX_SUBJECT or not is_plain(full_id):
        raise TokenInvalid(
            f"The claim {claim} of the access token is not an id: at most {MAX_SUBJECT - len(prefix)} characters,"
            " no control characters"
        )
    if full_id in RESERVED_USER_IDS:
        raise TokenInvalid(f"The claim {claim} of the access token is a reserved name and not an id")
    return full_id


def email(value: Any, verified: Any) -> str | None:
    """The user's e-mail address; None unless it is valid and verified.

    The address is verified if ``verified`` is True or the text ``true``, in upper or lower case.
    """
    is_verified = verified is True or (isinstance(verified, str) and verified.lower() == "true")
    address = text(value, MAX_EMAIL)
    return address if is_verified and addresses.canonical(address) is not None else None


def _role(claims: dict[str, Any]) -> str | None:
    role = claims.get("role")
    return role if isinstance(role, str) and role in ROLES else None


def text(value: Any, longest: int) -> str | None:
    """The claim, or None if it is not a plain text (``is_plain``), is blank or exceeds ``longest`` characters."""
    usable = isinstance(value, str) and len(value) <= longest and is_plain(value) and bool(value.strip())
    return str(value) if usable else None
