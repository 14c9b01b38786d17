"""Creating and deleting API keys. A secret is shown once, in the answer to the request that creates the key."""

import json
import secrets
from typing import NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.api_keys import ApiKey, hash_of, text_of
from accounting.domain.errors import TooManyApiKeys
from accounting.operations.commit import replay, retry_conflicts
from accounting.operations.ids import new_id
from accounting.store import api_keys, idempotency
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact

SECRET_BYTES = 32


class CreatedKey(NamedTuple):
    """The key that a request created. ``text`` is what the key's holder sends, or None if the request is a repeat."""

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
    account_id: AccountId | None = None,
) -> CreatedKey:
    """Create a key whose secret has 256 random bits. With ``account_id``, the key is for this account only.

    Raises TooManyApiKeys, IdempotencyConflict, Contention.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(new_id(now), user_id, name, permissions, hash_of(secret), now, expires_at, account_id=account_id)

    def write() -> CreatedKey:
        try:
            writes = api_keys.put(key)
            if idempotency_key:
                # The stored answer has no secret, so a repeated request cannot show the secret again.
                writes.insert(0, idempotency.put(idempotency_key, json.dumps(key._asdict()), now))
            transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        except TooManyApiKeys:
            # An earlier attempt of this request may have created the last key that the limit allows.
            if idempotency_key and (record := idempotency.find(idempotency_key, now)):
                return _replayed(idempotency_key, record)
            raise
        return CreatedKey(key, text_of(key.id, secret))

    return retry_conflicts(write)


def delete(key_id: str, owner: str) -> None:
    """Delete the owner's key. Raises Contention, and ApiKeyNotFound (also if the key is another user's)."""
    retry_conflicts(lambda: api_keys.delete(key_id, owner))


def _replayed(key: IdempotencyKey, record: idempotency.Record) -> CreatedKey:
    known = replay(key, record)
    return CreatedKey(ApiKey(**known | {"permissions": tuple(known["permissions"])}), None)
