"""Usage by class of tokens (input, cached input, output and so on): its price, and its statistics."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict

import pytest

from accounting.domain import system_usage as domain
from accounting.domain.accounts import stored
from accounting.domain.errors import IdempotencyConflict, Invalid, ModelUnknown
from accounting.domain.model_usage import Usage, counts_in
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates
from accounting.domain.sessions import Report
from accounting.domain.usage import ModelCall, ProviderUsage, UsageRecord
from accounting.operations import prices as price_commands
from accounting.operations import sessions, settling, system_usage, usage
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.settings import settings
from accounting.store import prices, rollups
from accounting.store import usage as records
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, MINUTE
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with

type MakeUser = Callable[..., str]

ORGANIZATION = stored("org:o1")
USED = Usage(1_000_000, 200_000, cached_input=600_000, cache_write=100_000)
CARD = RateCard(Rates(3 * RATE_SCALE, 15 * RATE_SCALE, cached_input=300_000))
COST = 5
"""4.38, rounded up: 1.2 credits for 400,000 tokens of input, 0.18 for 600,000 of cached input, 3 for the output.

The 400,000 include the 100,000 tokens of the cache write, because the card has no rate for cache writes.
"""


def call(model_id: str = "m", used: Usage = USED, *, provider_usage: ProviderUsage | None = None) -> ModelCall:
    return ModelCall(model_id, used, None, provider_usage)


def event(cost: int | ModelCall, *, deduct: bool = False, service: str = "assistant") -> Event:
    return Event("u1", service, "answer", cost, {}, deduct)


def price(card: RateCard, begins: int = NOW - DAY) -> None:
    price_commands.add(PriceRule("m", card, begins), now=NOW, key=None)
    prices.forget()


def counts_of(found: Iterable[UsageRecord]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in found:
        total.update(each.counts)
    return total


def by_model(found: Iterable[UsageRecord]) -> dict[str, Counter[str]]:
    totals: dict[str, Counter[str]] = {}
    for each in found:
        if each.model_id and each.counts:
            totals.setdefault(each.model_id, Counter()).update(each.counts)
    return totals


def test_a_record_is_charged_at_its_models_price(user: MakeUser) -> None:
    user(credits_granted=100)
    price(CARD)

    made = usage.record(event(call(), deduct=True), now=NOW, key=None)

    assert (made.record.credits, made.record.usage, made.deducted) == (COST, USED, True)
    assert assert_books_balance("u1").charged == COST
    found = usage.statistics("u1", None, None)
    assert found.sums.by_service == {"assistant": COST}
    assert found.sums.by_model == {"m": COST}, "a priced record counts for its model, whatever its service is"
    assert found.recent == [made.record]


def test_a_record_is_priced_by_its_variant_and_stores_the_variant_and_the_models_alias(user: MakeUser) -> None:
    user()
    batch = RateCard(Rates(output=RATE_SCALE))
    rule = PriceRule("m", CARD, NOW - DAY, variants={"batch": batch}, aliases=("also-m",))
    price_commands.add(rule, now=NOW, key=None)

    made = usage.record(event(ModelCall("also-m", USED, "batch")), now=NOW, key=None).record

    assert made.credits == 2, "1.2 + 0.18 credits for input, as without a variant, and 0.2 for output"
    assert usage.statistics("u1", None, None).recent == [made]
    assert (made.variant, made.model_id) == ("batch", "also-m")


def test_a_free_call_takes_no_credits(user: MakeUser) -> None:
    user()

    made = usage.record(event(call(used=Usage(0, 0)), deduct=True), now=NOW, key=None)

    assert (made.record.credits, made.deducted) == (0, False)


def test_a_repeated_request_gets_the_first_price_even_after_a_price_change(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user(credits_granted=100)
    key = IdempotencyKey("u1", "usage", "k", "body")
    price(CARD)
    wanted = event(call(provider_usage=ProviderUsage("openai", {"prompt_tokens": 1})), deduct=True)
    first = usage.record(wanted, now=NOW, key=key)

    price(RateCard.flat(100 * RATE_SCALE), begins=NOW + 1)
    again = usage.record(wanted, now=NOW + MINUTE, key=key)
    monkeypatch.setattr("accounting.store.prices.card_at", _refused)
    without_price = usage.record(wanted, now=NOW + MINUTE, key=key)

    assert first.record.credits == COST
    for repeat in (again, without_price):
        assert repeat.replayed
        assert (repeat.record.id, repeat.record.credits, repeat.record.usage) == (first.record.id, COST, USED)
    with pytest.raises(IdempotencyConflict):
        usage.record(wanted, now=NOW, key=IdempotencyKey("u1", "usage", "k", "another"))
    assert assert_books_balance("u1").charged == COST


def _refused(*_: object) -> RateCard:
    raise ModelUnknown("The model has no price", modelId="m")


def test_a_call_is_not_recorded_if_its_variant_or_its_model_has_no_price(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user(credits_granted=100)
    price(CARD)
    with pytest.raises(Invalid, match="variant"):
        usage.record(event(ModelCall("m", USED, "batch"), deduct=True), now=NOW, key=None)
    monkeypatch.setenv("UNKNOWN_MODELS", "refuse")
    settings.cache_clear()
    with pytest.raises(ModelUnknown):
        usage.record(event(call("another")), now=NOW, key=None)

    assert list(records.between(ACCOUNT, 0, NOW + 1)) == []
    assert assert_books_balance("u1").charged == 0


def test_a_record_needs_more_write_units_for_a_large_usage_object_but_not_for_counts_by_class(
    user: MakeUser, calls: Calls
) -> None:
    user(credits_granted=1_000)
    usage.record(event(0), now=NOW, key=None)
    usage.record(event(call()), now=NOW, key=None)
    full = Usage(*[10**9] * 10)
    spent = []
    provided = ProviderUsage("openai", {"x": "x" * 2_000})
    costs: list[int | ModelCall] = [5, call(used=full), call(used=full, provider_usage=provided)]
    for number, cost in enumerate(costs):
        for key in (None, IdempotencyKey("u1", "usage", f"k{number}", "body")):
            calls.reset()
            usage.record(event(cost), now=NOW, key=key)
            spent.append((calls.round_trips, calls.write_units))

    assert spent == [(1, 4), (1, 6), (1, 4), (1, 6), (1, 8), (1, 10)]


def test_a_record_without_usage_stores_no_counts_by_class_in_the_sums(user: MakeUser) -> None:
    user()
    made = usage.record(event(5), now=NOW, key=None).record

    update = rollups.add(made, ACCOUNT).action["Update"]

    assert update["UpdateExpression"] == (
        "ADD #records :records, #credits :credits SET #service = :service, #format = :format"
    )


def write_every_kind(seed: int) -> list[UsageRecord]:
    """Write and return three days of records: of model calls, sessions, late usage, and events with a fixed cost."""
    rng = random.Random(seed)
    begin = NOW - NOW % DAY
    organization_with(ORGANIZATION, "u1")
    for number in range(24):
        at = begin + rng.randrange(3 * DAY)
        model, output = rng.choice(["m", "n"]), rng.randrange(500)
        used = Usage(rng.randrange(100, 1_000), output, cached_input=rng.randrange(100), web_searches=rng.randrange(2))
        match number % 4:
            case 0:
                usage.record(event(rng.randrange(9)), now=at, key=None)
            case 1:
                account = rng.choice([None, ORGANIZATION])
                wanted = Event("u1", rng.choice(["images", "chat"]), model, call(model, used), {}, False, account)
                usage.record(wanted, now=at, key=None)
            case 2:
                sessions.initialize("u1", f"s{number}", model, 1_000, now=at)
                settling.finalize("u1", f"s{number}", 10 + output, success=True, now=at + 1)
            case 3:
                sessions.initialize("u1", f"s{number}", model, 1_000, now=at, estimated_usage=used)
                report = Report.of(None, used)
                assert report is not None
                settling.finalize("u1", f"s{number}", report, success=True, now=at + 1)
    _settle_late("late-1", begin + DAY, Usage(900, 100, cached_input=50), Usage(900, 40, cached_input=200))
    _settle_late("late-2", begin + DAY, 2_000, Usage(900, 40))
    _settle_late("late-3", begin + DAY, 2_000, 1_000)
    return records.newest(ACCOUNT, None, None, 100)


def _settle_late(session_id: str, at: int, reported: int | Usage, used: int | Usage) -> None:
    """Let the sweeper end a session. Then finalize it, for less usage than its last heartbeat reported."""
    estimate = reported if isinstance(reported, Usage) else None
    sessions.initialize("u1", session_id, "m", 1_000, now=at, estimated_usage=estimate)
    sessions.heartbeat("u1", session_id, reported.output if isinstance(reported, Usage) else reported, now=at)
    assert sweep(at + 61 * MINUTE, lambda: True).sessions == 1
    report = Report(used) if isinstance(used, int) else Report.of(None, used)
    assert report is not None
    settling.finalize("u1", session_id, report, success=True, now=at + DAY)


@pytest.mark.parametrize("seed", range(2))
def test_user_and_system_statistics_equal_a_recount_of_the_records(user: MakeUser, seed: int) -> None:
    user(credits_granted=1_000, now=NOW - DAY)
    made = write_every_kind(seed)
    for chunk in system_usage.chunks(made):
        system_usage.count(chunk)
    begin = NOW - NOW % DAY

    assert {"input", "cached_input", "output", "requests", "unclassified"} <= counts_of(made).keys()
    assert any(each.usage and min(each.usage) < 0 for each in made), (
        "some late usage must be less than the usage that the sweeper charged"
    )
    for since, until in ((None, None), (begin, begin + DAY), (begin + 5, begin + DAY + 7), (begin + 9, None)):
        counted = [each for each in made if (since or 0) <= each.at < (until or each.at + 1)]
        found = usage.statistics("u1", since, until).sums
        assert Counter(found.counts) == counts_of(counted)
        assert {model: Counter(counts) for model, counts in found.counts_by_model.items()} == by_model(counted)
    paid = [each for each in made if each.account_id == ORGANIZATION]
    assert paid
    assert Counter(usage.statistics_of_account(ORGANIZATION, None, None).sums.counts) == counts_of(paid)
    of_all = system_usage.statistics(begin, begin + 4 * DAY, top=9, now=NOW)
    assert Counter(of_all.sums.counts) == counts_of(made)
    assert {model: Counter(counts) for model, counts in of_all.sums.counts_by_model.items()} == by_model(made)
    assert not of_all.truncated
    assert_books_balance("u1")


def test_late_usage_by_class_replaces_the_number_of_tokens_that_the_sweep_charged(user: MakeUser) -> None:
    user(credits_granted=1_000)
    _settle_late("s", NOW, 2_000, Usage(900, 40))

    found = usage.statistics("u1", None, None).sums

    assert {name: count for name, count in found.counts.items() if count} == {"input": 900, "output": 40, "requests": 1}


def _count(made: Iterable[UsageRecord]) -> None:
    for chunk in system_usage.chunks(made):
        system_usage.count(chunk)


def test_system_statistics_show_usage_by_class_only_for_the_models_that_users_spend_the_most_on(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "MAX_MODELS_COUNTED", 2)
    user()
    price(RateCard.flat(1000 * RATE_SCALE))
    used = [("a", 1_000), ("b", 3_000), ("c", 2_000)]
    made = [usage.record(event(call(model, Usage(n, 0))), now=NOW, key=None).record for model, n in used]
    _count(made)

    found = system_usage.statistics(NOW, NOW + 1, top=9, now=NOW)

    assert found.sums.by_model == {"b": 3, "c": 2, "a": 1}
    assert found.sums.counts_by_model == {
        "b": {"input": 3_000, "requests": 1},
        "c": {"input": 2_000, "requests": 1},
    }
    assert found.sums.counts == {"input": 6_000, "requests": 3}
    assert found.truncated


def test_usage_by_model_in_system_statistics_is_exact_even_if_models_are_left_out(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounting.store.system.READ_NAMES", 1)
    user()
    rng = random.Random(5)
    made = []
    for _ in range(60):
        used = call(f"m{rng.randrange(20)}", Usage(rng.randrange(9_000), rng.randrange(9_000)))
        made.append(usage.record(event(used), now=NOW + rng.randrange(3) * DAY, key=None).record)
    _count(made)

    found = system_usage.statistics(NOW, NOW + 3 * DAY, top=9, now=NOW)

    assert found.truncated
    assert len(found.sums.counts_by_model) >= 5
    for model, counts in found.sums.counts_by_model.items():
        assert Counter(counts) == by_model(made)[model]


def test_only_days_with_usage_by_class_cost_another_read(user: MakeUser, calls: Calls) -> None:
    user()
    price(CARD)
    made = [usage.record(event(5, service="chat"), now=NOW + day * DAY, key=None).record for day in range(3)]
    _count(made)
    calls.reset()
    plain = system_usage.statistics(NOW, NOW + 2 * DAY, top=9, now=NOW)
    without = calls.round_trips

    _count([usage.record(event(call()), now=NOW, key=None).record])
    calls.reset()
    classes = system_usage.statistics(NOW, NOW + 2 * DAY, top=9, now=NOW)

    assert (plain.sums.counts, plain.sums.counts_by_model) == ({}, {})
    assert classes.sums.counts_by_model == {"m": counts_in(USED, 0)}
    assert calls.round_trips == without + 1, "one more read: the models of the one day that has usage by class"


def test_the_size_of_system_statistics_is_bounded_even_with_the_longest_names_and_numbers(user: MakeUser) -> None:
    for who in range(4):
        user(f"u{who}")
    full = Usage(*[10**9] * 10)
    made = [
        usage.record(
            Event(f"u{n % 4}", f"chat{n:03d}" + "x" * 40, "x" * 90, ModelCall(f"{n:03d}" + "m" * 253, full), {}, False),
            now=NOW,
            key=None,
        ).record
        for n in range(180)
    ]
    _count(made)

    found = system_usage.statistics(NOW, NOW + 1, top=1000, now=NOW)

    assert found.truncated
    assert 10 < len(found.sums.counts_by_model) < domain.MAX_MODELS_COUNTED
    assert len(json.dumps(asdict(found), separators=(",", ":"))) < 200_000
