"""The metric Contention counts every request that is answered with 503 CONTENTION once, whatever its route."""

from collections.abc import Callable, Iterator

import pytest

from accounting import telemetry
from accounting.domain.pricing import DEFAULT_CARD, PriceRule
from accounting.operations import commit, prices
from accounting.times import from_iso
from tests.calls import the_wire
from tests.faults import Fault, Faults, cancelled, refused
from tests.integration.test_events import send_sample
from tests.metrics import Counted

MakeUser = Callable[..., str]

TRANSACTION = "TransactWriteItems", cancelled("TransactionConflict")
UPDATE = "UpdateItem", refused("TransactionConflictException")


@pytest.fixture
def wire(table_name: str) -> Iterator[Faults]:
    with Faults.of(the_wire()) as between:
        yield between


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        ("credits/allocate", TRANSACTION),
        ("streaming_sessions/initialize", TRANSACTION),
        ("usage/record", TRANSACTION),
        ("streaming_sessions/heartbeat", UPDATE),
        ("api_keys/create", TRANSACTION),
        ("pricing/add", TRANSACTION),
        ("pricing/end", TRANSACTION),
        ("pricing/withdraw", TRANSACTION),
        ("users/sync", TRANSACTION),
        ("users/disable", TRANSACTION),
    ],
)
def test_a_request_that_is_answered_with_contention_is_counted_once(
    user: MakeUser, wire: Faults, monkeypatch: pytest.MonkeyPatch, sample: str, fault: tuple[str, Fault]
) -> None:
    user("demo-user", 1_000)
    user("demo-admin")
    for begins in ("2026-01-01T00:00:00.000Z", "2099-01-01T00:00:00.000Z"):
        prices.add(PriceRule("sample-model", DEFAULT_CARD, from_iso(begins)), now=from_iso(begins), key=None)
    counted = Counted()
    monkeypatch.setattr(telemetry, "metrics", counted)
    monkeypatch.setattr(commit, "CONTENTION_SECONDS", 0.05)
    operation, endless = fault
    wire.fail(operation, *[endless] * 1_000)

    status, body = send_sample(sample)

    assert (status, body["code"]) == (503, "CONTENTION")
    assert counted.counts["Contention"] == 1


def test_a_command_that_succeeds_after_a_conflict_is_not_counted_as_contention(
    user: MakeUser, wire: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("demo-user")
    counted = Counted()
    monkeypatch.setattr(telemetry, "metrics", counted)
    operation, once = TRANSACTION
    wire.fail(operation, once)

    status, _ = send_sample("credits/allocate")

    assert status == 201
    assert counted.counts["ConflictsRetried"] == 1
    assert counted.counts["Contention"] == 0
