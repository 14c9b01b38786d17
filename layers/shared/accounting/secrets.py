"""The stack's secrets, read from Secrets Manager through Powertools' cache. They are never logged."""

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
"""The shortest time between two refreshes of a secret. A token or key that does not match causes a refresh."""


def jwt_secrets(*, refresh: bool) -> list[bytes]:
    """The secrets that access tokens may be signed with: the current one, then the previous one if there is one.

    ``refresh`` reads the secrets again, in case they were just rotated, at most once in ``REFRESHED_AGE_SECONDS``.
    Raises ValueError if there is no secret, or if a secret is shorter than ``MIN_SECRET_BYTES``. Raises
    GetParameterError if the secrets can't be read.
    """
    stored = json.loads(_read(os.environ["JWT_SECRET_ID"], refresh=refresh))
    secrets = [value.encode() for value in (stored["current"], stored.get("previous")) if value]
    if not secrets or any(len(secret) < MIN_SECRET_BYTES for secret in secrets):
        raise ValueError(f"a JWT secret must have at least {MIN_SECRET_BYTES} bytes")
    return secrets


def has_issuers() -> bool:
    """Whether the service accepts tokens of identity providers (issuers)."""
    return bool(os.environ.get("ISSUERS_SECRET_ID"))


def issuers_document() -> str:
    """The JSON text that describes the issuers (docs/identity.md). Raises GetParameterError if it can't be read."""
    return _read(os.environ["ISSUERS_SECRET_ID"], refresh=False)


def is_internal_key(sent: str) -> bool:
    """Whether ``sent`` is the key of the platform's own services, compared in constant time.

    Raises Unavailable if the key can't be read.
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
    """One reader, with a cache of its own, for each maximum age.

    In a shared cache, a refresh would find a value that is up to ``MAX_AGE_SECONDS`` old.
    """
    from aws_lambda_powertools.utilities.parameters import SecretsProvider
    from botocore.config import Config

    return SecretsProvider(
        boto_config=Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2})
    )
