"""The simulation confirms what docs/scale.md says about one busy user.

`tests/documentation/test_bench.py` checks the table of that page.
"""

import pytest

from bench.queueing import SHAPE, run

CONSTANT = 1e6
"""A shape of the gamma distribution that makes the simulated times of DynamoDB almost constant."""


@pytest.mark.parametrize("shape", [SHAPE, CONSTANT])
def test_99_percent_of_commands_take_at_most_300_ms_at_a_rate_of_60_a_second(shape: float) -> None:
    found = run(60, seconds=120, shape=shape)

    assert len(found.latencies) > 7_000
    assert found.given_up == 0
    assert found.percentile(0.99) <= 0.3
    assert found.units <= 25


def test_a_user_who_begins_and_ends_sessions_gets_55_commands_a_second() -> None:
    """An attempt takes 6 of the partition's write units on average: 4 for initialize, 8 for finalize.

    At 60 commands a second, a command needs about 2.7 attempts. That is about 970 write units a second on average, so
    bursts exceed the partition's 1,000.
    """
    fine, throttled = run(55, seconds=120, units=6), run(60, seconds=120, units=6)

    assert fine.percentile(0.99) <= 0.25
    assert throttled.throttled > 10 * fine.throttled


def test_a_saturated_wallet_keeps_its_throughput() -> None:
    eighty, hundred = run(80, seconds=30), run(100, seconds=30)

    assert hundred.given_up > 0
    assert len(hundred.latencies) >= 0.95 * len(eighty.latencies)


def test_commands_take_at_most_25_write_units_on_average_when_the_wallet_is_saturated() -> None:
    found = run(150, seconds=30)

    assert found.throttled > 0
    assert found.units <= 25
