"""Service credentials in the table, and a short-lived cache of them in the process."""

import json

from accounting.domain.errors import ServiceCredentialNotFound
from accounting.domain.service_credentials import MAX_CREDENTIALS, PreviousSecret, ServiceCredential, too_many
from accounting.store import counts, keys, table
from accounting.store.cache import Cache
from accounting.store.table import Conflict, Item, Write

CACHE_SECONDS = 30


def put(credential: ServiceCredential) -> list[Write]:
    """Add a credential with a new id, and count it. Refused with TooManyServiceCredentials."""
    added = table.put(to_item(credential), condition="attribute_not_exists(pk)")
    return [Write(added), counts.one_more(keys.service_credential_count(), MAX_CREDENTIALS, too_many())]


def get(credential_id: str) -> ServiceCredential:
    """The credential with this id. Raises ServiceCredentialNotFound."""
    credential = find(credential_id)
    if credential is None:
        raise _not_found(credential_id)
    return credential


def find(credential_id: str) -> ServiceCredential | None:
    item = table.get(keys.service_credential(credential_id))
    return from_item(item) if item else None


def find_cached(credential_id: str, generation: int) -> ServiceCredential | None:
    """Like ``find``, but what it returns may be up to ``CACHE_SECONDS`` old.

    If ``generation``, the number of a secret, is higher than the cached credential's, the credential is read again.
    """
    known = _cache.get(credential_id)
    if known is not None and known.generation >= generation:
        return known
    forget(credential_id)
    return _cache.get(credential_id)


_cache = Cache(find, CACHE_SECONDS)


def newest(*, before: str | None, limit: int) -> tuple[list[ServiceCredential], str | None]:
    """A page of the credentials, newest first, and ``before`` for the next page, or None on the last page."""
    found, position = table.newest(keys.BY_KIND, keys.service_credentials_of_all(), before=before, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position


def change(
    credential_id: str, *, name: str | None, rights: tuple[str, ...] | None, end_previous: bool
) -> ServiceCredential:
    """Change the given attributes of a credential. With ``end_previous``, also end its previous secret.

    At least one change must be given. Raises ServiceCredentialNotFound.
    """
    given = {
        **({} if name is None else {"name": name}),
        **({} if rights is None else {"rights": json.dumps(rights)}),
        **({"previous": ""} if end_previous else {}),
    }
    done, item = table.update_one(
        keys.service_credential(credential_id),
        "SET " + ", ".join(f"#{field} = :{field}" for field in given),
        condition="attribute_exists(#pk)",
        values={f":{field}": value for field, value in given.items()},
        names={"#pk": "pk", **{f"#{field}": field for field in given}},
    )
    if not done or item is None:
        raise _not_found(credential_id)
    forget(credential_id)
    return from_item(item)


def rotate(known: ServiceCredential, rotated: ServiceCredential) -> Write:
    """Store a credential's new secret. Refused with Conflict if its secrets have changed since ``known`` was read."""
    item = to_item(rotated)
    changed = ("secret_hash", "generation", "rotated_at", "previous")
    return Write(
        table.update(
            keys.service_credential(known.id),
            "SET " + ", ".join(f"{field} = :{field}" for field in changed),
            condition="generation = :seen AND previous = :kept",
            values={
                ":seen": known.generation,
                ":kept": to_item(known)["previous"],
                **{f":{field}": item[field] for field in changed},
            },
        ),
        refused=lambda _: Conflict(),
    )


def delete(credential_id: str) -> None:
    """Delete a credential, and lower the count. Raises ServiceCredentialNotFound."""
    not_found = _not_found(credential_id)
    action = table.delete(keys.service_credential(credential_id), condition="id = :id", values={":id": credential_id})
    table.transact([Write(action, refused=lambda _: not_found), counts.one_less(keys.service_credential_count())])
    forget(credential_id)


def forget(credential_id: str | None = None) -> None:
    """Drop a credential, or all credentials, from this process's cache."""
    _cache.forget(credential_id)


def _not_found(credential_id: str) -> ServiceCredentialNotFound:
    return ServiceCredentialNotFound("Service credential not found", id=credential_id)


def to_item(credential: ServiceCredential) -> Item:
    """Convert a credential to an item. The rights and the previous secret become JSON texts.

    Without a previous secret, ``previous`` is empty.
    """
    return {
        **keys.service_credential(credential.id),
        **keys.service_credential_of_all(credential.id, credential.created_at),
        "id": credential.id,
        "name": credential.name,
        "rights": json.dumps(credential.rights),
        "secret_hash": credential.secret_hash,
        "created_at": credential.created_at,
        "generation": credential.generation,
        "rotated_at": credential.rotated_at,
        "previous": json.dumps(credential.previous) if credential.previous else "",
    }


def from_item(item: Item) -> ServiceCredential:
    return ServiceCredential(
        id=item["id"],
        name=item["name"],
        rights=tuple(json.loads(item["rights"])),
        secret_hash=item["secret_hash"],
        created_at=item["created_at"],
        generation=item["generation"],
        rotated_at=item.get("rotated_at"),
        previous=PreviousSecret(*json.loads(item["previous"])) if item["previous"] else None,
    )
