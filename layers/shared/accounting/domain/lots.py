"""Credits that expire together. Imports nothing of ours.

A lot is a grant's, or what is left of it; the part of a lot that a session holds has the same form. Times are epoch
milliseconds in whole seconds.
"""

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from accounting.domain.accounts import AccountId

MAX_LOTS = 1000
SECOND = 1000


class Lot(NamedTuple):
    """``number`` is the allocation's that the credits came with, 0 of credits that no allocation brought.

    ``grace`` marks credits that already outlived their own expiry once. ``more`` is what a newer version keeps with a
    lot; this one hands it on.
    """

    number: int
    credits: int
    expires_at: int
    granted_at: int
    grace: bool = False
    more: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """Burn order: soonest expiry first, then oldest."""
        return self.expires_at, self.number

    def is_of(self, other: "Lot") -> bool:
        """Whether both are credits of one grant that expire together."""
        return (self[:1], self[2:]) == (other[:1], other[2:])


def whole_second(at: int) -> int:
    """The first whole second from ``at`` on."""
    return -(-at // SECOND) * SECOND


def allocation_id(account_id: AccountId, number: int) -> str:
    """The public id of an account's allocation."""
    return hashlib.sha256(f"{account_id}#{number}".encode()).hexdigest()[:26]


def add(lots: list[Lot], lot: Lot) -> None:
    """Add credits to the lot that they are of, or as a lot of their own in burn order."""
    for index, known in enumerate(lots):
        if known.is_of(lot):
            lots[index] = known._replace(credits=known.credits + lot.credits)
            return
    lots.append(lot)
    lots.sort(key=lambda each: each.order)


def merged(*holds: Iterable[Lot]) -> tuple[Lot, ...]:
    """One hold out of several, in burn order."""
    lots: list[Lot] = []
    for part in (part for parts in holds for part in parts):
        add(lots, part)
    return tuple(lots)


def split(parts: Iterable[Lot], used: int) -> tuple[int, list[Lot]]:
    """How much is held, and the parts of it that remain after the first ``used`` credits."""
    held, unused = 0, []
    for part in sorted(parts, key=lambda each: each.order):
        taken = min(part.credits, max(0, used - held))
        held += part.credits
        if taken < part.credits:
            unused.append(part._replace(credits=part.credits - taken))
    return held, unused


def nearest_pair(lots: list[Lot]) -> int | None:
    """The place of the first of the two neighbors of equal terms that expire nearest to each other."""
    pairs = [
        (later.expires_at - sooner.expires_at, place)
        for place, (sooner, later) in enumerate(pairwise(lots))
        if (sooner.grace, sooner.more) == (later.grace, later.more)
    ]
    return min(pairs)[1] if pairs else None
