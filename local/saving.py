"""How often the local AWS saves its data.

This module also runs in the virtual environment of MiniStack (the local AWS), so it may import only the standard
library.
"""

from __future__ import annotations

LEAST_PAUSE_SECONDS = 2.0
MOST_PAUSE_SECONDS = 5.0
PAUSE_FACTOR = 20


def pause_after(save_seconds: float) -> float:
    """Return how many seconds to wait after a save that took ``save_seconds``.

    The pause is 20 times as long as the save, but at least 2 and at most 5 seconds. Shorter pauses would keep a
    processor busy. With longer pauses, a kill would lose more data. There is one exception: after a save of more than
    5 seconds, the pause is as long as the save.
    """
    most = max(MOST_PAUSE_SECONDS, save_seconds)
    return min(max(LEAST_PAUSE_SECONDS, PAUSE_FACTOR * save_seconds), most)
