"""How much is measured: everything, or the part that `SCALE` gives, to check that the benchmark works."""

from __future__ import annotations

import os
from itertools import accumulate
from math import nan
from typing import TYPE_CHECKING

from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence


def scale() -> float:
    """Return the part to measure: above 0, by default 1. Raises Refused for an invalid `SCALE`."""
    text = os.environ.get("SCALE") or "1"
    try:
        part = float(text)
    except ValueError:
        part = nan
    if not 0 < part <= 1:
        raise Refused(f"SCALE must be a number above 0 and at most 1, not {text}")
    return part


def scaled(count: int, least: int = 1) -> int:
    """Return how much of ``count`` to measure: at least ``least``, but at most ``count``."""
    return max(min(count, least), round(count * scale()))


def growing(counts: Sequence[int]) -> list[int]:
    """Return how much of each count to measure. The results rise as the counts do."""
    _, *found = accumulate(counts, lambda last, count: scaled(count, last + 1), initial=0)
    return found
