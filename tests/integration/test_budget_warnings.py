"""Budget warnings: each warning level is logged once in each of the budget's windows of time."""

from functools import partial

import pytest

from accounting.operations import sessions, usage
from accounting.operations.usage import Event
from accounting.store import table
from accounting.times import DAY
from tests.integration import acme
from tests.integration.acme import ACME, budget, committed, finalize, stream
from tests.integration.conftest import NOW
from tests.together import together


@pytest.fixture(autouse=True)
def _acme(table_name: str) -> None:
    acme.make_organization()


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """The budget and the level in credits of each warning since the last call."""
    lines = [vars(record) for record in caplog.records if "warning level" in record.message]
    caplog.clear()
    return [(line["budget"], line["level_credits"]) for line in lines]


def test_each_warning_level_is_logged_once_in_a_window(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 40, window="day", warn_at=(50, 80))
    logged = []
    for number in range(6):
        stream(f"s{number}")
        logged.append(warnings(caplog))

    assert logged == [[], [], [], [("member:u1", 20)], [], [("member:u1", 32)]]
    stream("tomorrow", now=NOW + DAY)
    assert warnings(caplog) == []
    stream("much", 16_000, now=NOW + DAY)
    assert warnings(caplog) == [("member:u1", 20)]


def test_a_usage_record_or_a_raised_hold_can_reach_a_warning_level(caplog: pytest.LogCaptureFixture) -> None:
    budget("members", 40, warn_at=(25, 100))
    usage.record(Event("u1", "s", "o", 12, {}, True, account_id=ACME), now=NOW, key=None)
    assert warnings(caplog) == [("members", 10)]

    stream("s1")
    sessions.heartbeat("u1", "s1", 23_000, now=NOW)
    assert warnings(caplog) == [("members", 40)]


def test_warning_levels_are_reported_again_after_the_limit_changed(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 10, warn_at=(50,))
    stream("s1")
    assert warnings(caplog) == [("member:u1", 5)]

    budget("member:u1", 20, warn_at=(50,))
    stream("s2")
    assert warnings(caplog) == [("member:u1", 10)]


def test_the_next_hold_reports_a_level_that_an_overrun_reached(caplog: pytest.LogCaptureFixture) -> None:
    budget("member:u1", 100, warn_at=(50,))
    stream("s1")
    finalize("s1", 60_000)
    assert warnings(caplog) == []

    stream("s2")
    assert warnings(caplog) == [("member:u1", 50)]


def test_a_level_that_concurrent_callers_reach_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    table.client()  # created here so that the threads do not race to create it
    budget("member:u1", 100, warn_at=(10,))

    together(*(partial(stream, f"s{number}") for number in range(8)))

    assert [level for _, level in warnings(caplog)] == [10]
    assert committed("member:u1") == 48
