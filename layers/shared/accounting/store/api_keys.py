"""API keys in the table, how many each user has, and a short-lived cache of keys in the process."""

import json

from accounting.domain.accounts import stored
from accounting.domain.api_keys import MAX_PER_USER, ApiKey, Refusal, parsed, too_many
from accounting.domain.errors import ApiKeyNotFound
from accounting.store import counts, keys, table
from accounting.store.cache import Cache
from accounting.store.table import Item, Write
from accounting.times import MINUTE

CACHE_SECONDS = 30


def put(key: ApiKey) -> list[Write]:
    """Add a key with a new id, and count it. Refused with TooManyApiKeys if the user has the maximum."""
    added = table.put(to_item(key), condition="attribute_not_exists(pk)")
    return [Write(added), counts.one_more(keys.api_key_count(key.user_id), MAX_PER_USER, too_many())]


def find(key_id: str) -> ApiKey | None:
    item = table.get(keys.api_key(key_id))
    return from_item(item) if item else None


def find_cached(key_id: str) -> ApiKey | None:
    """Like ``find``, but the result may be up to ``CACHE_SECONDS`` old. A revoked key may work for that long."""
    return _cache.get(key_id)


_cache = Cache(find, CACHE_SECONDS)


def verify(text: str, now: int) -> tuple[ApiKey | None, Refusal | None]:
    """The API key with this text, if there is one, and the reason why the text is refused, if it is.

    A change of the key takes effect within ``CACHE_SECONDS``.
    """
    key_id, secret = parsed(text) or ("", "")
    key = find_cached(key_id) if key_id else None
    if key is None or not key.has_secret(secret):
        return None, "NOT_FOUND"
    return key, key.refusal(now)


def note_use(key: ApiKey, now: int) -> None:
    """Store the time at which the key was used. Further uses within a minute are not stored."""
    if key.last_used_at is not None and key.last_used_at > now - MINUTE:
        return
    table.update_one(
        keys.api_key(key.id),
        "SET last_used_at = :now",
        condition="attribute_exists(#pk) AND (attribute_not_exists(last_used_at) OR last_used_at <= :before)",
        values={":now": now, ":before": now - MINUTE},
        names={"#pk": "pk"},
    )
    forget(key.id)


def of_owner(user_id: str, *, before: str | None, limit: int) -> tuple[list[ApiKey], str | None]:
    """A page of the user's keys, newest first, and ``before`` for the next page (None on the last page)."""
    ranges = keys.api_keys_of_owner(user_id)
    found, position = table.newest(keys.BY_OWNER, ranges, before=before, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position


def change(
    key_id: str,
    owner: str,
    *,
    name: str | None = None,
    permissions: tuple[str, ...] | None = None,
    enabled: bool | None = None,
    revoked: bool | None = None,
) -> ApiKey:
    """Change the given attributes of the owner's key. Raises ApiKeyNotFound if the owner has no such key."""
    changes: Item = {
        "name": name,
        "permissions": None if permissions is None else json.dumps(permissions),
        "enabled": enabled,
        "revoked": revoked,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    done, item = table.update_one(
        keys.api_key(key_id),
        "SET " + ", ".join(f"#{field} = :{field}" for field in given),
        condition="user_id = :owner",
        values={":owner": owner, **{f":{field}": value for field, value in given.items()}},
        names={f"#{field}": field for field in given},
    )
    if not done or item is None:
        raise ApiKeyNotFound("API key not found", id=key_id)
    forget(key_id)
    return from_item(item)


def delete(key_id: str, owner: str) -> None:
    """Delete the owner's key and lower their number of keys. Raises ApiKeyNotFound if the owner has no such key."""
    not_found = ApiKeyNotFound("API key not found", id=key_id)
    action = table.delete(keys.api_key(key_id), condition="user_id = :owner", values={":owner": owner})
    table.transact([Write(action, refused=lambda _: not_found), counts.one_less(keys.api_key_count(owner))])
    forget(key_id)


def forget(key_id: str | None = None) -> None:
    """Drop a key, or all keys, from this process's cache."""
    _cache.forget(key_id)


def to_item(key: ApiKey) -> Item:
    return {
        **keys.api_key(key.id),
        **keys.api_key_of_owner(key.user_id, key.id, key.created_at),
        "id": key.id,
        "user_id": key.user_id,
        "name": key.name,
        "permissions": json.dumps(key.permissions),
        "secret_hash": key.secret_hash,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "enabled": key.enabled,
        "revoked": key.revoked,
        "account_id": key.account_id,
    }


def from_item(item: Item) -> ApiKey:
    return ApiKey(
        id=item["id"],
        user_id=item["user_id"],
        name=item["name"],
        permissions=tuple(json.loads(item["permissions"])),
        secret_hash=item["secret_hash"],
        created_at=item["created_at"],
        expires_at=item.get("expires_at"),
        last_used_at=item.get("last_used_at"),
        enabled=item["enabled"],
        revoked=item["revoked"],
        account_id=stored(item["account_id"]) if "account_id" in item else None,
    )
