"""Lots as one short JSON text: no condition looks into them.

``[[life, …], [number, credits, expiry, life, grace, more…], …]``: the first array has the different lives of the lots
in seconds, from grant to expiry. A lot's number and expiry (in seconds) are differences to the lot before it, its life
is its place in the first array, ``grace`` is 0 or 1 and may be missing. What follows is a newer version's, and kept.
"""

import json
from collections.abc import Iterable
from typing import Any

from accounting.domain.lots import SECOND, Lot
from accounting.store.table import compact


def to_text(lots: Iterable[Lot]) -> str:
    """The text of lots."""
    lives: dict[int, int] = {}
    rows: list[list[Any]] = []
    number = expiry = 0
    for lot in lots:
        expires_at, granted_at = lot.expires_at // SECOND, lot.granted_at // SECOND
        life = lives.setdefault(expires_at - granted_at, len(lives))
        row = [lot.number - number, lot.credits, expires_at - expiry, life]
        if lot.grace or lot.more:
            row += [int(lot.grace), *lot.more]
        rows.append(row)
        number, expiry = lot.number, expires_at
    return compact([list(lives), *rows])


def from_text(text: str) -> tuple[Lot, ...]:
    """The lots of a text. Raises ValueError, TypeError or IndexError for any other text."""
    lives, *rows = json.loads(text)
    lots = []
    number = expiry = 0
    for number_step, credits, expiry_step, life, *others in rows:
        number, expiry = number + number_step, expiry + expiry_step
        grace, *more = others or (0,)
        lots.append(Lot(number, credits, expiry * SECOND, (expiry - lives[life]) * SECOND, bool(grace), tuple(more)))
    return tuple(lots)
