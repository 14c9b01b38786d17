"""API keys: who they speak for, what they may do, and why one is refused. Only the SHA-256 of a secret is stored."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

from accounting.domain.errors import TooManyApiKeys

PREFIX = "acct"
MAX_PER_USER = 100
MAX_ID_LENGTH = 26

type Refusal = Literal["NOT_FOUND", "DISABLED", "EXPIRED"]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored; times are epoch milliseconds. A revoked one stays so."""

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

    @property
    def active(self) -> bool:
        """Whether the owner lets it be used."""
        return self.enabled and not self.revoked

    def has_secret(self, secret: str) -> bool:
        """Whether this is the key's secret; the time that it takes tells nothing of it."""
        return hmac.compare_digest(self.secret_hash, hash_of(secret))

    def refusal(self, now: int) -> Refusal | None:
        """Why the key may not be used at ``now``, if it may not."""
        if not self.active:
            return "DISABLED"
        return "EXPIRED" if self.expires_at is not None and self.expires_at <= now else None


def text_of(key_id: str, secret: str, prefix: str = PREFIX) -> str:
    """The key as its holder sends it."""
    return f"{prefix}_{key_id}_{secret}"


def parsed(text: str, prefix: str = PREFIX) -> tuple[str, str] | None:
    """The id and the secret of a key as its holder sends it; None if the text has another form."""
    found, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    fits = key_id.isascii() and key_id.isalnum() and len(key_id) <= MAX_ID_LENGTH
    return (key_id, secret) if found == prefix and fits and secret else None


def hash_of(secret: str) -> str:
    """What is stored of a secret. It has 256 random bits: a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode()).hexdigest()


def too_many() -> TooManyApiKeys:
    """The refusal of one key more than a user may have."""
    return TooManyApiKeys(f"At most {MAX_PER_USER} API keys a user", limit=MAX_PER_USER)
