"""The local AWS pauses between saves of its data.

The pauses are so short that a kill loses only seconds, and so long that saving takes at most half of the time.
"""

import pytest

from local.saving import pause_after


@pytest.mark.parametrize(
    ("save_seconds", "pause_seconds"),
    [(0, 2), (0.01, 2), (0.1, 2), (0.2, 4), (0.25, 5), (0.4, 5), (3, 5), (5, 5), (8, 8)],
)
def test_a_pause_takes_two_to_five_seconds_or_as_long_as_a_slow_save(save_seconds: float, pause_seconds: float) -> None:
    assert pause_after(save_seconds) == pytest.approx(pause_seconds)
