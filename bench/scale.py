"""How much of everything is measured: all of it, or the part that `SCALE` says, to see that the benchmark works."""

from __future__ import annotations

import os
from itertools import accumulate
from math import nan
from typing import TYPE_CHECKING

from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence


def scale() -> float:
    """Return the part that is measured: above 0, and 1 unless something else is said. Raises Refused."""
    said = os.environ.get("SCALE") or "1"
    try:
        part = float(said)
    except ValueError:
        part = nan
    if not 0 < part <= 1:
        raise Refused(f"SCALE is a number above 0, and 1 at most, not {said}")
    return part


def scaled(count: int, least: int = 1) -> int:
    """Return how much of ``count`` is measured: ``least`` or more, but never more than there is."""
    return max(min(count, least), round(count * scale()))


def growing(counts: Sequence[int]) -> list[int]:
    """Return how much of each is measured, which is more than of the one before, as the counts themselves are."""
    _, *found = accumulate(counts, lambda last, count: scaled(count, last + 1), initial=0)
    return found
