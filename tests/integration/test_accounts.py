"""Operations work on an organization's account as on a user's own account, although the caller is not the payer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.errors import InsufficientCredits, SessionExists
from accounting.domain.usage import UsageRecord
from accounting.operations import credits, sessions, settling, system_usage, usage
from accounting.operations.audit import Audited, audit, audit_all
from accounting.operations.credits import Request
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.store import entries, keys, session_lists, table, wallets
from accounting.store import usage as records
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, HOUR, MINUTE, day
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with

type MakeUser = Callable[..., str]

ORGANIZATION = stored("org:o1")
LOOKALIKE = "org:o1"
"""The id of a user. It looks like the id of the organization's account."""


def request(**more: Any) -> Request:
    return Request("boss", "", "for all", 30, more.pop("now", NOW), account_id=ORGANIZATION, **more)


def stream(session_id: str, tokens: int = 1_000, user_id: str = "u1", now: int = NOW) -> sessions.Answer:
    return sessions.initialize(user_id, session_id, "m", tokens, now=now, account_id=ORGANIZATION)


@pytest.fixture(autouse=True)
def _has_members(table_name: str) -> None:
    organization_with(ORGANIZATION, "u1", "u2", LOOKALIKE, now=NOW)


@pytest.fixture(autouse=True)
def _the_users_own_accounts_stay_unchanged(table_name: str) -> Iterator[None]:
    yield
    for user_id in ("u1", LOOKALIKE):
        assert wallets.get(personal(user_id)).entry_seq == 0


def test_the_four_commands_change_an_organizations_credits() -> None:
    granted = credits.allocate(request(key=IdempotencyKey("boss", "allocate", "k", "f")), 100)
    again = credits.allocate(request(key=IdempotencyKey("boss", "allocate", "k", "f")), 100)
    credits.set_available(request(), 80)
    credits.remove(request(), 10)
    credits.adjust(request(), 5)

    assert (granted.account_id, again.replayed) == (ORGANIZATION, True)
    with pytest.raises(InsufficientCredits):
        credits.remove(request(), 76)
    assert credits.balance(ORGANIZATION, NOW).available == 75
    assert assert_books_balance("u1", ORGANIZATION).entry_seq == 4
    entry = entries.page(ORGANIZATION, first=1, last=1, limit=1)[0]
    assert (entry.account_id, entry.actor, entry.reason) == (ORGANIZATION, "boss", "for all")


@pytest.mark.parametrize("named", [None, ORGANIZATION, stored("org:other"), ACCOUNT])
def test_finalize_charges_the_account_with_the_hold_even_if_the_request_names_another_or_none(
    named: Any, user: MakeUser
) -> None:
    user("u1")
    credits.allocate(request(), 100)

    opened = stream("s1", 10_000).session
    sessions.heartbeat("u1", "s1", 20_000, now=NOW + 1)
    settled = settling.finalize("u1", "s1", 15_000, success=True, now=NOW + 2, account_id=named).session

    assert (opened.account_id, opened.user_id) == (ORGANIZATION, "u1")
    assert settled.used_credits == 15
    assert assert_books_balance("u1", ORGANIZATION).charged == 15
    hold = entries.page(ORGANIZATION, first=2, last=2, limit=1)[0]
    assert (hold.kind, hold.actor) == ("hold", "u1")


def test_the_id_of_an_open_session_is_refused_for_another_account(user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 100)
    stream("s1")

    with pytest.raises(SessionExists):
        sessions.initialize("u1", "s1", "m", 1_000, now=NOW)
    assert stream("s1").replayed


def test_a_session_is_settled_on_the_paying_account_however_it_ends(user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 100)
    for name in ("aborted", "swept", "forced"):
        stream(name, 10_000)
        sessions.heartbeat("u1", name, 3_000, now=NOW)

    settling.abort("u1", "aborted", None, now=NOW)
    settling.force_end("u1", "forced", actor="boss", reason="stuck", now=NOW)
    assert sweep(NOW + 2 * HOUR, lambda: True).sessions == 1
    settling.finalize("u1", "swept", 9_000, success=True, now=NOW + 3 * HOUR)

    wallet = assert_books_balance("u1", ORGANIZATION)
    assert (wallet.charged, wallet.held) == (3 + 3 + 9, 0)


def test_an_organizations_lots_expire_and_its_debt_is_repaid(user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 10)
    stream("s1", 5_000)
    settling.finalize("u1", "s1", 30_000, success=True, now=NOW)
    assert wallets.get(ORGANIZATION).debt == 20

    credits.allocate(request(), 50)
    swept = sweep(NOW + 31 * DAY, lambda: True)

    assert (swept.wallets, swept.credits_expired) == (1, 30)
    assert_books_balance("u1", ORGANIZATION)


