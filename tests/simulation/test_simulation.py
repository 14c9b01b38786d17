"""Runs the simulation with a few seeds. ``make simulate`` runs it with more."""

import pytest

from tests.simulation.simulation import Simulation

SLOW_SEEDS = range(11, 41, 10)


@pytest.mark.parametrize("first", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in SLOW_SEEDS)])
def test_no_promise_is_broken(first: int) -> None:
    for seed in range(first, first + 10):
        Simulation(seed).run()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def test_a_seed_always_gives_the_same_run(seed: int) -> None:
    assert trace_of(seed) == trace_of(seed)


def trace_of(seed: int) -> str:
    """A hash of every call and its outcome."""
    simulation = Simulation(seed)
    simulation.run()
    return simulation.connection.trace.hexdigest()
