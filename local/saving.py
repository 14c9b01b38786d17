"""How often the local AWS saves its data.

This module also runs in MiniStack's own environment, so it may import only the standard library.
"""

from __future__ import annotations

LEAST_PAUSE_SECONDS = 2.0
MOST_PAUSE_SECONDS = 5.0
PAUSE_TO_SAVE = 20


def pause_after(save_seconds: float) -> float:
    """Return how many seconds to wait after a save that took ``save_seconds``.

    A save keeps a processor busy, so the pause is 20 times as long as the save, and at least 2 seconds. A kill should
    lose only the last seconds, so the pause is at most 5 seconds, or as long as the save if the save took longer.
    """
    most = max(MOST_PAUSE_SECONDS, save_seconds)
    return min(max(LEAST_PAUSE_SECONDS, PAUSE_TO_SAVE * save_seconds), most)