@pytest.mark.parametrize("deduct", [True, False])
def test_statistics_of_the_user_and_of_the_paying_account_include_a_usage_record(deduct: bool, user: MakeUser) -> None:
    user("u1")
    credits.allocate(request(), 100)
    event = Event("u1", "chat", "m", 7, {"a": 1}, deduct, ORGANIZATION)

    made = usage.record(event, now=NOW, key=IdempotencyKey("u1", "usage", "k", "f")).record
    again = usage.record(event, now=NOW, key=IdempotencyKey("u1", "usage", "k", "f"))

    assert (made.account_id, made.user_id, again.replayed) == (ORGANIZATION, "u1", True)
    assert again.record == made._replace(metadata={})  # the answer that is stored for repeats has no metadata
    assert credits.balance(ORGANIZATION, NOW).available == 100 - 7 * deduct
    for found in (
        usage.statistics("u1", None, None),
        usage.statistics("u1", NOW - 1, NOW + 1),
        usage.statistics_of_account(ORGANIZATION, None, None),
        usage.statistics_of_account(ORGANIZATION, NOW - 1, NOW + 1),
    ):
        assert (found.sums.records, found.sums.credits, found.sums.by_model) == (1, 7, {"m": 7})
        assert found.recent == [made]
    of_own_account = usage.statistics_of_account(ACCOUNT, None, None)
    assert (of_own_account.sums.records, of_own_account.recent) == (0, [])


def test_a_users_statistics_include_usage_paid_from_any_account(user: MakeUser, calls: Calls) -> None:
    user("u1", 0)
    credits.allocate(request(), 100)
    own = usage.record(Event("u1", "images", "draw", 2, {}, False), now=NOW, key=None).record
    paid = usage.record(Event("u1", "images", "draw", 5, {"b": 2}, False, ORGANIZATION), now=NOW + 1, key=None).record
    usage.record(Event("u2", "images", "draw", 50, {}, False, ORGANIZATION), now=NOW + 2, key=None)
    calls.reset()

    found = usage.statistics("u1", None, None)

    # The third call reads the record that the organization paid for: u1's own account has only a pointer to it.
    assert calls.round_trips == 3
    assert (found.sums.by_service, found.by_day) == ({"images": 7}, {day(NOW): 7})
    assert found.recent == [paid, own]
    assert usage.statistics_of_account(ACCOUNT, None, None).recent == [own]
    assert usage.statistics_of_account(ORGANIZATION, None, None).sums.credits == 55


def test_system_statistics_count_a_record_once_for_its_user(user: MakeUser, dynamodb: Any, table_name: str) -> None:
    user("u1")
    usage.record(Event("u1", "images", "draw", 5, {}, False, ORGANIZATION), now=NOW, key=None)
    pages = dynamodb.get_paginator("scan").paginate(TableName=table_name, ConsistentRead=True)
    items = [table.unpack(item) for page in pages for item in page["Items"]]
    fresh: list[UsageRecord] = [records.from_image(item) for item in items if records.is_record(item)]

    assert len(fresh) == 1
    assert system_usage.count(fresh) == 1
    assert system_usage.statistics(NOW, NOW + 1, top=9, now=NOW).by_user == {"u1": 5}


def test_the_auditor_finds_an_organizations_wallet_that_differs_from_its_ledger(dynamodb: Any, table_name: str) -> None:
    credits.allocate(request(), 100)
    assert audit_all(NOW, lambda: True) == Audited(wallets=1)
    dynamodb.update_item(
        TableName=table_name,
        Key=table.pack(keys.wallet(ORGANIZATION)),
        UpdateExpression="SET granted = granted + :five, held = held + :five",
        ExpressionAttributeValues={":five": {"N": "5"}},
    )

    assert audit_all(NOW + HOUR, lambda: True) == Audited(wallets=1, drifting=1)
    proof, wallet, _ = audit(ORGANIZATION, NOW)
    assert proof.drift(wallet) == 5


def test_a_user_id_that_looks_like_an_account_id_is_only_a_user_id(user: MakeUser) -> None:
    """The user's own account pays for their requests, although they are a member of the organization."""
    user(LOOKALIKE)
    credits.allocate(request(), 100)

    assert credits.balance_of(LOOKALIKE, NOW).available == 0
    with pytest.raises(InsufficientCredits):
        sessions.initialize(LOOKALIKE, "s1", "m", 1_000, now=NOW)
    assert usage.statistics(LOOKALIKE, None, None).sums.records == 0


def test_calls_and_write_units_of_an_organizations_stream_match_the_data_model_page(
    user: MakeUser, calls: Calls
) -> None:
    user("u1")
    credits.allocate(request(), 1_000)
    stream("s0")
    calls_of: dict[str, Callable[[], object]] = {
        "initialize": lambda: stream("s1"),
        "heartbeat": lambda: sessions.heartbeat("u1", "s1", 500, now=NOW + MINUTE),
        "finalize with the account's id": lambda: settling.finalize(
            "u1", "s1", 800, success=True, now=NOW, account_id=ORGANIZATION
        ),
        "finalize without the account's id": lambda: settling.finalize("u1", "s0", 800, success=True, now=NOW),
    }
    spent = {}
    for name, call in calls_of.items():
        calls.reset()
        call()
        spent[name] = (calls.round_trips, calls.write_units)

    assert spent == {
        "initialize": (2, 9),
        "heartbeat": (1, 1),
        "finalize with the account's id": (2, 15),
        "finalize without the account's id": (3, 15),
    }
    assert session_lists.active_of_user("u1", before=None, limit=9) == ([], None)
