"""Service credentials: what a service may do for users, and which of its secrets are valid.

A credential has one current secret. After a rotation, one older secret stays valid for a while. The secrets are
numbered from 1; a secret's number is its generation. Only the SHA-256 of a secret is stored.
"""

import hmac
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from accounting.domain.api_keys import hash_of
from accounting.domain.errors import Invalid, TooManyServiceCredentials

type Right = Literal["sessions", "usage", "read", "users:sync", "credits:grant"]
RIGHTS: tuple[str, ...] = get_args(Right.__value__)

PREFIX = "svc"
MAX_CREDENTIALS = 100
DEFAULT_OVERLAP_HOURS = 24
MAX_OVERLAP_HOURS = 30 * 24
_ACTOR = "service:"


class PreviousSecret(NamedTuple):
    """An older secret, which is valid until ``ends_at`` (epoch milliseconds)."""

    generation: int
    secret_hash: str
    ends_at: int


class ServiceCredential(NamedTuple):
    """A credential as it is stored; times are epoch milliseconds.

    ``generation`` and ``secret_hash`` belong to the newest secret.
    """

    id: str
    name: str
    rights: tuple[str, ...]
    secret_hash: str
    created_at: int
    generation: int = 1
    rotated_at: int | None = None
    previous: PreviousSecret | None = None

    @property
    def actor(self) -> str:
        """The name of the service in the ledger."""
        return _ACTOR + self.id

    def generation_of(self, secret: str) -> int | None:
        """The generation of the newest or the previous secret, which may have expired. None for any other secret."""
        known = [(self.generation, self.secret_hash), *([self.previous[:2]] if self.previous else [])]
        sent = hash_of(secret)
        return next((generation for generation, stored in known if hmac.compare_digest(stored, sent)), None)

    def accepts(self, generation: int, now: int) -> bool:
        """Whether the secret of this generation is valid at ``now``."""
        if generation == self.generation:
            return True
        previous = self.previous_at(now)
        return previous is not None and previous.generation == generation

    def previous_at(self, now: int) -> PreviousSecret | None:
        """The previous secret, if it is still valid at ``now``."""
        return self.previous if self.previous and now < self.previous.ends_at else None

    def rotated(self, secret_hash: str, *, ends_at: int, keep_previous: bool, now: int) -> "ServiceCredential":
        """The credential with a new secret. One older secret stays valid until ``ends_at``.

        For example, generation 2 is the newest secret, generation 1 is still valid, and generation 3 is added. Without
        ``keep_previous``, generation 2 stays valid until ``ends_at``, and generation 1 ends now. With
        ``keep_previous``, generation 1 stays valid until ``ends_at``, and generation 2 ends now. Raises Invalid if
        ``keep_previous`` is true and no previous secret is still valid.
        """
        kept = PreviousSecret(self.generation, self.secret_hash, ends_at)
        if keep_previous:
            older = self.previous_at(now)
            if older is None:
                raise Invalid.field("keep", "there is no previous secret that is still valid")
            kept = older._replace(ends_at=ends_at)
        return self._replace(secret_hash=secret_hash, generation=self.generation + 1, rotated_at=now, previous=kept)


def in_documented_order(rights: Iterable[str]) -> tuple[str, ...]:
    """The rights without repeats, in the order of the documentation."""
    return tuple(right for right in RIGHTS if right in set(rights))


def acting_service(actor: str, user_id: str) -> str | None:
    """``actor`` if it is a service that acts for the user; otherwise None."""
    return actor if actor != user_id and actor.startswith(_ACTOR) else None


def too_many() -> TooManyServiceCredentials:
    """The refusal of a new credential if there are ``MAX_CREDENTIALS`` already."""
    return TooManyServiceCredentials(f"At most {MAX_CREDENTIALS} service credentials", limit=MAX_CREDENTIALS)
