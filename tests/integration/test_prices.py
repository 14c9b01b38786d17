"""Prices: from the rules, cached for a minute, right at every boundary."""

import pytest

from accounting.domain.pricing import PriceRule
from accounting.operations import credits
from accounting.store import prices
from accounting.times import MINUTE
from tests.calls import Calls
from tests.integration.conftest import NOW


class Clock:
    """The process's monotonic clock, set by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(prices, "time", clock)
    return clock


def price(at: int = NOW) -> int:
    return prices.price_at("m", at)


def test_a_model_without_rules_has_the_documented_price() -> None:
    assert credits.cost("m", 1_500, NOW) == (2, 10_000)
    assert credits.cost("amazon.titan-text-express-v1", 1_000_000, NOW) == (300, 3_000)


def test_exact_prices() -> None:
    prices.put(PriceRule("m", 11_000, NOW))
    prices.put(PriceRule("n", 175, NOW))

    assert credits.cost("m", 110_000, NOW)[0] == 121
    assert credits.cost("n", 400_000, NOW)[0] == 7


def test_a_price_is_read_once_a_minute(process: Clock, calls: Calls) -> None:
    first = price()
    prices.put(PriceRule("m", 50_000, NOW))
    calls.reset()

    process.seconds += 59.9
    cached = (price(), calls.round_trips)
    process.seconds += 0.1
    fresh = (price(), calls.round_trips)

    assert (first, cached, fresh) == (10_000, (10_000, 0), (50_000, 1))


def test_that_a_model_has_no_rules_is_cached_too(calls: Calls) -> None:
    price()
    calls.reset()

    assert price() == 10_000
    assert calls.round_trips == 0


def test_a_cached_price_changes_exactly_when_a_rule_begins_or_ends(calls: Calls) -> None:
    prices.put(PriceRule("m", 1, NOW - 1))
    prices.put(PriceRule("m", 2, NOW + 30_000, NOW + 40_000))
    price()
    calls.reset()

    at_the_edges = [price(NOW + at) for at in (29_999, 30_000, 39_999, 40_000)]

    assert at_the_edges == [1, 2, 2, 1]
    assert calls.round_trips == 0


def test_a_rule_that_begins_while_the_answer_is_cached_is_known(process: Clock) -> None:
    prices.put(PriceRule("m", 2, NOW + MINUTE))
    price()
    process.seconds += 59.9

    assert price(NOW + MINUTE - 1) == 10_000
    assert price(NOW + MINUTE) == 2


def test_a_rule_from_before_many_short_ones_is_found() -> None:
    prices.put(PriceRule("m", 7, NOW - 1_000_000))
    for number in range(30):
        begins = NOW - 900_000 + number * 1_000
        prices.put(PriceRule("m", 100 + number, begins, begins + 500))

    assert price() == 7


def test_many_short_rules_since_the_beginning_of_time_come_to_the_default() -> None:
    for number in range(25):
        prices.put(PriceRule("m", 100 + number, number * 1_000, number * 1_000 + 500))

    assert price() == 10_000


def test_models_do_not_share_prices() -> None:
    prices.put(PriceRule("m", 5, NOW))

    assert prices.price_at("mm", NOW) == 10_000
    assert prices.price_at("m", NOW) == 5


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr(prices, "MAX_CACHED_MODELS", 3)
    for number in range(10):
        prices.price_at(f"m{number}", NOW)

    assert len(prices._cache) <= 3
