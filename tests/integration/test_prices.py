"""Price rules, even future ones, are cached for a minute. A price changes exactly when a rule begins or ends."""

import pytest

from accounting.domain.errors import Invalid, PriceBegun, PriceEnded, PriceExists, PriceNotFound
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.operations import prices as operations
from accounting.store import cache, keys, prices, table
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, MINUTE
from accounting.web.prices import MAX_ALIASES, MAX_ALIASES_LENGTH, MAX_RATE, MAX_RATES, MAX_TIERS, MAX_VARIANTS
from accounting.web.types import MAX_MODEL_ID, MAX_TOKENS
from tests.calls import Calls
from tests.integration.conftest import NOW
from tests.prices import per_thousand, price_e4


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(cache, "time", fake)
    return fake


def put(rule: PriceRule) -> None:
    operations.add(rule, now=NOW, key=None)


def price(at: int = NOW) -> int:
    return price_e4(prices.card_at("m", at))


def cost(model_id: str, tokens: int) -> int:
    return prices.card_at(model_id, NOW).cost_of_number(tokens)


def test_a_model_without_rules_has_the_documented_price() -> None:
    assert cost("m", 1_500) == 2
    assert cost("amazon.titan-text-express-v1", 1_000_000) == 300


def test_prices_are_exact() -> None:
    put(PriceRule("m", per_thousand(11_000), NOW))
    put(PriceRule("n", per_thousand(175), NOW))

    assert cost("m", 110_000) == 121
    assert cost("n", 400_000) == 7


def test_a_price_is_read_once_a_minute(clock: Clock, calls: Calls) -> None:
    first = price()
    put(PriceRule("m", per_thousand(50_000), NOW))
    calls.reset()

    clock.seconds += 59.9
    cached = (price(), calls.round_trips)
    clock.seconds += 0.1
    fresh = (price(), calls.round_trips)

    assert (first, cached, fresh) == (10_000, (10_000, 0), (50_000, 1))


def test_the_absence_of_rules_is_cached(calls: Calls) -> None:
    price()
    calls.reset()

    assert price() == 10_000
    assert calls.round_trips == 0


def test_a_cached_price_changes_exactly_when_a_rule_begins_or_ends(calls: Calls) -> None:
    put(PriceRule("m", per_thousand(1), NOW - 1))
    put(PriceRule("m", per_thousand(2), NOW + 30_000, NOW + 40_000))
    price()
    calls.reset()

    at_the_edges = [price(NOW + at) for at in (29_999, 30_000, 39_999, 40_000)]

    assert at_the_edges == [1, 2, 2, 1]
    assert calls.round_trips == 0


def test_a_rule_that_begins_while_the_price_is_cached_applies_from_its_beginning(clock: Clock) -> None:
    put(PriceRule("m", per_thousand(2), NOW + MINUTE))
    price()
    clock.seconds += 59.9

    assert price(NOW + MINUTE - 1) == 10_000
    assert price(NOW + MINUTE) == 2


def test_a_rule_without_an_end_applies_after_many_newer_rules_have_ended() -> None:
    put(PriceRule("m", per_thousand(7), NOW - 1_000_000))
    for number in range(30):
        begins = NOW - 900_000 + number * 1_000
        put(PriceRule("m", per_thousand(100 + number), begins, begins + 500))

    assert price() == 7


def test_the_default_price_applies_after_many_rules_have_ended() -> None:
    for number in range(25):
        put(PriceRule("m", per_thousand(100 + number), number * 1_000, number * 1_000 + 500))

    assert price() == 10_000


def test_an_alias_has_its_models_newest_price_even_if_the_newest_rule_does_not_list_the_alias() -> None:
    put(PriceRule("m", per_thousand(10_000), NOW - DAY, aliases=("latest",)))
    put(PriceRule("m", per_thousand(50_000), NOW - 1))

    assert price_e4(prices.card_at("latest", NOW)) == price_e4(prices.card_at("m", NOW)) == 50_000
    assert price_e4(prices.card_since("latest", NOW - 2, None)[1]) == 10_000


def test_an_alias_that_gets_a_rule_of_its_own_no_longer_has_its_models_price() -> None:
    put(PriceRule("m", per_thousand(10_000), NOW - DAY, aliases=("latest",)))
    put(PriceRule("latest", per_thousand(7), NOW - 1))
    put(PriceRule("m", per_thousand(50_000), NOW))

    assert price_e4(prices.card_at("latest", NOW)) == 7


def test_models_have_separate_prices() -> None:
    put(PriceRule("m", per_thousand(5), NOW))

    assert price_e4(prices.card_at("mm", NOW)) == 10_000
    assert price_e4(prices.card_at("m", NOW)) == 5


@pytest.mark.parametrize("effective_from", [NOW - DAY, NOW, NOW + DAY])
def test_a_rule_is_never_overwritten(effective_from: int) -> None:
    put(PriceRule("m", per_thousand(10_000), effective_from, NOW + 2 * DAY))

    with pytest.raises(PriceExists):
        put(PriceRule("m", per_thousand(20_000), effective_from))

    assert prices.history("m", before=None, limit=9) == (
        [PriceRule("m", per_thousand(10_000), effective_from, NOW + 2 * DAY)],
        None,
    )


def test_a_repeated_request_to_add_a_rule_gets_the_first_answer() -> None:
    rule = PriceRule("m", per_thousand(10_000), NOW + DAY)
    key = IdempotencyKey("boss", "pricing", "k", "fingerprint")

    first = operations.add(rule, now=NOW, key=key)
    # The default beginning is the moment of the request, so a repeat has a later beginning.
    again = operations.add(PriceRule("m", per_thousand(10_000), NOW + DAY + 5), now=NOW + 5, key=key)

    assert (first.replayed, again.replayed, again.rule) == (False, True, rule)
    assert prices.history("m", before=None, limit=9)[0] == [rule]


def test_a_repeated_request_to_add_a_rule_gets_the_first_answer_even_if_the_rule_has_ended() -> None:
    key = IdempotencyKey("boss", "pricing", "k", "fingerprint")
    first = operations.add(PriceRule("m", per_thousand(10_000), NOW, NOW + 5), now=NOW, key=key)
    ended = PriceRule("m", per_thousand(10_000), NOW + 9, NOW + 5)

    assert operations.add(ended, now=NOW + 9, key=key) == first._replace(replayed=True)
    for other in (None, key._replace(key="other")):
        with pytest.raises(Invalid, match="effectiveTo"):
            operations.add(ended, now=NOW + 9, key=other)


def test_the_end_of_an_ended_rule_cannot_change() -> None:
    put(PriceRule("m", per_thousand(10_000), NOW - 3 * DAY))
    operations.end("m", NOW - 3 * DAY, NOW - DAY, NOW)

    assert operations.end("m", NOW - 3 * DAY, NOW - DAY, NOW).effective_to == NOW - DAY
    for other in (NOW - 2 * DAY, NOW + DAY):
        with pytest.raises(PriceEnded):
            operations.end("m", NOW - 3 * DAY, other, NOW)
    assert prices.history("m", before=None, limit=9)[0] == [
        PriceRule("m", per_thousand(10_000), NOW - 3 * DAY, NOW - DAY)
    ]


def test_a_future_end_can_be_moved() -> None:
    put(PriceRule("m", per_thousand(10_000), NOW - DAY, NOW + DAY))

    assert operations.end("m", NOW - DAY, NOW + 2 * DAY, NOW).effective_to == NOW + 2 * DAY


def test_a_rule_can_be_withdrawn_until_two_minutes_before_it_begins() -> None:
    put(PriceRule("m", per_thousand(10_000), NOW + 2 * MINUTE))
    put(PriceRule("n", per_thousand(10_000), NOW + 2 * MINUTE - 1))
    put(PriceRule("o", per_thousand(10_000), NOW - DAY, NOW - 1))

    operations.withdraw("m", NOW + 2 * MINUTE, NOW)

    assert prices.history("m", before=None, limit=9)[0] == []
    for model, begins in (("n", NOW + 2 * MINUTE - 1), ("o", NOW - DAY)):
        with pytest.raises(PriceBegun):
            operations.withdraw(model, begins, NOW)
        assert len(prices.history(model, before=None, limit=9)[0]) == 1
    with pytest.raises(PriceNotFound):
        operations.withdraw("m", NOW + 2 * MINUTE, NOW)


def test_every_cache_forgets_a_withdrawn_rule_before_the_rule_would_begin(clock: Clock) -> None:
    put(PriceRule("m", per_thousand(50_000), NOW + 2 * MINUTE))
    price()
    operations.withdraw("m", NOW + 2 * MINUTE, NOW)

    clock.seconds += 120

    assert price(NOW + 2 * MINUTE) == 10_000


def test_the_pages_of_the_price_list_are_complete() -> None:
    """Some ids are prefixes of others. The models have future rules, ended rules and long histories."""
    models = ["a", "a.b", "a:b", "a/b", "ab", "m", "m-1", "m.1", "z" * 256]
    for number, model in enumerate(models):
        for age in range(number + 1):
            put(PriceRule(model, per_thousand(10_000 + number), NOW - DAY - age))
        put(PriceRule(model, per_thousand(1), NOW - 5, NOW - 1))
        put(PriceRule(model, per_thousand(2), NOW + DAY))
    put(PriceRule("ended", per_thousand(1), NOW - DAY, NOW - 1))
    put(PriceRule("to-come", per_thousand(1), NOW + 1))

    whole, end = prices.in_force(NOW, after=None, limit=1000)
    pages, after = [], None
    for _ in range(20):
        page, after = prices.in_force(NOW, after=after, limit=2)
        assert len(page) <= 2
        pages += page
        if after is None:
            break

    assert end is None
    assert after is None
    assert pages == whole
    assert {rule.model_id: (price_e4(rule.card), rule.effective_from) for rule in whole} == {
        model: (10_000 + number, NOW - DAY) for number, model in enumerate(models)
    }


def test_a_price_history_has_pages() -> None:
    for number in range(5):
        put(PriceRule("m", per_thousand(10_000 + number), number))

    first, before = prices.history("m", before=None, limit=2)
    second, before_second = prices.history("m", before=before, limit=2)
    third, end = prices.history("m", before=before_second, limit=2)

    assert [rule.effective_from for rule in [*first, *second, *third]] == [4, 3, 2, 1, 0]
    assert end is None


FULL_RULE = PriceRule(
    "m",
    RateCard(Rates(3_000_000, 15_000_000, cached_input=300_000), (Tier(200_000, Rates(6_000_000, 22_500_000)),)),
    NOW - DAY,
    variants={"batch": RateCard(Rates(1_500_000, 7_500_000))},
    aliases=("m-latest", "vendor/m"),
    max_output_tokens=64_000,
    source="a list",
    source_version="2026-11",
)


