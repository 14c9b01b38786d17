"""A session's values, and how it is settled by its client, by the sweeper, or after the sweep by late usage."""

import pytest

from accounting.domain import sessions, wallet
from accounting.domain.accounts import personal
from accounting.domain.errors import SessionNotActive
from accounting.domain.ledger import Cause
from accounting.domain.lots import Lot
from accounting.domain.model_usage import Usage
from accounting.domain.sessions import Outcome, Report, Session, Settled
from accounting.domain.wallet import Hold, Settlement, Wallet
from tests.prices import per_thousand

NOW = 1_800_000_000_000
ACCOUNT = personal("u1")
SESSION = Session(
    user_id="u1",
    session_id="s1",
    account_id=ACCOUNT,
    model_id="m",
    card=per_thousand(30_000),
    estimated_tokens=1_000,
    parts=(Lot(1, 4, NOW + 1, NOW),),
    started_at=NOW,
    last_seen_at=NOW,
    due_at=NOW + 1,
    initial_credits=4,
    initial_expires_at=NOW + 1,
)


def ended(session: Session, outcome: Outcome = "finalized", tokens: int = 500, *, success: bool = True) -> Session:
    settlement = Settlement(Wallet(ACCOUNT), (), refund=2, overrun=0, debt=0)
    return sessions.resolved(session, settlement, Report(tokens), outcome=outcome, success=success, at=NOW + 5)


def hold_of(*parts: Lot) -> Hold:
    granted = wallet.grant(Wallet(ACCOUNT), 1, expires_at=NOW + 1, cause=Cause("x", NOW))
    return Hold(granted.wallet, granted.entries, parts)


def test_a_new_session_is_active_and_knows_its_estimated_and_held_credits() -> None:
    assert (SESSION.estimated_credits, SESSION.initial_credits, SESSION.allocated_credits) == (3, 4, 4)
    assert (SESSION.active, SESSION.status, SESSION.outcome) == (True, "active", None)


def test_a_new_session_stores_its_first_hold_and_the_tokens_that_fit_it() -> None:
    hold = hold_of(Lot(1, 2, NOW + 1, NOW), Lot(2, 1, NOW + 2, NOW))

    session = sessions.opened(SESSION._replace(parts=(), initial_credits=0), hold)

    assert session == SESSION._replace(parts=hold.parts, initial_credits=3, fitting_tokens=1_000)


def test_a_hold_pays_for_the_fitting_tokens_but_not_for_one_more() -> None:
    assert sessions.fitting(SESSION).fitting_tokens == 1_333
    assert SESSION.cost(Report(1_333)) == 4
    assert SESSION.cost(Report(1_334)) == 5


def test_an_active_session_has_used_what_its_last_heartbeat_reported() -> None:
    assert SESSION._replace(tokens=334).used_credits == 2


def test_a_session_is_settled_at_the_price_that_it_began_with() -> None:
    session = ended(SESSION)

    assert (session.active, session.status, session.outcome) == (False, "completed", "finalized")
    assert (session.settled.credits, session.settled.tokens, session.used_credits) == (2, 500, 2)


def test_a_session_that_ends_without_success_has_failed() -> None:
    assert ended(SESSION, success=False).status == "failed"
    assert ended(SESSION, "aborted", success=False).outcome == "aborted"


def test_a_session_ends_once() -> None:
    with pytest.raises(SessionNotActive) as refused:
        ended(ended(SESSION), "aborted", success=False)

    assert refused.value.details == {"sessionId": "s1", "status": "completed", "outcome": "finalized"}


def test_a_settlement_is_stored_with_all_its_values() -> None:
    settlement = Settlement(Wallet(ACCOUNT), (), refund=1, overrun=2, debt=3)
    report = Report(500, Usage(10, 490), model_id="served", card=per_thousand(10_000))

    session = sessions.resolved(SESSION, settlement, report, outcome="finalized", success=True, at=NOW + 5)

    assert session.settled == Settled(
        "finalized", True, 500, 1, refund=1, overrun=2, debt=3, at=NOW + 5, usage=Usage(10, 490), model_id="served"
    )


def test_an_active_session_has_no_settlement() -> None:
    with pytest.raises(LookupError):
        _ = SESSION.settled


