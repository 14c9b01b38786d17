"""The local AWS pauses between saves. A kill loses only the last seconds, and saving takes at most half of the time."""

import pytest

from local.saving import pause_after


@pytest.mark.parametrize(
    ("save_seconds", "pause_seconds"),
    [(0, 2), (0.01, 2), (0.1, 2), (0.2, 4), (0.25, 5), (0.4, 5), (3, 5), (5, 5), (8, 8)],
)
def test_a_pause_is_at_most_five_seconds_unless_the_save_before_it_took_longer(
    save_seconds: float, pause_seconds: float
) -> None:
    assert pause_after(save_seconds) == pytest.approx(pause_seconds)
