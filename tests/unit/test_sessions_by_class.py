"""Sessions priced by class: what heartbeats change, which output still fits the hold, and what is charged in the end.

In the names of the tests, a number is a count of tokens, and a usage has a count for each class of tokens. A sweep ends
a session that has sent no heartbeat for too long.
"""

import pytest

from accounting.domain import sessions
from accounting.domain.accounts import personal
from accounting.domain.lots import Lot
from accounting.domain.model_usage import NO_USAGE, Usage
from accounting.domain.pricing import Estimate
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.domain.sessions import Report, Session

NOW = 1_800_000_000_000
THOUSAND = 1_000 * RATE_SCALE
"""The rate of one credit for a thousand tokens."""

CARD = RateCard(
    Rates(THOUSAND, 4 * THOUSAND, cached_input=THOUSAND // 10, reasoning=5 * THOUSAND),
    (Tier(100_000, Rates(input=2 * THOUSAND)),),
)
ESTIMATE = Usage(10_000, 2_000)


def session(held: int = 18, usage: Usage = ESTIMATE) -> Session:
    return sessions.fitting(
        Session(
            user_id="u1",
            session_id="s1",
            account_id=personal("u1"),
            model_id="m",
            card=CARD,
            estimated_tokens=usage.output,
            estimated_usage=usage,
            usage=usage.inputs,
            parts=(Lot(1, held, NOW + 1, NOW),),
            started_at=NOW,
            last_seen_at=NOW,
            due_at=NOW + 1,
            initial_credits=held,
            initial_expires_at=NOW + 1,
        )
    )


def beat(known: Session, report: Report) -> Session:
    return sessions.reported(known, report, NOW + 9)


def test_the_estimate_is_priced_by_class() -> None:
    assert session().estimated_credits == 18
    assert session(usage=Usage(100_001, 0)).estimated_credits == 201


def test_fitting_tokens_are_computed_with_the_inputs_and_the_highest_output_rate() -> None:
    assert session(held=18).fitting_tokens == (18_000 - 10_000) // 5
    assert session(held=10).fitting_tokens == 0
    assert session(held=9).fitting_tokens == -1


def test_a_heartbeat_with_unchanged_inputs_needs_no_new_pricing() -> None:
    assert not session().is_repriced_by(Report(100))
    assert not session().is_repriced_by(Report(100, Usage(10_000, 100)))


def test_output_of_a_new_class_needs_new_pricing() -> None:
    reported = beat(session(), Report(100, Usage(10_000, 100)))

    assert reported.is_repriced_by(Report(100, Usage(10_000, 100, reasoning=100)))
    after = beat(reported, Report(100, Usage(10_000, 100, reasoning=100)))
    assert (after.reported_credits, after.fitting_tokens) == (11, 100 + (18_000 - 10_000 - 500) // 5)


def test_changed_inputs_are_priced_again() -> None:
    after = beat(session(), Report(100, Usage(10_000, 100, cached_input=10_000)))

    assert session().is_repriced_by(Report(100, Usage(10_000, 100, cached_input=10_000)))
    assert (after.reported_credits, after.tokens, after.revision) == (2, 100, 2)
    assert after.fitting_tokens == 100 + (18_000 - 1_000 - 400) // 5


def test_an_older_usage_does_not_replace_a_newer_one() -> None:
    newer = beat(session(), Report(900, Usage(12_000, 900)))

    assert not newer.accepts_usage_of(Report(300, Usage(11_000, 300)))
    assert beat(newer, Report(300, Usage(11_000, 300))).usage == newer.usage
    assert beat(newer, Report(300, Usage(11_000, 300))).tokens == 900


def test_an_older_usage_is_ignored_even_if_the_newer_usage_reported_the_inputs_of_the_estimate() -> None:
    newer = session()._replace(tokens=40, usage_output=40)

    assert not newer.accepts_usage_of(Report(5, Usage(20, 5)))
    assert beat(newer, Report(5, Usage(20, 5))).reported_usage == Usage(10_000, 40)


def test_a_newer_usage_replaces_an_older_one_even_if_a_higher_number_was_reported() -> None:
    first = beat(session(), Report(1, Usage(11_000, 1)))
    ahead = first._replace(tokens=80)

    after = beat(ahead, Report(60, Usage(50_000, 60)))

    assert after.reported_usage == Usage(50_000, 80)


def test_a_number_does_not_make_a_later_usage_look_old() -> None:
    first = beat(session(), Report(900, Usage(12_000, 900)))
    ahead = beat(first, Report(950))

    after = beat(ahead, Report(920, Usage(13_000, 920)))

    assert after.reported_usage == Usage(13_000, 950)


def test_the_first_usage_always_replaces_the_estimate() -> None:
    ahead = session()._replace(tokens=900)

    after = beat(ahead, Report(1, Usage(8_000, 1)))

    assert (after.reported_usage, after.tokens) == (Usage(8_000, 900), 900)


def test_a_session_that_began_with_a_number_counts_output_tokens_from_its_first_usage_on() -> None:
    numbers = session()._replace(estimated_usage=None, usage=None, tokens=700)

    after = beat(numbers, Report(50, Usage(600, 50)))

    assert (after.reported_usage, after.tokens) == (Usage(600, 50), 50)
    assert after.counted(Report(670)).tokens == 70
    assert after.counted(Report(500)).tokens == 0, "a number below the known input counts as output"
    assert after.counted(Report(60, Usage(700, 60))) == Report(60, Usage(700, 60))


def test_a_number_means_output_tokens_if_the_session_began_with_a_usage() -> None:
    assert session().counted(Report(670)) == Report(670)


def test_a_final_number_is_priced_as_a_number_if_the_session_began_with_a_number() -> None:
    numbers = session()._replace(estimated_usage=None, usage=None)
    reported = beat(numbers, Report(30, Usage(480, 30)))

    assert reported.report_to_price(Report(510)) == Report(510)
    assert reported.cost(reported.report_to_price(Report(510))) == CARD.cost_of_number(510)


def test_without_a_heartbeat_nothing_was_reported() -> None:
    assert (session().reported_usage, session().reported_credits) == (NO_USAGE, 0)
    reported = session()._replace(last_seen_at=NOW + 1)
    assert (reported.reported_usage, reported.reported_credits) == (Usage(10_000, 0), 10)


@pytest.mark.parametrize(("estimate", "credits"), [(False, 0), (True, 18)])
def test_a_sweep_without_a_heartbeat_charges_nothing_or_the_estimate(estimate: bool, credits: int) -> None:
    report = session().swept_report(charge_estimate=estimate)

    assert session().cost(report) == credits
    assert report == (Report(2_000, ESTIMATE) if estimate else Report(0, NO_USAGE))


@pytest.mark.parametrize("estimate", [False, True])
def test_a_sweep_after_a_heartbeat_charges_the_inputs_and_the_reported_output(estimate: bool) -> None:
    reported = beat(session(), Report(500))

    assert reported.cost(reported.swept_report(charge_estimate=estimate)) == 12


def test_a_final_number_is_priced_as_output_if_the_session_began_with_a_usage() -> None:
    assert session().cost(session().report_to_price(Report(1_000))) == 14


def test_a_final_usage_is_priced_unchanged() -> None:
    report = Report(60, Usage(50_000, 60))

    assert session().report_to_price(report) == report


def test_if_the_output_of_a_usage_is_reduced_reasoning_is_kept_first_and_then_audio() -> None:
    usage = Usage(10, 100, reasoning=60, output_audio=30)

    assert usage.with_output(70) == Usage(10, 70, reasoning=60, output_audio=10)
    assert usage.with_output(20) == Usage(10, 20, reasoning=20)


def test_a_report_with_a_number_and_a_usage_counts_the_larger_output() -> None:
    for tokens, output in ((500, 1), (1, 500)):
        report = Report.of(tokens, Usage(10, output))
        assert report is not None
        assert (report.tokens, report.usage, report.usage_output) == (500, Usage(10, 500), output)
    assert Report.of(None, Usage(10, 0)) == Report(0, Usage(10, 0), output_as_sent=0)
    assert Report.of(None, None) is None


@pytest.mark.parametrize(
    ("available", "details"),
    [
        (18, {"affordableOutputTokens": 2_000}),
        (11, {"affordableOutputTokens": 250}),
        (9, {"affordableOutputTokens": 0}),
    ],
)
def test_a_refusal_shows_the_affordable_output(available: int, details: dict[str, int]) -> None:
    assert session().estimate.affordable(available) == details


def test_a_refusal_of_a_number_shows_the_affordable_number() -> None:
    assert Estimate(CARD, 20_000).affordable(18) == {"affordableTokens": CARD.number_within(18)}


def test_an_initialize_is_a_repeat_only_if_its_estimate_is_the_same() -> None:
    assert session().same_request("m", 2_000, ESTIMATE)
    assert not session().same_request("m", 2_000)
    assert not session().same_request("m", 2_000, ESTIMATE, "batch")
    assert not session().same_request("m", 2_000, Usage(10_001, 2_000))
