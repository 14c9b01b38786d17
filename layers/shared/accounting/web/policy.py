"""The authorizers' answers to the gateway."""

from collections.abc import Mapping
from typing import Any

from accounting.domain.errors import NotAuthenticated


def allow(event: Mapping[str, Any], principal: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Allow a caller to call every route of the stage. The functions get ``context``, with every value as text."""
    return _policy(event, "Allow", principal, context)


def deny(event: Mapping[str, Any], refusal: NotAuthenticated) -> dict[str, Any]:
    """Refuse a caller. The gateway answers 401 with the refusal's code and message."""
    return _policy(event, "Deny", "anonymous", {"code": refusal.code, "message": refusal.message})


def undecided() -> dict[str, Any]:
    """Neither allow nor refuse.

    Without a policy, the gateway answers 503, and asks the authorizer again at the next request. An exception would
    have the same effect, but may also end the process. The next process would then have to fetch the keys of
    the tokens' issuers again.
    """
    return {}


def _policy(event: Mapping[str, Any], effect: str, principal: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """An IAM policy. It covers every route, because the gateway caches it for all later requests with the token."""
    api, stage = event["methodArn"].split("/")[:2]
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": f"{api}/{stage}/*"}
    return {
        "principalId": principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": dict(context),
    }
