"""`make rerate`: what past usage would cost at the current prices."""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.errors import ModelUnknown
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard
from accounting.domain.sessions import Report
from accounting.domain.usage import ModelCall, UsageRecord
from accounting.operations import prices as price_commands
from accounting.operations import sessions, settling, system_usage, usage
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.store import prices
from accounting.times import DAY, MINUTE, day
from local import rerate
from local.rerate import Cost
from tests.integration.conftest import NOW
from tests.members import organization_with

type MakeUser = Callable[..., str]

ORGANIZATION = stored("org:o1")
TWO_THOUSAND = Usage(1_000, 1_000)


def record(used: Usage | None, credits: int, *, service: str = "images", at: int = NOW, **more: Any) -> UsageRecord:
    known = {"operation": "m", "metadata": {}, "priced_as": "m"} | more
    return UsageRecord("id", personal("u1"), "u1", service=service, credits=credits, at=at, usage=used, **known)


def card_of(model_id: str, variant: str | None) -> RateCard:
    """A thousand tokens cost 2 credits, or 1 in the variant ``batch``. The model ``gone`` has no price."""
    if model_id == "gone":
        raise ModelUnknown("The model has no price", modelId=model_id)
    return RateCard.flat((1000 if variant == "batch" else 2000) * RATE_SCALE)


def test_records_are_priced_by_model_and_day() -> None:
    made = [
        record(TWO_THOUSAND, 3),
        record(TWO_THOUSAND, 4, at=NOW + 1),
        record(TWO_THOUSAND, 1, at=NOW + DAY, variant="batch"),
        record(TWO_THOUSAND, 9, operation="x", priced_as="n"),
    ]

    report = rerate.rerate(made, card_of)

    first, second = day(NOW), day(NOW + DAY)
    assert report.costs == {("m", first): Cost(2, 7, 8), ("m", second): Cost(1, 1, 2), ("n", first): Cost(1, 9, 4)}
    assert report.left_out == {}
    assert list(report.lines()) == [
        "model  day                records         credits             now      difference",
        f"m      {first}               2               7               8              +1",
        f"m      {second}               1               1               2              +1",
        f"n      {first}               1               9               4              -5",
        "total                           4              17              14              -3",
    ]


def test_unchanged_costs_have_no_line() -> None:
    _, total = rerate.rerate([record(TWO_THOUSAND, 4)], card_of).lines()

    assert total.split() == ["total", "1", "4", "4", "+0"]


def test_records_without_a_price_or_without_usage_by_class_are_left_out_and_counted() -> None:
    made = [
        record(None, 5, priced_as=None),
        record(None, 5, service="chat-streaming", unclassified=700),
        record(TWO_THOUSAND, 5, priced_as="gone"),
    ]

    report = rerate.rerate(made, card_of)

    assert report.costs == {}
    assert report.left_out == {"without usage by class": 2, "without a price now": 1}
    assert "left out: 2 without usage by class" in list(report.lines())


def test_a_swept_session_with_late_usage_is_priced_as_a_whole() -> None:
    """The sweep settled the session, and a late report corrected its usage.

    The two records are summed first, so that their cost is rounded up only once.
    """
    swept = record(Usage(1_500, 100), 4, service="chat-streaming-expired", metadata={"sessionId": "s"})
    late = record(
        Usage(0, -90, requests=0),
        -1,
        service="chat-streaming",
        metadata={"sessionId": "s", "late": True},
        at=NOW + 3 * DAY,
    )
    swept_by_number = record(None, 2, service="chat-streaming-expired", metadata={"sessionId": "n"}, unclassified=900)
    late_by_class = record(
        TWO_THOUSAND, 2, service="chat-streaming", metadata={"sessionId": "n", "late": True}, unclassified=-900
    )
    without_its_sweep = record(
        TWO_THOUSAND, 7, service="chat-streaming", metadata={"sessionId": "before", "late": True}
    )

    report = rerate.rerate([late, swept, swept_by_number, late_by_class, without_its_sweep], card_of)

    assert report.costs == {("m", day(NOW)): Cost(4, 3 + 4, 4 + 4)}
    assert report.left_out == {"whose session was swept before SINCE": 1}


def test_a_swept_session_without_late_usage_is_priced_like_any_record() -> None:
    swept = record(TWO_THOUSAND, 5, service="chat-streaming-expired", metadata={"sessionId": "s"})

    assert rerate.rerate([swept], card_of).costs == {("m", day(NOW)): Cost(1, 5, 4)}


def test_the_tool_reads_the_records_of_all_users_and_writes_nothing(
    user: MakeUser,
    dynamodb: Any,
    table_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for who in ("u1", "u2"):
        user(who, 1_000)
    organization_with(ORGANIZATION, "u2")
    used = ModelCall("m", TWO_THOUSAND)
    made = [
        usage.record(Event("u1", "images", "draw", used, {}, True), now=NOW, key=None).record,
        usage.record(Event("u2", "chat", "m", used, {}, False, ORGANIZATION), now=NOW + DAY, key=None).record,
        usage.record(Event("u2", "images", "draw", 5, {}, False), now=NOW, key=None).record,
        usage.record(
            Event("u2", "chat", "other", ModelCall("other", TWO_THOUSAND), {}, False), now=NOW, key=None
        ).record,
        usage.record(Event("u1", "chat", "m", used, {}, False), now=NOW - DAY, key=None).record,
    ]
    sessions.initialize("u1", "s", "m", 1_000, now=NOW, estimated_usage=TWO_THOUSAND)
    sessions.heartbeat("u1", "s", 500, now=NOW)
    sweep(NOW + 61 * MINUTE, lambda: True)
    report = Report.of(None, Usage(1_000, 900))
    assert report is not None
    settling.finalize("u1", "s", report, success=True, now=NOW + DAY)
    made += usage.statistics("u1", NOW, NOW + 2 * DAY).recent
    for chunk in system_usage.chunks({each.id: each for each in made}.values()):
        system_usage.count(chunk)
    price_commands.add(PriceRule("m", RateCard.flat(3000 * RATE_SCALE), NOW), now=NOW, key=None)
    prices.forget()
    before = dynamodb.scan(TableName=table_name)["Items"]
    for name, value in (("TABLE", table_name), ("SINCE", day(NOW)), ("UNTIL", day(NOW + DAY)), ("MODEL", "m")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rerate, "clock", lambda: NOW + 2 * DAY)

    assert rerate.main() == 0

    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["m", day(NOW), "3", "4", "12", "+8"],
        ["m", day(NOW + DAY), "1", "2", "6", "+4"],
        ["total", "4", "6", "18", "+12"],
    ]
    assert dynamodb.scan(TableName=table_name)["Items"] == before


def test_a_user_may_have_any_number_of_records_on_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    many = 1_000_001
    monkeypatch.setattr(rerate, "_users", lambda _: {"u1"})
    monkeypatch.setattr(
        "accounting.store.table.queries._query", lambda *_, **__: repeat({"pk": "ACCOUNT#user:u1"}, many)
    )
    monkeypatch.setattr("accounting.store.usage.from_item", lambda *_: record(TWO_THOUSAND, 1))

    assert sum(1 for _ in rerate._records(NOW, NOW + 1, None)) == many


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("SINCE", "UNTIL", "MODEL", "TABLE"):
        monkeypatch.delenv(name, raising=False)

    assert rerate.main() == 1
    assert "SINCE is missing" in capsys.readouterr().err
