"""The lots of a wallet or a session, stored as one text.

A lot is credits that were granted together and expire together. One text is enough, because no write has a condition on
a single lot.

``granted,credits,life,number,grace,more…;…`` has a row for each lot, in the order of the lots' numbers. Integers are in
base 36, and times in seconds. ``granted`` and ``number`` are stored as differences from the previous row, or from 0 in
the first row. ``life`` is the time from grant to expiry. ``grace`` is 1 if a refund has extended the lot's life, else
0. ``more`` are fields that a newer version of the service added; this version keeps them. A row has only its first
three fields if the difference of ``number`` is 1, ``grace`` is 0, and there is no ``more``.
"""

from collections.abc import Iterable
from operator import itemgetter
from string import ascii_lowercase, digits

from accounting.domain.lots import SECOND, Lot

_PAIRS = [high + low for high in digits + ascii_lowercase for low in digits + ascii_lowercase]
_SHORT = [pair.lstrip("0") or "0" for pair in _PAIRS]

_by_number = itemgetter(Lot._fields.index("number"))
_in_burn_order = itemgetter(Lot._fields.index("expires_at"), Lot._fields.index("number"))


def to_text(lots: Iterable[Lot]) -> str:
    rows = []
    last_number = last_granted = 0
    for number, credits, expires_at, granted_at, grace, more in sorted(lots, key=_by_number):
        granted, step = granted_at // SECOND, number - last_number
        row = f"{_base_36(granted - last_granted)},{_base_36(credits)},{_base_36(expires_at // SECOND - granted)}"
        if step != 1 or grace or more:
            row = ",".join([row, _base_36(step), str(int(grace)), *more])
        rows.append(row)
        last_number, last_granted = number, granted
    return ";".join(rows)


def from_text(text: str) -> tuple[Lot, ...]:
    """The lots in a text, soonest expiry first, then oldest. Raises ValueError or AttributeError for invalid texts."""
    lots = []
    number = granted_at = 0
    for row in text.split(";") if text else ():
        granted, credits, life, *others = row.split(",")
        granted_at += int(granted, 36) * SECOND
        expires_at = granted_at + int(life, 36) * SECOND
        if others:
            step, grace, *more = others
            number += int(step, 36)
            lots.append(Lot(number, int(credits, 36), expires_at, granted_at, grace == "1", tuple(more)))
        else:
            number += 1
            lots.append(Lot(number, int(credits, 36), expires_at, granted_at))
    return tuple(sorted(lots, key=_in_burn_order))


def _base_36(value: int) -> str:
    if 0 <= value < len(_SHORT):
        return _SHORT[value]
    if value < 0:
        return f"-{_base_36(-value)}"
    return _base_36(value // len(_PAIRS)) + _PAIRS[value % len(_PAIRS)]
