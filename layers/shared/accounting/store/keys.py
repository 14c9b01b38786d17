"""Every key of the table; no key is built anywhere else. Imports ``times`` only.

A function returns the attributes of one key: ``pk`` and ``sk`` of the table, or the pair of an index. What each
entity's keys are for stands in docs/data-model.md.
"""

from typing import NamedTuple
from zlib import crc32

from accounting.times import iso

type Key = dict[str, str]

SHARDS = 8
"""Over how many partitions each system-wide list is spread."""

BY_OWNER = "by_owner"
BY_KIND = "by_kind"
DUE = "due"

INDEX_KEYS = {BY_OWNER: ("owner_pk", "owner_sk"), BY_KIND: ("kind_pk", "kind_sk"), DUE: ("due_pk", "due_sk")}

BEFORE_ALL_TIMES = "0"
AFTER_ALL_TIMES = "~"


class Range(NamedTuple):
    """The part of an index's partition whose sort keys begin with ``prefix``; a time follows it."""

    pk: str
    prefix: str


def profile(user_id: str) -> Key:
    """The user as the tokens describe them."""
    return {"pk": f"USER#{user_id}", "sk": "PROFILE"}


def email(address: str) -> Key:
    """The pointer from an e-mail address, in any case, to its user."""
    return {"pk": f"EMAIL#{address.lower()}", "sk": "EMAIL"}


def wallet(user_id: str) -> Key:
    """The user's credits."""
    return {"pk": f"USER#{user_id}", "sk": "WALLET"}


def allocation(user_id: str, number: int) -> Key:
    """The user's nth grant, from 1: numbers without gaps make any page of the list one range."""
    return {"pk": f"USER#{user_id}", "sk": f"ALLOC#{number:012d}"}


def entry(user_id: str, seq: int) -> Key:
    """The user's nth ledger entry, from 1."""
    return {"pk": f"USER#{user_id}", "sk": f"ENTRY#{seq:012d}"}


def session(user_id: str, session_id: str) -> Key:
    """A streaming session; its id is the client's and unique per user."""
    return {"pk": f"USER#{user_id}", "sk": f"SESSION#{session_id}"}


def usage(user_id: str, at: int, record_id: str) -> Key:
    """A usage record, in time order."""
    return {"pk": f"USER#{user_id}", "sk": f"USAGE#{iso(at)}#{record_id}"}


def day_rollup(user_id: str, day: str, spread: int = 0) -> Key:
    """The sums of a user's day; writers that would meet may spread, readers add up."""
    return {"pk": f"USER#{user_id}", "sk": f"DAY#{day}#{spread}"}


def idempotency(caller: str, route: str, key: str) -> Key:
    """The answer to a request with an idempotency key; keys are the caller's own, per route."""
    return {"pk": f"USER#{caller}", "sk": f"IDEM#{route}#{key}"}


def price(model_id: str, effective_from: int) -> Key:
    """A price rule."""
    return {"pk": f"PRICE#{model_id}", "sk": f"FROM#{iso(effective_from)}"}


def user_in_role(role: str, user_id: str, created_at: int) -> Key:
    """Where the lists of users find one: by role, in order of creation."""
    return {"kind_pk": f"USERS#{role}#{_shard(user_id)}", "kind_sk": f"{iso(created_at)}#{user_id}"}


def active_session(user_id: str, session_id: str, started_at: int) -> Key:
    """Where the owner's active sessions are found, in time order."""
    return {"owner_pk": f"USER#{user_id}", "owner_sk": f"ACTIVE#{iso(started_at)}#{session_id}"}


def ended_session(user_id: str, session_id: str, started_at: int) -> Key:
    """Where the owner's ended sessions are found, in time order."""
    return {"owner_pk": f"USER#{user_id}", "owner_sk": f"ENDED#{iso(started_at)}#{session_id}"}


def session_of_all(user_id: str, session_id: str, started_at: int) -> Key:
    """Where everybody's sessions, active and ended, are found in time order; it never changes."""
    return {
        "kind_pk": f"SESSIONS#{_shard(session_id)}",
        "kind_sk": f"{iso(started_at)}#{session_id}#{user_id}",
    }


def session_due(user_id: str, session_id: str, due_at: int) -> Key:
    """When an active session is to be looked at; only active ones have it."""
    return {
        "due_pk": f"DUE#SESSION#{_shard(session_id)}",
        "due_sk": f"{iso(due_at)}#{session_id}#{user_id}",
    }


def wallet_due(user_id: str, expires_at: int) -> Key:
    """When a wallet's first lot expires; only wallets with lots have it."""
    return {"due_pk": f"DUE#WALLET#{_shard(user_id)}", "due_sk": f"{iso(expires_at)}#{user_id}"}


def active_of_owner(user_id: str) -> list[Range]:
    """A user's active sessions, in ``by_owner``."""
    return [Range(f"USER#{user_id}", "ACTIVE#")]


def ended_of_owner(user_id: str) -> list[Range]:
    """A user's ended sessions, in ``by_owner``."""
    return [Range(f"USER#{user_id}", "ENDED#")]


def active_of_all() -> list[Range]:
    """Everybody's active sessions, in ``due``."""
    return [Range(f"DUE#SESSION#{shard}", "") for shard in range(SHARDS)]


def sessions_of_all() -> list[Range]:
    """Everybody's sessions, in ``by_kind``."""
    return [Range(f"SESSIONS#{shard}", "") for shard in range(SHARDS)]


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS
