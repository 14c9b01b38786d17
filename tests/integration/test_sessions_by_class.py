"""Sessions that report usage by class of token (input, output and so on), from the hold to the charge."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from accounting import settings as settings_module
from accounting.domain.errors import InsufficientCredits, Invalid, ModelUnknown, SessionExists, SessionNotActive
from accounting.domain.model_usage import NO_USAGE, Usage
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.domain.sessions import Report, Session
from accounting.domain.usage import ProviderUsage, UsageRecord
from accounting.operations import prices as price_rules
from accounting.operations import sessions, settling
from accounting.operations.sessions import Answer
from accounting.operations.settling import Particulars
from accounting.store import prices, usage
from accounting.store import sessions as store
from accounting.times import DAY, HOUR
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW

MakeUser = Callable[..., str]

THOUSAND = 1_000 * RATE_SCALE
"""The rate of one credit for a thousand tokens."""

CARD = RateCard(Rates(THOUSAND, 4 * THOUSAND, cached_input=THOUSAND // 10), (Tier(50_000, Rates(input=2 * THOUSAND)),))
ESTIMATE = Usage(10_000, 2_000)


@pytest.fixture(autouse=True)
def priced(user: MakeUser) -> None:
    """A user with 100 credits, and a model with a price by class, a tier and a variant."""
    user("u1", 100)
    batch = {"batch": RateCard(Rates(THOUSAND // 2, 2 * THOUSAND))}
    price_rules.add(PriceRule("m", CARD, NOW - DAY, variants=batch), now=NOW, key=None)


@pytest.fixture
def set_parameter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    def change(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        settings_module.settings.cache_clear()

    yield change
    settings_module.settings.cache_clear()


def initialize(estimate: Usage = ESTIMATE, *, session_id: str = "s1", model: str = "m", variant: str = "") -> Answer:
    return sessions.initialize(
        "u1", session_id, model, estimate.output, now=NOW, estimated_usage=estimate, variant=variant or None
    )


def heartbeat(tokens: int | None, reported: Usage | None = None, now: int = NOW + 1) -> Session:
    return sessions.heartbeat("u1", "s1", Report.of(tokens, reported) or 0, now=now)


def finalize(reported: Usage | int, now: int = NOW + 2, **particulars: object) -> Session:
    report = Report(reported) if isinstance(reported, int) else Report.of(None, reported) or 0
    more = Particulars(**particulars)  # type: ignore[arg-type]
    return settling.finalize("u1", "s1", report, success=True, now=now, particulars=more).session


def session() -> Session:
    found = store.get("u1", "s1")
    assert found
    return found


def records() -> list[UsageRecord]:
    return usage.newest(ACCOUNT, None, None, 10)


def sweep(now: int = NOW + 2 * HOUR) -> Session:
    ended = settling.sweep(session(), now=now)
    assert ended
    return ended


def test_the_estimate_is_held_with_a_buffer_and_the_usage_is_charged_exactly() -> None:
    assert initialize().session.initial_credits == 22  # 10 of input and 8 of output, plus 20 %, rounded up

    ended = finalize(Usage(9_000, 500, cached_input=8_000))

    # 1 of input, 0.8 of cached input and 2 of output, rounded up once
    assert (ended.settled.credits, ended.settled.refund) == (4, 18)
    assert records()[0].usage == Usage(9_000, 500, cached_input=8_000)
    assert assert_books_balance("u1").available == 96


@pytest.mark.parametrize(("percent", "held"), [("0", 18), ("20", 22), ("400", 90)])
def test_the_buffer_of_a_hold_is_a_parameter(
    percent: str, held: int, set_parameter: Callable[[str, str], None]
) -> None:
    set_parameter("HOLD_BUFFER_PERCENT", percent)

    assert initialize().session.initial_credits == held


def test_a_refusal_says_how_many_output_tokens_are_affordable() -> None:
    with pytest.raises(InsufficientCredits) as refused:
        initialize(Usage(10_000, 50_000))

    affordable = refused.value.details["affordableOutputTokens"]
    assert "affordableTokens" not in refused.value.details
    assert initialize(Usage(10_000, affordable)).session.initial_credits <= 100
    with pytest.raises(InsufficientCredits):
        initialize(Usage(10_000, affordable + 250), session_id="s2")


def test_each_heartbeat_with_unchanged_inputs_is_one_write(calls: Calls) -> None:
    initialize()
    heartbeat(10, Usage(10_000, 10))
    calls.reset()

    heartbeat(20)
    assert (calls.round_trips, calls.write_units) == (1, 1)
    calls.reset()
    heartbeat(None, Usage(10_000, 30))
    assert (calls.round_trips, calls.write_units) == (1, 1)
    assert session().reported_usage == Usage(10_000, 30)


def test_changed_inputs_are_priced_anew_and_raise_the_hold() -> None:
    initialize()

    after = heartbeat(None, Usage(40_000, 100))

    assert after.allocated_credits == 50  # 40.4 is rounded up to 41; a fifth more is 49.2, rounded up to 50
    assert assert_books_balance("u1").held == after.allocated_credits


def test_a_heartbeat_above_a_tiers_threshold_reprices_the_whole_input_and_can_be_refused() -> None:
    initialize()

    with pytest.raises(InsufficientCredits):
        heartbeat(None, Usage(50_001, 100))
    after = session()

    assert after.reported_credits == 101
    assert (after.allocated_credits, after.fitting_tokens) == (22, -1)
    with pytest.raises(InsufficientCredits):
        heartbeat(None, Usage(50_001, 100))
    assert finalize(Usage(50_001, 100)).settled.debt == 1


def test_a_smaller_input_than_estimated_leaves_more_room_for_output() -> None:
    initialize()
    fits = session().fitting_tokens

    after = heartbeat(None, Usage(2_000, 1))

    assert after.allocated_credits == 22
    assert after.fitting_tokens == fits + 2_000  # the input costs 8 credits less, which pay for 2,000 tokens of output


def test_a_more_expensive_class_of_output_raises_the_hold_or_is_refused() -> None:
    """The hold is for plain output. A reasoning token costs ten times as much."""
    dear = RateCard(Rates(THOUSAND, THOUSAND, reasoning=10 * THOUSAND))
    price_rules.add(PriceRule("m", dear, NOW), now=NOW, key=None)
    prices.forget()
    initialize(Usage(1_000, 9_000))
    heartbeat(None, Usage(1_000, 9_000))

    with pytest.raises(InsufficientCredits):
        heartbeat(None, Usage(1_000, 11_000, reasoning=11_000))
    after = heartbeat(None, Usage(1_000, 11_000, reasoning=5_000))

    assert after.allocated_credits >= after.reported_credits == 57
    assert assert_books_balance("u1").held == after.allocated_credits


def test_after_concurrent_heartbeats_a_session_has_the_highest_usage() -> None:
    dear = RateCard(Rates(THOUSAND, THOUSAND, reasoning=10 * THOUSAND))
    price_rules.add(PriceRule("m", dear, NOW), now=NOW, key=None)
    prices.forget()
    initialize(Usage(1, 10))
    usages = [Usage(1, 100 + 10 * number, reasoning=100 + 10 * number) for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda used: heartbeat(None, used), usages))

    assert session().reported_usage == usages[-1]


def test_a_finalize_that_names_an_alias_of_the_sessions_model_is_charged_at_the_sessions_price() -> None:
    price_rules.add(PriceRule("n", RateCard.flat(THOUSAND), NOW - DAY, aliases=("n-latest",)), now=NOW, key=None)
    initialize(Usage(1_000, 1_000), model="n")
    price_rules.add(PriceRule("n", RateCard.flat(9 * THOUSAND), NOW - 1, aliases=("n-latest",)), now=NOW, key=None)

    assert finalize(Usage(1_000, 1_000), model_id="n-latest").settled.credits == 2
    assert records()[0].operation == "n-latest"


def test_a_plain_number_of_tokens_is_the_output_and_the_estimated_inputs_count_too() -> None:
    initialize()
    heartbeat(1_000)

    assert session().used_credits == 14
    assert finalize(1_500).settled.credits == 16
    assert records()[0].usage == Usage(10_000, 1_500)


def test_a_session_begun_with_a_number_of_tokens_may_end_with_usage_by_class() -> None:
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)

    ended = finalize(Usage(1_000, 100))

    assert ended.settled.credits == 2
    assert ended.used_credits == records()[0].credits == 2


def test_only_the_same_usage_counts_as_a_repeat_of_finalize() -> None:
    initialize()
    finalize(Usage(1_000, 100))
    again = settling.finalize("u1", "s1", Report.of(None, Usage(1_000, 100)) or 0, success=True, now=NOW + 9)

    assert again.replayed
    assert len(records()) == 1
    for other in (Report(100), Report.of(None, Usage(1_001, 100)) or 0):
        with pytest.raises(SessionNotActive):
            settling.finalize("u1", "s1", other, success=True, now=NOW + 9)


def test_a_session_is_charged_at_the_price_that_the_serving_model_had_when_the_session_began() -> None:
    price_rules.add(PriceRule("other", RateCard.flat(10 * THOUSAND), NOW - DAY), now=NOW, key=None)
    initialize()
    price_rules.add(PriceRule("other", RateCard.flat(99 * THOUSAND), NOW + 1), now=NOW + 1, key=None)

    ended = finalize(Usage(1_000, 100), now=NOW + HOUR, model_id="other")

    assert ended.settled.credits == 11
    assert (records()[0].operation, ended.model_id) == ("other", "m")


def test_the_usage_record_has_the_metadata_of_initialize_and_finalize() -> None:
    sessions.initialize("u1", "s1", "m", 2_000, now=NOW, metadata={"chat": 1, "turn": 1})
    raw = ProviderUsage("openai", {"prompt_tokens": 9, "completion_tokens": 1})

    finalize(Usage(9, 1), metadata={"turn": 2}, provider_usage=raw)

    record = records()[0]
    assert (record.metadata["chat"], record.metadata["turn"], record.provider_usage) == (1, 2, raw)


def test_a_sweep_without_a_heartbeat_charges_nothing() -> None:
    initialize()

    assert sweep().settled.credits == 0
    assert records()[0].usage == NO_USAGE
    assert assert_books_balance("u1").available == 100


def force_end() -> Session:
    return settling.force_end("u1", "s1", actor="boss", reason="stuck", now=NOW + HOUR).session


@pytest.mark.parametrize("end", [sweep, force_end])
@pytest.mark.parametrize(("charges", "credits", "used"), [("estimate", 18, ESTIMATE), ("reported", 0, NO_USAGE)])
def test_if_no_heartbeat_arrived_a_parameter_decides_what_is_charged(
    set_parameter: Callable[[str, str], None], end: Callable[[], Session], charges: str, credits: int, used: Usage
) -> None:
    set_parameter("SWEEP_CHARGES", charges)
    initialize()

    assert end().settled.credits == credits
    assert records()[0].usage == used


def test_a_sweep_charges_estimated_inputs_and_the_reported_output(set_parameter: Callable[[str, str], None]) -> None:
    set_parameter("SWEEP_CHARGES", "estimate")
    initialize()
    heartbeat(500)

    assert sweep().settled.credits == 12
    assert records()[0].usage == Usage(10_000, 500)


@pytest.mark.parametrize(("reported", "late"), [(Usage(10_000, 1_500), 4), (Usage(1_000, 100), -10)])
def test_the_difference_is_settled_if_usage_arrives_after_the_sweep(reported: Usage, late: int) -> None:
    initialize()
    heartbeat(500)
    sweep()

    ended = finalize(reported, now=NOW + 3 * HOUR)

    assert ended.late_credits == late
    newest, swept = records()
    assert (newest.credits, newest.usage) == (late, reported.minus(Usage(10_000, 500)))
    assert swept.usage is not None
    assert newest.usage is not None
    assert swept.usage.plus(newest.usage) == reported
    assert assert_books_balance("u1").available == 100 - 12 - late


def test_a_variant_is_priced_and_an_unknown_variant_is_refused() -> None:
    assert initialize(variant="batch").session.initial_credits == 11
    with pytest.raises(Invalid, match="variant"):
        initialize(session_id="s2", variant="priority")
    assert store.get("u1", "s2") is None


def test_base_rates_apply_if_the_serving_model_lacks_the_variant() -> None:
    price_rules.add(PriceRule("other", RateCard.flat(THOUSAND), NOW - DAY), now=NOW, key=None)
    initialize(variant="batch")

    assert finalize(Usage(1_000, 1_000), model_id="other").settled.credits == 2


def test_a_repeat_of_initialize_is_answered_after_the_variant_was_removed() -> None:
    first = initialize(variant="batch")
    price_rules.add(PriceRule("m", CARD, NOW), now=NOW, key=None)
    prices.forget()

    again = initialize(variant="batch")

    assert again.replayed
    assert again.session.initial_credits == first.session.initial_credits
    with pytest.raises(SessionExists):
        initialize(Usage(1, 1), variant="batch")


def test_a_model_without_a_price_is_refused_if_the_stack_refuses_unknown_models(
    set_parameter: Callable[[str, str], None],
) -> None:
    set_parameter("UNKNOWN_MODELS", "refuse")

    with pytest.raises(ModelUnknown):
        initialize(model="unheard-of")
    initialize()
    with pytest.raises(ModelUnknown):
        finalize(Usage(1, 1), model_id="unheard-of")
    assert session().active
    assert finalize(Usage(1_000, 0)).settled.credits == 1


def test_a_session_takes_4_round_trips_and_at_most_23_write_units(calls: Calls) -> None:
    prices.card_at("m", NOW)
    calls.reset()
    initialize()
    assert (calls.round_trips, calls.write_units) == (2, 9)
    calls.reset()

    finalize(Usage(9_000, 500), provider_usage=ProviderUsage("openai", {"prompt_tokens": 9_000}))

    assert calls.round_trips == 2
    assert calls.write_units <= 14
