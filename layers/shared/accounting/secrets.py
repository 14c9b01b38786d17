"""Secrets of the stack, read from Secrets Manager through Powertools' cache; never logged."""

import hmac
import json
import os
from functools import cache
from typing import TYPE_CHECKING

from accounting.domain.errors import Unavailable

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

MIN_SECRET_BYTES = 32
MAX_AGE_SECONDS = 300
REFRESHED_AGE_SECONDS = 10
"""However many tokens fail, a secret is read again no sooner."""


def jwt_secrets(*, refresh: bool) -> list[bytes]:
    """The secrets that access tokens may be signed with: the current one, then the previous one if there is one.

    ``refresh`` asks for what stands there now, for the case of a rotation a moment ago.
    Raises ValueError when one has less than ``MIN_SECRET_BYTES``, GetParameterError when they can't be read.
    """
    stored = json.loads(_read(os.environ["JWT_SECRET_ID"], refresh=refresh))
    secrets = [value.encode() for value in (stored["current"], stored.get("previous")) if value]
    if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
        raise ValueError(f"a JWT secret has at least {MIN_SECRET_BYTES} bytes")
    return secrets


def has_issuers() -> bool:
    """Whether the stack names a document of issuers, so that tokens may be of others than the platform's own."""
    return bool(os.environ.get("ISSUERS_SECRET_ID"))


def issuers_document() -> str:
    """The document of the issuers (docs/identity.md). Raises GetParameterError when it can't be read."""
    return _read(os.environ["ISSUERS_SECRET_ID"], refresh=False)


def is_internal_key(sent: str) -> bool:
    """Whether this is the key that the platform's own services send, compared in constant time.

    Raises Unavailable when the key can't be read.
    """
    from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

    name = os.environ["INTERNAL_API_KEY_ID"]
    try:
        return any(hmac.compare_digest(sent.encode(), _read(name, refresh=fresh).encode()) for fresh in (False, True))
    except GetParameterError as error:
        raise Unavailable("The key could not be checked just now") from error


def _read(name: str, *, refresh: bool) -> str:
    max_age = REFRESHED_AGE_SECONDS if refresh else MAX_AGE_SECONDS
    return str(_provider(max_age).get(name, max_age=max_age))


@cache
def _provider(_max_age: int) -> "SecretsProvider":
    """A reader with a cache of its own: the cache that answers most requests does not serve a refresh."""
    from aws_lambda_powertools.utilities.parameters import SecretsProvider
    from botocore.config import Config

    return SecretsProvider(
        boto_config=Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
    )
