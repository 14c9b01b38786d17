"""The ledger's entries: immutable, numbered without gaps, chained by hashes. Imports nothing of ours."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from accounting.domain.accounts import AccountId

SYSTEM = "system"
"""The actor of what nobody asked for: expiry, and the end of stale sessions."""

Kind = Literal[
    "grant", "hold", "settle", "release", "charge", "remove", "set", "adjust", "expire", "repay", "write_off", "merge"
]

FORMAT = 1
"""The newest format of an entry, which is what this version writes."""

_HASHED: dict[int, tuple[str, ...]] = {
    1: (
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
}
"""The fields that an entry's hash covers, by its format. A format that was written is never changed."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Who asked for a change, when and why, and what it belongs to. ``actor`` is a user id, a service or ``SYSTEM``.

    ``salt`` is random text: nobody can guess an erased ``reason`` from its digest.
    """

    actor: str
    at: int
    reason: str = ""
    salt: str = ""
    session_id: str | None = None
    usage_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an account's ledger. ``seq`` is gapless from 1.

    ``credits`` is the signed change of what can be spent; ``charged`` what left the account for good. A settle of
    a hold of 5 for 4 has ``credits`` 1 (it came back) and ``charged`` 4. The hash covers ``reason_digest`` in place of
    ``reason``, so that personal text can be erased while the chain stays provable.
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
    hash: str = ""
    format: int = FORMAT

    def hashed(self, predecessor: str) -> str:
        """What ``hash`` must be: SHA-256, in hexadecimal, of a JSON array.

        The array has ``format``, ``predecessor`` (the hash of the entry before, empty for the first) and the fields
        that the format names, in their order, without blanks, its text ASCII; an id that is missing is null.
        """
        content = [self.format, predecessor, *(getattr(self, name) for name in _HASHED[self.format])]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    @property
    def reason_fits(self) -> bool:
        """Whether the reason is what its digest was made of, or was erased together with its salt."""
        return self.reason_digest == digest(self.reason, self.salt) if self.reason else not self.salt


def digest(reason: str, salt: str) -> str:
    """The salted digest of a text, empty of an empty one."""
    return hashlib.sha256((salt + reason).encode()).hexdigest() if reason else ""
