"""How often the local AWS saves its data. Standard library only: MiniStack's own environment imports it too."""

from __future__ import annotations

LEAST_PAUSE_SECONDS = 2.0
MOST_PAUSE_SECONDS = 5.0
PAUSE_TO_SAVE = 20


def pause_after(save_seconds: float) -> float:
    """Return how many seconds to wait after a save of this duration. A save keeps a processor busy.

    The pause is 20 times as long as the save, but at least 2 and at most 5 seconds, so that a kill loses only the last
    seconds. After a save of more than 5 seconds, the pause is as long as the save.
    """
    most = max(MOST_PAUSE_SECONDS, save_seconds)
    return min(max(LEAST_PAUSE_SECONDS, PAUSE_TO_SAVE * save_seconds), most)