def largest(number: int = 0) -> PriceRule:
    """The largest rule that a request can send: every field is at its limit. Its ids begin with ``number``."""
    rate, longest = MAX_RATE * RATE_SCALE, f"{number:04d}" + "m" * (MAX_MODEL_ID - 4)
    sparse = Rates(web_search=rate)
    card = RateCard(sparse, tuple(Tier(MAX_TOKENS - each, sparse) for each in reversed(range(MAX_TIERS))))
    full = Rates(*[rate] * len(Rates._fields))
    aliases = [f"{number:04d}{each:02d}" + "a" * (MAX_ALIASES_LENGTH // MAX_ALIASES - 6) for each in range(MAX_ALIASES)]
    variants = {f"{each}" + "v" * 31: card for each in range(MAX_VARIANTS)}
    named = sum(rate is not None for each in variants.values() for rates in each.all_rates() for rate in rates)
    remaining = MAX_RATES - named - len(full)
    variants["0" + "v" * 31] = RateCard(Rates(*[rate] * min(remaining + 1, len(full))), card.tiers)
    return PriceRule(longest, RateCard(full), NOW, NOW + DAY, variants, tuple(aliases), MAX_TOKENS, "s" * 64, "v" * 64)


def test_every_field_of_a_rule_is_stored() -> None:
    put(FULL_RULE)

    assert prices.rule_at("m", NOW) == FULL_RULE
    assert prices.rule_at("m", NOW).variants == FULL_RULE.variants  # type: ignore[union-attr]
    assert prices.card_at("m", NOW, "batch") == FULL_RULE.card_of("batch")


def test_the_largest_rule_is_smaller_than_the_4_kb_of_a_read_unit() -> None:
    """The local AWS reports one unit for a read of any size, so the item's bytes are added up here."""
    rule = largest()
    put(rule)

    item = table.get(keys.price(rule.aliases[0], NOW))

    assert item is not None
    assert prices.from_item(item) == rule
    assert sum(len(f"{name}{value}".encode()) for name, value in item.items()) < 3_700


def test_pricing_by_an_alias_costs_one_more_read(calls: Calls) -> None:
    put(FULL_RULE)
    calls.reset()

    assert prices.price_at("m-latest", NOW, "batch") == (FULL_RULE, FULL_RULE.card_of("batch"))
    assert (calls.round_trips, calls.items) == (2, 2)
    assert prices.history("vendor/m", before=None, limit=9)[0] == [FULL_RULE]


def test_the_price_list_shows_a_rule_with_aliases_once() -> None:
    put(FULL_RULE)

    assert prices.in_force(NOW, after=None, limit=9) == ([FULL_RULE], None)


def test_ending_or_withdrawing_a_rule_applies_to_the_model_and_all_aliases() -> None:
    put(FULL_RULE)
    put(FULL_RULE._replace(effective_from=NOW + DAY))

    operations.end("vendor/m", FULL_RULE.effective_from, NOW + 5, NOW)
    operations.withdraw("m-latest", NOW + DAY, NOW)

    for name in ("m", *FULL_RULE.aliases):
        assert prices.history(name, before=None, limit=9)[0] == [FULL_RULE._replace(effective_to=NOW + 5)]


@pytest.mark.parametrize(
    ("model", "aliases", "taken", "owner"),
    [
        ("m", (), "m", "m"),
        ("m-latest", (), "m-latest", "m"),
        ("n", ("m",), "m", "m"),
        ("n", ("free", "vendor/m"), "vendor/m", "m"),
    ],
)
def test_two_rules_of_one_id_cannot_begin_at_the_same_time(
    model: str, aliases: tuple[str, ...], taken: str, owner: str
) -> None:
    put(FULL_RULE)

    with pytest.raises(PriceExists) as refused:
        put(PriceRule(model, per_thousand(1), FULL_RULE.effective_from, aliases=aliases))

    assert (refused.value.details["taken"], refused.value.details["modelId"]) == (taken, owner)
    assert prices.history("n", before=None, limit=9)[0] == []
    assert prices.history("free", before=None, limit=9)[0] == []


def test_a_newer_rule_can_move_an_alias_to_another_model() -> None:
    put(FULL_RULE)
    put(PriceRule("m2", per_thousand(5), NOW, aliases=("m-latest",)))

    assert price_e4(prices.card_at("m-latest", NOW)) == 5
    assert prices.card_at("m", NOW) == FULL_RULE.card


def test_setting_an_end_does_not_overwrite_the_end_that_another_request_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another request ends the rule after this request has read the rule."""
    put(PriceRule("m", per_thousand(1), NOW - DAY))
    read = prices.find

    def read_then_end(model_id: str, effective_from: int) -> PriceRule:
        rule = read(model_id, effective_from)
        monkeypatch.setattr(prices, "find", read)
        operations.end("m", NOW - DAY, NOW - 5, NOW)
        return rule

    monkeypatch.setattr(prices, "find", read_then_end)
    with pytest.raises(PriceEnded):
        operations.end("m", NOW - DAY, NOW + DAY, NOW)

    assert prices.history("m", before=None, limit=9)[0][0].effective_to == NOW - 5


def test_a_repeat_is_answered_with_the_whole_rule() -> None:
    key = IdempotencyKey("boss", "pricing", "k", "fingerprint")
    first = operations.add(FULL_RULE, now=NOW, key=key)

    assert operations.add(FULL_RULE, now=NOW, key=key) == first._replace(replayed=True)
