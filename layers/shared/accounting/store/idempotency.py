"""Idempotency records: the answer to a request, written in the same transaction as the request's effects."""

from typing import NamedTuple

from accounting.store import keys, table
from accounting.store.formats import FORMAT
from accounting.store.table import Item, Write
from accounting.times import DAY

KEPT = 7 * DAY


class IdempotencyKey(NamedTuple):
    """A caller's key for one request to one route. ``fingerprint`` is a digest of the request's values."""

    caller: str
    route: str
    key: str
    fingerprint: str


class Record(NamedTuple):
    """The fingerprint of the request that a key was used for, and the answer to this request, as JSON."""

    fingerprint: str
    answer: str
    format: int = FORMAT


class Repeated(Exception):
    """The ``key`` was used before, for the request in ``record``."""

    def __init__(self, key: IdempotencyKey, record: Record) -> None:
        super().__init__(key.key)
        self.key = key
        self.record = record


def put(key: IdempotencyKey, answer: str, now: int) -> Write:
    """Store the answer. Refused with Repeated if the key already has an answer that is still valid."""
    key_is_new = "attribute_not_exists(pk)"
    # DynamoDB may delete an item days after its TTL, so the condition also accepts an item whose TTL has passed.
    key_has_run_out = "#ttl <= :now"
    action = table.put(
        {
            **keys.idempotency(key.caller, key.route, key.key),
            "fingerprint": key.fingerprint,
            "answer": answer,
            "ttl": (now + KEPT) // 1000,
        },
        condition=f"{key_is_new} OR {key_has_run_out}",
        values={":now": now // 1000},
        names={"#ttl": "ttl"},
    )

    def refused(old: Item | None) -> Exception:
        return Repeated(key, _record(old)) if old else table.Conflict()

    return Write(action, refused=refused)


def find(key: IdempotencyKey, now: int) -> Record | None:
    """The record of the key, or None if it has no valid record."""
    item = table.get(keys.idempotency(key.caller, key.route, key.key))
    return _record(item) if item and item["ttl"] > now // 1000 else None


def _record(item: Item) -> Record:
    return Record(item["fingerprint"], item["answer"], item["format"])
