"""Making an API key, the only moment at which its secret is known, and deleting one."""

import json
import secrets
from dataclasses import asdict, dataclass

from accounting.domain.api_keys import ApiKey, hash_of, text_of
from accounting.domain.errors import TooManyApiKeys
from accounting.operations.commit import replay, retry_conflicts
from accounting.operations.ids import new_id
from accounting.store import api_keys, idempotency
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact

SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Created:
    """A new key. ``text`` is what its holder sends; a repeat of the request does not get it again."""

    key: ApiKey
    text: str | None


def create(
    user_id: str,
    name: str,
    permissions: tuple[str, ...],
    *,
    expires_at: int | None,
    now: int,
    idempotency_key: IdempotencyKey | None,
) -> Created:
    """Make a key with 256 random bits of secret. Raises TooManyApiKeys, IdempotencyConflict, Contention."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(new_id(now), user_id, name, permissions, hash_of(secret), now, expires_at)

    def write() -> Created:
        try:
            writes = api_keys.put(key)
            if idempotency_key:
                # All of the answer but the secret, which is nowhere but in the first answer.
                writes.insert(0, idempotency.put(idempotency_key, json.dumps(asdict(key)), now))
            transact(writes)
        except Repeated as repeated:
            return _again(repeated.key, repeated.record)
        except TooManyApiKeys:
            # The last one may be what this very request, sent before, made.
            if idempotency_key and (record := idempotency.find(idempotency_key, now)):
                return _again(idempotency_key, record)
            raise
        return Created(key, text_of(key.id, secret))

    return retry_conflicts(write)


def delete(key_id: str, owner: str) -> None:
    """Delete the owner's key. Raises ApiKeyNotFound, of another's key too, and Contention."""
    retry_conflicts(lambda: api_keys.delete(key_id, owner))


def _again(key: IdempotencyKey, record: idempotency.Record) -> Created:
    known = replay(key, record)
    return Created(ApiKey(**known | {"permissions": tuple(known["permissions"])}), None)
