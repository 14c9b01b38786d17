"""Ids for sessions: UUIDv7s, which begin with the time when they were made (RFC 9562).

The service lists sessions with such ids by the time in the ids, without index entries. This saves one DynamoDB write
unit for each session.
"""

from __future__ import annotations

import secrets
import time
from uuid import UUID

_FIRST_BITS, _STEP_BITS = 73, 60
"""An id has 74 free bits besides the time. The first id of a millisecond fills them with a random number below 2^73.

Each later id of the same millisecond has the number of the id before, plus a random step of at most 2^60. So at least
8,192 steps fit into the 74 bits.
"""

_last = 0, 0
"""The time and random bits of the newest id.

No lock guards them, because a process that is forked while a thread holds the lock could never acquire it. Ids that
threads make at the same time differ by their random bits.
"""


def new_session_id() -> str:
    """A new UUIDv7 in standard form. It sorts after earlier ids, unless threads race or the clock was turned back."""
    global _last  # noqa: PLW0603 - keeps the ids of one millisecond in order
    at, (last_at, last_bits) = time.time_ns() // 1_000_000, _last
    bits = last_bits + 1 + secrets.randbits(_STEP_BITS) if at == last_at else secrets.randbits(_FIRST_BITS)
    _last = at, bits
    return str(UUID(int=at << 80 | 0x7 << 76 | bits >> 62 << 64 | 0b10 << 62 | bits & ((1 << 62) - 1)))
