"""The ledger's entries: immutable, numbered without gaps, chained by hashes."""

import hashlib
import json
from typing import Literal, NamedTuple

from accounting.domain.accounts import AccountId

SYSTEM = "system"
"""The actor of changes that no caller asked for: lots expire or are merged, and the sweeper ends stale sessions and
empties the wallets of closed organizations."""

Kind = Literal[
    "grant", "hold", "settle", "release", "charge", "remove", "set", "adjust", "expire", "repay", "write_off", "merge"
]

FIRST_FORMAT = 1
FORMAT = 2
"""The newest entry format, for entries with an API key or a run. All other entries are written in ``FIRST_FORMAT``."""

_OF_FIRST_FORMAT = (
    "account_id",
    "seq",
    "kind",
    "credits",
    "charged",
    "available_after",
    "held_after",
    "debt_after",
    "at",
    "actor",
    "reason_digest",
    "session_id",
    "allocation_id",
    "usage_id",
)

OF_SECOND_FORMAT = ("key_id", "run_id")
"""The fields that an entry of the first format lacks."""

_HASHED = {FIRST_FORMAT: _OF_FIRST_FORMAT, FORMAT: (*_OF_FIRST_FORMAT, *OF_SECOND_FORMAT)}
"""The fields that an entry's hash covers, by format. A format never changes once an entry has been written in it."""


class Cause(NamedTuple):
    """Who asked for a change, when, why, and with which ids. ``actor`` is a user id, a service or ``SYSTEM``.

    ``salt`` is random text, so that nobody can guess an erased ``reason`` from its digest.
    """

    actor: str
    at: int
    reason: str = ""
    salt: str = ""
    session_id: str | None = None
    usage_id: str | None = None
    key_id: str | None = None
    run_id: str | None = None


class Entry(NamedTuple):
    """One line of an account's ledger. ``seq`` counts from 1 without gaps.

    ``credits`` is the signed change of what can be spent; ``charged`` is what was charged for usage. If a hold of 5
    is settled for 4, ``credits`` is 1 (the refund) and ``charged`` is 4. ``key_id`` is the API key that was used, if
    any. ``run_id`` is the run that the entry counts for, if any. The hash covers ``reason_digest`` instead of
    ``reason``, so the chain can still be proved after a reason with personal text was erased.
    """

    account_id: AccountId
    seq: int
    kind: Kind
    credits: int
    charged: int
    available_after: int
    held_after: int
    debt_after: int
    at: int
    actor: str
    reason: str = ""
    salt: str = ""
    reason_digest: str = ""
    session_id: str | None = None
    allocation_id: str | None = None
    usage_id: str | None = None
    key_id: str | None = None
    run_id: str | None = None
    hash: str = ""
    format: int = FIRST_FORMAT

    def hashed(self, predecessor: str) -> str:
        """What ``hash`` must be: SHA-256, in hexadecimal, of a JSON array.

        The array has ``format``, ``predecessor`` (the previous entry's hash, empty for the first entry) and the fields
        that ``_HASHED`` lists for the format, in that order. It has no blanks and only ASCII characters; a missing id
        is null.
        """
        content = [self.format, predecessor, *(getattr(self, name) for name in _HASHED[self.format])]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    @property
    def reason_fits(self) -> bool:
        """Whether the reason matches its digest. An empty reason (never given, or erased) must have no salt."""
        return self.reason_digest == digest(self.reason, self.salt) if self.reason else not self.salt


class Unreadable(NamedTuple):
    """An item in a ledger that does not have the form of an entry. ``seq`` is None if the item's key has no number."""

    seq: int | None
    hash: str


class NewerEntry(NamedTuple):
    """An entry that a newer version of the service wrote, in a format that this version does not know."""

    seq: int


def digest(reason: str, salt: str) -> str:
    """The salted SHA-256 of a text in hexadecimal; empty for an empty text."""
    return hashlib.sha256((salt + reason).encode()).hexdigest() if reason else ""
