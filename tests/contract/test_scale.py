"""What docs/scale.md says about a hot user; tests/documentation regenerates its table."""

from bench.queueing import run


def test_a_saturated_wallet_keeps_its_throughput() -> None:
    eighty, hundred = run(80, seconds=30), run(100, seconds=30)

    assert hundred.given_up > 0
    assert len(hundred.latencies) >= 0.95 * len(eighty.latencies)
