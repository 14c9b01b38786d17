"""How much the benchmark measures. `SCALE=0.1` measures about a tenth, to check quickly that it works."""

from __future__ import annotations

import os
from itertools import accumulate
from math import nan
from typing import TYPE_CHECKING

from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence


def scale() -> float:
    """Return `SCALE`, by default 1. Raises Refused unless it is above 0 and at most 1."""
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
    """Return the scaled counts. ``counts`` must rise, and each result is greater than the one before."""
    _, *found = accumulate(counts, lambda last, count: scaled(count, last + 1), initial=0)
    return found