def test_only_a_settlement_with_the_same_values_is_a_repeat() -> None:
    session = ended(SESSION)

    assert session.settled_by("finalized", Report(500), True)
    assert not session.settled_by("finalized", Report(501), True)
    assert not session.settled_by("finalized", Report(500), False)
    assert not session.settled_by("aborted", Report(500), True)
    assert not SESSION.settled_by("finalized", Report(0), True)


def test_a_repeat_without_a_report_matches_any_report() -> None:
    session = ended(SESSION, "aborted", success=False)

    assert session.settled_by("aborted", None, False)
    assert not session.settled_by("finalized", None, False)


def test_late_usage_settles_a_swept_session_a_second_time_but_not_a_third() -> None:
    swept = ended(SESSION._replace(tokens=334), "swept", 334, success=False)
    assert (swept.awaits_late_usage, swept.late_credits) == (True, None)

    late = ended(swept, "finalized", 1_000)

    assert (late.status, late.outcome, late.used_credits, late.late_credits) == ("completed", "swept", 3, 1)
    assert late.resolution == swept.resolution
    assert not late.awaits_late_usage
    for outcome in ("finalized", "aborted", "swept"):
        with pytest.raises(SessionNotActive):
            ended(late, outcome, success=False)


@pytest.mark.parametrize("outcome", ["finalized", "aborted"])
def test_no_late_usage_is_awaited_after_a_finalize_or_an_abort(outcome: Outcome) -> None:
    assert not ended(SESSION, outcome).awaits_late_usage


def test_a_swept_session_is_not_swept_again() -> None:
    with pytest.raises(SessionNotActive):
        ended(ended(SESSION, "swept", success=False), "swept", success=False)


def test_a_settlement_below_the_reported_usage_records_the_difference() -> None:
    reported = SESSION._replace(tokens=1_000)

    assert ended(reported, tokens=400).unsettled_credits == 1
    assert ended(reported, tokens=1_000).unsettled_credits == 0
    assert ended(reported, tokens=5_000).unsettled_credits == 0


def test_a_session_expires_by_inactivity_or_by_age() -> None:
    session = SESSION._replace(last_seen_at=NOW + 50)

    assert session.expires_at(timeout=100, max_life=1_000) == NOW + 150
    assert session.expires_at(timeout=100, max_life=120) == NOW + 120


def test_rescheduling_a_session_changes_only_its_due_time() -> None:
    assert sessions.rescheduled(SESSION, NOW + 99) == SESSION._replace(due_at=NOW + 99)


@pytest.mark.parametrize(("estimate", "tokens"), [(False, 0), (True, 1_000)])
def test_a_sweep_without_a_heartbeat_charges_no_tokens_or_the_estimate(estimate: bool, tokens: int) -> None:
    assert SESSION.swept_report(charge_estimate=estimate) == Report(tokens)


def test_a_number_becomes_a_report_and_a_report_is_used_unchanged() -> None:
    assert Report.of_number(7) == Report(7)
    assert Report.of_number(Report(7, model_id="n")) == Report(7, model_id="n")
    assert Report.of(7, None) == Report(7)
    assert SESSION.counted(Report(7)) == SESSION.report_to_price(Report(7)) == Report(7)


def test_an_initialize_is_a_repeat_only_if_its_values_are_the_same() -> None:
    assert SESSION.same_request("m", 1_000)
    assert not SESSION.same_request("m", 1_001)
    assert not SESSION.same_request("n", 1_000)


def test_raising_the_hold_adds_parts_to_the_session_and_keeps_its_initial_credits() -> None:
    reported = sessions.reported(SESSION, Report(2_000), NOW + 9)
    session = sessions.raised(reported, hold_of(Lot(1, 1, NOW + 1, NOW), Lot(2, 2, NOW + 2, NOW)))

    assert session.parts == (Lot(1, 5, NOW + 1, NOW), Lot(2, 2, NOW + 2, NOW))
    assert (session.revision, session.tokens, session.last_seen_at) == (2, 2_000, NOW + 9)
    assert session.initial_credits == 4


def test_the_tokens_of_a_session_never_decrease() -> None:
    further = SESSION._replace(tokens=5_000, last_seen_at=NOW + 100)

    session = sessions.reported(further, Report(2_000), NOW + 9)

    assert (session.tokens, session.last_seen_at) == (5_000, NOW + 100)
