"""Lots: credits that were granted together and expire together.

A lot is what is left of a grant. The part of a lot that a session holds is a ``Lot``, too. Times are epoch
milliseconds, and multiples of 1,000.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from accounting.domain.accounts import AccountId

MAX_LOTS = 1000
SECOND = 1000


class Lot(NamedTuple):
    """``number`` is the number of the allocation that granted the credits, or 0 if none did.

    ``grace`` marks credits that were kept beyond their expiry. They are not kept a second time. ``more`` has the values
    that a newer version of the service stored with the lot. This version keeps them unchanged.
    """

    number: int
    credits: int
    expires_at: int
    granted_at: int
    grace: bool = False
    more: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """Burn order, which is the order of spending: soonest expiry first, then the oldest lot."""
        return self.expires_at, self.number

    def equals_but_for_credits(self, other: "Lot") -> bool:
        return (self[:1], self[2:]) == (other[:1], other[2:])


def whole_second(at: int) -> int:
    """``at``, rounded up to a whole second."""
    return -(-at // SECOND) * SECOND


def allocation_id(account_id: AccountId, number: int) -> str:
    """The public id of an account's allocation."""
    return hashlib.sha256(f"{account_id}#{number}".encode()).hexdigest()[:26]


def add(lots: list[Lot], lot: Lot) -> None:
    """Add ``lot`` to ``lots``, which are in burn order.

    If ``lots`` has a lot that is equal except for its credits, the two become one.
    """
    for index, known in enumerate(lots):
        if known.equals_but_for_credits(lot):
            lots[index] = known._replace(credits=known.credits + lot.credits)
            return
    lots.append(lot)
    lots.sort(key=lambda each: each.order)


def merged(*holds: Iterable[Lot]) -> tuple[Lot, ...]:
    """The parts of several holds as one hold, in burn order."""
    lots: list[Lot] = []
    for part in (part for parts in holds for part in parts):
        add(lots, part)
    return tuple(lots)


def split(parts: Iterable[Lot], used: int) -> tuple[int, list[Lot]]:
    """The sum of the parts' credits, and the parts that remain after ``used`` credits are taken in burn order."""
    held, unused = 0, []
    for part in sorted(parts, key=lambda each: each.order):
        taken = min(part.credits, max(0, used - held))
        held += part.credits
        if taken < part.credits:
            unused.append(part._replace(credits=part.credits - taken))
    return held, unused


def nearest_pair(lots: list[Lot]) -> int | None:
    """Find the two neighbors whose expiries are closest to each other. Return the index of the first.

    Neighbors that differ in ``grace`` or ``more`` do not count. Return None if there are no two neighbors.
    """
    pairs = [
        (later.expires_at - sooner.expires_at, place)
        for place, (sooner, later) in enumerate(pairwise(lots))
        if (sooner.grace, sooner.more) == (later.grace, later.more)
    ]
    return min(pairs)[1] if pairs else None
