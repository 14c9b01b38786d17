"""What docs/scale.md says of a hot user is what the simulation says."""

import re
from pathlib import Path

import pytest

from bench.queueing import SECONDS, run

PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()


@pytest.mark.parametrize("rate", [1, 10, 40])
def test_a_row_of_the_table_is_simulated(rate: int) -> None:
    found = run(rate)
    done = len(found.latencies)
    p50, p99 = (f"{found.percentile(share) * 1000:,.0f}" for share in (0.5, 0.99))
    attempts = f"{1 + (found.moved + found.conflicts) / (done + found.given_up):.1f}"

    assert re.search(
        rf"^\| {rate} \| {done / SECONDS:.1f} \| 0.0 % \| {attempts} \| {p50} ms \| {p99} ms \|$", PAGE, re.MULTILINE
    )


def test_a_saturated_wallet_goes_on_at_its_pace() -> None:
    eighty, hundred = run(80, seconds=30), run(100, seconds=30)

    assert hundred.given_up > 0
    assert len(hundred.latencies) >= 0.95 * len(eighty.latencies)
