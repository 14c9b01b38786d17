"""API keys: which user a key acts for, what the key may do, and why a key is refused.

The secret in a key is not stored, only its SHA-256.
"""

import hashlib
import hmac
from typing import Literal, NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.errors import TooManyApiKeys

PREFIX = "acct"
MAX_PER_USER = 100
MAX_ID_LENGTH = 26

type Refusal = Literal["NOT_FOUND", "DISABLED", "EXPIRED"]


class ApiKey(NamedTuple):
    """A key as it is stored; times are epoch milliseconds. A revoked key stays revoked.

    ``account_id`` is the only account that the key may use. None means every account that its user may use.
    """

    id: str
    user_id: str
    name: str
    permissions: tuple[str, ...]
    secret_hash: str
    created_at: int
    expires_at: int | None = None
    last_used_at: int | None = None
    enabled: bool = True
    revoked: bool = False
    account_id: AccountId | None = None

    @property
    def active(self) -> bool:
        return self.enabled and not self.revoked

    def has_secret(self, secret: str) -> bool:
        """Whether this is the key's secret, compared in constant time."""
        return hmac.compare_digest(self.secret_hash, hash_of(secret))

    def refusal(self, now: int) -> Refusal | None:
        """Why the key may not be used at ``now``, or None if it may."""
        if not self.active:
            return "DISABLED"
        return "EXPIRED" if self.expires_at is not None and self.expires_at <= now else None


def text_of(key_id: str, secret: str, prefix: str = PREFIX) -> str:
    """The key as its holder sends it."""
    return f"{prefix}_{key_id}_{secret}"


def parsed(text: str, prefix: str = PREFIX) -> tuple[str, str] | None:
    """The id and the secret of a key as its holder sends it; None if the text has another form."""
    sent_prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    id_is_valid = key_id.isascii() and key_id.isalnum() and len(key_id) <= MAX_ID_LENGTH
    return (key_id, secret) if sent_prefix == prefix and id_is_valid and secret else None


def hash_of(secret: str) -> str:
    """The SHA-256 that is stored in place of a secret.

    A secret has 256 random bits, so a slow hash would add no protection.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def too_many() -> TooManyApiKeys:
    """The refusal of a new key for a user who already has ``MAX_PER_USER``."""
    return TooManyApiKeys(f"A user may have at most {MAX_PER_USER} API keys", limit=MAX_PER_USER)
