"""The simulation notices if a write of the service lacks one of its conditions."""

import pytest

from tests.simulation.sabotage import SABOTAGES
from tests.simulation.simulation import Simulation, Violation

SEEDS = range(1, 31)
"""At least one of these seeds must detect each sabotage, which removes a condition from the service's writes.

Measured: the sabotage ``heartbeat`` is detected by about one seed in eight, and every other sabotage by a third of the
seeds or more.
"""


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_missing_condition_is_detected(sabotage: str) -> None:
    assert any(breaks(seed, sabotage) for seed in SEEDS)


def breaks(seed: int, sabotage: str) -> bool:
    try:
        Simulation(seed).run(sabotage)
    except Violation:
        return True
    return False
