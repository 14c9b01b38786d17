"""A few seeds of the simulation; ``make simulate`` runs more."""

import pytest

from tests.simulation.simulation import Simulation

SEEDS = range(1, 41)


@pytest.mark.parametrize("first", SEEDS[::10])
def test_no_promise_is_broken(first: int) -> None:
    for seed in range(first, first + 10):
        Simulation(seed).run()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_always_gives_the_same_run(seed: int) -> None:
    assert trace_of(seed) == trace_of(seed)


def trace_of(seed: int) -> str:
    """A hash of every call and its outcome."""
    simulation = Simulation(seed)
    simulation.run()
    return simulation.connection.trace.hexdigest()
