"""The gateway's authorizer: checks a token, API key or service credential.

For a token, it also stores the user's profile. It denies only requests that are not authenticated. The
functions behind the gateway decide what a caller may do.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.domain.api_keys import PREFIX, parsed
from accounting.domain.errors import (
    ApiKeyInvalid,
    NotAuthenticated,
    ServiceCredentialInvalid,
    TokenInvalid,
    Unavailable,
)
from accounting.domain.service_credentials import PREFIX as SERVICE_PREFIX
from accounting.domain.users import DEFAULT_ROLE
from accounting.secrets import has_issuers, issuers_document, jwt_secrets
from accounting.store import api_keys, service_credentials, users
from accounting.store.table import create_client_for_snapshot
from accounting.times import clock
from accounting.tokens import Claims, verify
from accounting.web.policy import allow, deny, undecided

if has_issuers():  # imported at the start, so that the function's snapshot contains it
    from accounting.identity import tokens as identity_tokens

logger = Logger()
create_client_for_snapshot()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer a TOKEN authorizer event with a policy that allows or denies the request.

    If the table or the keys of an issuer cannot be reached, the answer has no policy. Other faults, such as a missing
    secret, are raised. In both cases the gateway answers 503 and caches nothing.
    """
    scheme, _, credential = event.get("authorizationToken", "").partition(" ")
    try:
        context = _authenticated(scheme.lower(), credential.strip(), clock())
    except NotAuthenticated as refusal:
        logger.info("denied", code=refusal.code)
        return deny(event, refusal)
    except Unavailable as unavailable:
        logger.warning("undecided", reason=str(unavailable), cause=repr(unavailable.__cause__))
        return undecided()
    principal = context.get("userId") or context["actor"]
    logger.info("allowed", user_id=principal, role=context["role"])
    return allow(event, principal, context)


def _authenticated(scheme: str, credential: str, now: int) -> dict[str, Any]:
    """The context that the functions get about the caller. Raises NotAuthenticated."""
    if scheme == "bearer" and credential.startswith(f"{PREFIX}_"):
        scheme = "apikey"  # many SDKs send any key as a bearer token
    if scheme == "bearer" and credential:
        claims = _verified(credential)
        _, is_new = users.sync(claims.user, now)
        logger.append_keys(is_new=is_new, issuer=claims.issuer)
        described = claims.user
        return {
            "userId": described.id,
            "email": described.email or "",
            "role": described.role or DEFAULT_ROLE,
            "exp": claims.expires_at,
            "iat": described.issued_at,
        }
    if scheme == "apikey" and credential:
        key, refusal = api_keys.verify(credential, now)
        if key is None or refusal:
            raise ApiKeyInvalid("The API key is invalid")
        api_keys.note_use(key, now)
        return {"userId": key.user_id, "role": DEFAULT_ROLE, "apiKeyId": key.id}
    if scheme == "service" and credential:
        return _service(credential, now)
    raise TokenInvalid("The Authorization header must be: Bearer <token>, ApiKey <key>, or Service <credential>")


def _verified(token: str) -> Claims:
    """The claims of a token signed with a configured secret or by a configured issuer. Raises NotAuthenticated."""
    if not has_issuers():
        return verify(token, jwt_secrets)
    return identity_tokens.verify(token, jwt_secrets, issuers_document)


def _service(text: str, now: int) -> dict[str, Any]:
    """The context that the functions get about a service. It has no user: a header names the user.

    The credential is read from the table each time. A cached copy could lack a new secret, and the gateway would cache
    the refusal for minutes. Raises ServiceCredentialInvalid.
    """
    service_id, secret = parsed(text, SERVICE_PREFIX) or ("", "")
    service = service_credentials.find(service_id) if service_id else None
    generation = service.generation_of(secret) if service else None
    if service is None or generation is None:
        raise ServiceCredentialInvalid("The service credential is invalid")
    if not service.accepts(generation, now):
        raise ServiceCredentialInvalid("The service credential was rotated out")
    return {"serviceId": service.id, "generation": generation, "actor": service.actor, "role": DEFAULT_ROLE}
