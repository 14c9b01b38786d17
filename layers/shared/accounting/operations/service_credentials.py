"""Making, rotating and deleting service credentials. A secret is shown once, when it is made."""

import json
import secrets
from typing import NamedTuple

from accounting.domain.api_keys import hash_of, text_of
from accounting.domain.errors import TooManyServiceCredentials
from accounting.domain.service_credentials import PREFIX, PreviousSecret, ServiceCredential
from accounting.operations.commit import replay, retry_conflicts
from accounting.operations.ids import new_id
from accounting.store import idempotency, service_credentials
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import Write, transact

SECRET_BYTES = 32


class Issued(NamedTuple):
    """A credential. ``text`` contains its new secret, or is None if the request is a repeat."""

    credential: ServiceCredential
    text: str | None


def create(name: str, rights: tuple[str, ...], *, now: int, key: IdempotencyKey | None) -> Issued:
    """Make a credential with a random secret of 256 bits.

    Raises TooManyServiceCredentials, IdempotencyConflict, Contention.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    made = ServiceCredential(new_id(now), name, rights, hash_of(secret), now)

    def write() -> Issued:
        try:
            return _issue(made, secret, service_credentials.put(made), key, now)
        except TooManyServiceCredentials:
            # An earlier attempt of this request may have created the last credential that the limit allows.
            if key and (record := idempotency.find(key, now)):
                return _replayed(key, record)
            raise

    return retry_conflicts(write)


def rotate(credential_id: str, *, overlap: int, keep_previous: bool, now: int, key: IdempotencyKey | None) -> Issued:
    """Make a new secret for a credential. The current secret stays valid for ``overlap`` milliseconds.

    With ``keep_previous``, the previous secret stays valid for that time instead, and the current secret ends at once.
    Raises Invalid if ``keep_previous`` is true and no previous secret is valid, ServiceCredentialNotFound,
    IdempotencyConflict, Contention.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)

    def write() -> Issued:
        if key and (record := idempotency.find(key, now)):
            return _replayed(key, record)
        known = service_credentials.get(credential_id)
        rotated = known.rotated(hash_of(secret), ends_at=now + overlap, keep_previous=keep_previous, now=now)
        issued = _issue(rotated, secret, [service_credentials.rotate(known, rotated)], key, now)
        service_credentials.forget(credential_id)
        return issued

    return retry_conflicts(write)


def delete(credential_id: str) -> None:
    """Delete a credential. Raises ServiceCredentialNotFound, Contention."""
    retry_conflicts(lambda: service_credentials.delete(credential_id))


def _issue(
    credential: ServiceCredential, secret: str, writes: list[Write], key: IdempotencyKey | None, now: int
) -> Issued:
    if key:
        # The stored answer has no secret. Only the first answer shows it.
        writes = [idempotency.put(key, json.dumps(credential._asdict()), now), *writes]
    try:
        transact(writes)
    except Repeated as repeated:
        return _replayed(repeated.key, repeated.record)
    return Issued(credential, text_of(credential.id, secret, PREFIX))


def _replayed(key: IdempotencyKey, record: idempotency.Record) -> Issued:
    known = replay(key, record)
    previous = known["previous"] and PreviousSecret(*known["previous"])
    return Issued(ServiceCredential(**known | {"rights": tuple(known["rights"]), "previous": previous}), None)
