"""Verifies access tokens of the platform, and of other issuers, which are listed in a document of the operator.

The token's ``iss`` selects the issuer. Only the document says which algorithms are accepted from the issuer, and where
the issuer's keys are. Keys or addresses of keys in a token's header (``jku``, ``x5u``, ``jwk``, ``x5c``) are ignored.
"""

from collections.abc import Callable
from typing import Any

import jwt
from aws_lambda_powertools import Logger

from accounting import tokens
from accounting.domain.errors import TokenInvalid
from accounting.domain.users import DEFAULT_ROLE, ROLES, Description
from accounting.identity.document import InvalidDocument, Issuer, parse
from accounting.identity.keys import SigningKeys, keys_at
from accounting.tokens import Claims
from accounting.web.caller import CLOCK_LEEWAY_SECONDS

MAX_KEY_ID = 500

logger = Logger()


def verify(
    token: str,
    secrets: Callable[..., list[bytes]],
    document: Callable[[], str],
    keys: Callable[[str], SigningKeys] = keys_at,
) -> Claims:
    """The claims of a genuine access token of the platform, or of an issuer in the document.

    Raises TokenExpired, TokenTypeInvalid, TokenInvalid. Raises InvalidDocument if the operator's document is invalid,
    and Unavailable if the issuer's keys cannot be fetched.
    """
    header, unverified = _unverified(token)
    issuer = _issuer(unverified.get("iss"), document)
    if issuer is None:
        return tokens.verify(token, secrets)
    return _claims(_genuine(token, header, issuer, keys), issuer)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the payload of a text that may be a token; both are empty if it is not a token."""
    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
        return {}, {}
    return decoded["header"], decoded["payload"]


def _issuer(name: Any, document: Callable[[], str]) -> Issuer | None:
    """The issuer with this name in the document, or None. Raises InvalidDocument."""
    if not isinstance(name, str):
        return None
    try:
        return parse(document()).get(name)
    except InvalidDocument as error:
        logger.error("the document of the issuers is invalid: no token with an iss is accepted", reason=str(error))
        raise


def _genuine(token: str, header: dict[str, Any], issuer: Issuer, keys: Callable[[str], SigningKeys]) -> dict[str, Any]:
    """The payload of a token that the issuer signed. Null claims are left out. Raises TokenInvalid, Unavailable."""
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in issuer.algorithms:
        raise TokenInvalid("The access token is not signed with an algorithm of its issuer")
    if "crit" in header:
        raise TokenInvalid("The access token has a critical header, which is not supported")
    if not isinstance(key_id, str) or not key_id:  # absent or empty; PyJWT has refused a kid that is not a text
        raise TokenInvalid("The access token does not name its key: the header kid is missing")
    if len(key_id) > MAX_KEY_ID:
        raise TokenInvalid(f"The header kid of the access token has more than {MAX_KEY_ID} characters")
    key = keys(issuer.jwks_url).find(key_id)
    try:
        payload = jwt.decode(token, key, algorithms=[algorithm], options=tokens.SIGNATURE_ONLY)
    except jwt.InvalidSignatureError as error:
        raise TokenInvalid("The signature of the access token is wrong") from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise TokenInvalid("The key of the access token does not fit its algorithm") from error
    return {name: value for name, value in payload.items() if value is not None}


def _claims(payload: dict[str, Any], issuer: Issuer) -> Claims:
    """The token's content, read with the claim names of its issuer. Raises TokenExpired, TokenInvalid."""
    names = issuer.claims
    expires_at = tokens.valid_until(payload, issuer.leeway_seconds)
    _require_meant_for_us(payload, issuer)
    issued_at = tokens.issued_at(payload)
    user = Description(
        id=tokens.user_id(claim_at(payload, names.user_id), names.user_id, names.user_id_prefix),
        email=_email(payload, issuer),
        username=tokens.text(claim_at(payload, names.name), tokens.MAX_USERNAME) if names.name else None,
        role=_role(claim_at(payload, names.role), issuer) if names.role else None,
        issued_at=issued_at,
        role_at=issued_at * 1000,
    )
    # The functions will add ``CLOCK_LEEWAY_SECONDS`` to the expiry. Subtracting these seconds here leaves only the
    # issuer's leeway.
    return Claims(user, expires_at + issuer.leeway_seconds - CLOCK_LEEWAY_SECONDS, issuer.issuer)


def _require_meant_for_us(payload: dict[str, Any], issuer: Issuer) -> None:
    """Raise TokenInvalid unless the audience is ours, and every required claim has its required value."""
    if not set(issuer.audience).intersection(_texts(payload.get(issuer.audience_claim))):
        raise TokenInvalid(f"The access token is for somebody else: its claim {issuer.audience_claim} is wrong")
    for name, wanted in issuer.require.items():
        if claim_at(payload, name) != wanted:
            raise TokenInvalid("The access token lacks a claim that its issuer's tokens must have")


def _email(payload: dict[str, Any], issuer: Issuer) -> str | None:
    names = issuer.claims
    if names.email is None:
        return None
    verified = names.email_verified
    if isinstance(verified, str):
        verified = claim_at(payload, verified)
    return tokens.email(claim_at(payload, names.email), verified)


def _role(claim: Any, issuer: Issuer) -> str:
    """The highest of the roles to which the document maps the claim's texts; ``user`` if no text is mapped."""
    mapped = [issuer.roles[each] for each in _texts(claim) if each in issuer.roles]
    return max(mapped, key=ROLES.index, default=DEFAULT_ROLE)


def claim_at(claims: Any, path: str) -> Any:
    """The value of the claim that is named ``path``, or None.

    If no claim has this name, the dots in ``path`` separate the names of nested claims.
    """
    if not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    first, _, rest = path.partition(".")
    return claim_at(claims.get(first), rest) if rest else None


def _texts(value: Any) -> list[str]:
    """The texts of a claim that is a text or a list."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
