"""The gateway's authorizer: who is this token's user? It finds or creates them, and answers for the whole stage.

It denies for one reason only: the request is not authenticated. What a caller may do is the functions' business. A
denial carries ``code`` and ``message``, which the gateway puts into its 401.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from accounting.domain.errors import AccountingError, TokenInvalid
from accounting.secrets import jwt_secrets
from accounting.store import users
from accounting.times import clock
from accounting.tokens import Claims, verify

logger = Logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Answer a TOKEN authorizer event with a policy.

    A fault (no secret, no table) is raised: the gateway answers 503 and caches nothing.
    """
    now = clock()
    try:
        claims = _authenticate(event.get("authorizationToken", ""))
    except AccountingError as refusal:
        logger.info("denied", code=refusal.code)
        return _policy(event, "Deny", "anonymous", {"code": refusal.code, "message": refusal.message})
    user, created = users.sync(claims.user, now)
    logger.info("allowed", user_id=user.id, role=claims.user.role, is_new=created)
    context = {
        "userId": user.id,
        "email": claims.user.email,
        "role": claims.user.role,
        "exp": claims.expires_at,
    }
    return _policy(event, "Allow", user.id, context)


def _authenticate(authorization: str) -> Claims:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("The Authorization header must be: Bearer <token>")
    return verify(token.strip(), jwt_secrets)


def _policy(event: dict[str, Any], effect: str, principal: str, context: dict[str, Any]) -> dict[str, Any]:
    """A policy on every route of the stage: the gateway caches it for the token, whatever it asks for next."""
    api, stage = event["methodArn"].split("/")[:2]
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": f"{api}/{stage}/*"}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": context,
    }
