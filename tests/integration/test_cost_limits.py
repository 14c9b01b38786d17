"""Each operation stays within its limits of round trips and write units, however long the user's history is."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import batched, count
from typing import Any

import pytest

from accounting.domain import wallet as decisions
from accounting.domain.ledger import Cause
from accounting.domain.pricing import DEFAULT_CARD
from accounting.domain.sessions import Report, Session, resolved
from accounting.domain.users import Description
from accounting.operations import credits, sessions, settling
from accounting.operations.credits import Request
from accounting.store import entries, prices, session_lists, table, users, wallets
from accounting.store import sessions as session_store
from accounting.store.table import Write
from accounting.store.table.wire import Wire
from local.uuid7 import uuid7
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.lots import different_lots

MakeUser = Callable[..., str]
names = count()

HISTORY = 300


def name() -> str:
    return f"s{next(names)}"


def open_session(session_id: str | None = None) -> str:
    session_id = session_id or name()
    sessions.initialize("u1", session_id, "m", 1_000, now=NOW)
    return session_id


def request() -> Request:
    return Request("boss", "u1", "", 30, NOW)


@dataclass(frozen=True)
class CostLimit:
    """An operation and the most that it may cost. ``before`` prepares it and returns the argument for ``run``."""

    operation: str
    round_trips: int
    write_units: int
    run: Callable[[Any], object]
    before: Callable[[], Any] = lambda: None


def open_session_at(tokens: int) -> str:
    session_id = open_session()
    sessions.heartbeat("u1", session_id, tokens, now=NOW)
    return session_id


def finalize(session_id: str, tokens: int = 500) -> str:
    settling.finalize("u1", session_id, tokens, success=True, now=NOW)
    return session_id


def finalized_session() -> str:
    return finalize(open_session())


def aborted_session() -> str:
    session_id = open_session()
    settling.abort("u1", session_id, None, now=NOW)
    return session_id


def stored_description() -> Description:
    """A description of the user that changes nothing, because it is already stored."""
    user = users.resolve("u1").user
    return Description(user.id, user.email, user.username, user.role, user.email_at, user.role_at)


COST_LIMITS = [
    CostLimit("balance", 1, 0, lambda _: credits.balance(ACCOUNT, NOW)),
    CostLimit("balance of a user", 1, 0, lambda _: credits.balance_of("u1", NOW)),
    CostLimit("balance by e-mail", 2, 0, lambda _: credits.balance_of("u1@example.com", NOW)),
    CostLimit("calculate, price cached", 0, 0, lambda _: prices.card_at("m", NOW)),
    CostLimit("calculate, price not cached", 1, 0, lambda _: prices.card_at("m", NOW), prices.forget),
    CostLimit("initialize with a UUIDv7", 2, 8, lambda _: open_session(uuid7(NOW))),
    CostLimit("initialize with another id", 2, 9, lambda _: open_session()),
    CostLimit("heartbeat", 1, 1, lambda sid: sessions.heartbeat("u1", sid, 500, now=NOW), open_session),
    CostLimit(
        "heartbeat with fewer tokens",
        2,
        1,
        lambda sid: sessions.heartbeat("u1", sid, 1, now=NOW),
        lambda: open_session_at(100),
    ),
    CostLimit("finalize", 2, 11, finalize, open_session),
    CostLimit("finalize with a UUIDv7", 2, 11, finalize, lambda: open_session(uuid7(NOW))),
    CostLimit("finalize, overrun", 2, 13, lambda sid: finalize(sid, 50_000), open_session),
    CostLimit("finalize, again", 1, 0, finalize, finalized_session),
    CostLimit("abort", 2, 11, lambda sid: settling.abort("u1", sid, None, now=NOW), open_session),
    CostLimit("abort, again", 1, 0, lambda sid: settling.abort("u1", sid, None, now=NOW), aborted_session),
    CostLimit("allocate", 2, 7, lambda _: credits.allocate(request(), 1)),
    CostLimit("remove", 2, 4, lambda _: credits.remove(request(), 1)),
    CostLimit("sync, nothing new", 1, 0, lambda same: users.sync(same, NOW), stored_description),
    CostLimit(
        "ledger",
        2,
        0,
        lambda _: credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=20),
    ),
    CostLimit(
        "allocations",
        2,
        0,
        lambda _: credits.list_allocations(wallets.get(ACCOUNT), skip=0, last=None, limit=20, now=NOW),
    ),
    CostLimit("sessions of a user", 3, 0, lambda _: session_lists.recent_of_user("u1", now=NOW, before=None, limit=20)),
    CostLimit("sessions of all", 9, 0, lambda _: session_lists.recent_of_all(before=None, limit=20)),
    CostLimit("active sessions of all", 9, 0, lambda _: session_lists.active_of_all(before=None, limit=20)),
]


def test_a_session_costs_one_write_unit_less_if_its_id_contains_its_start_time(user: MakeUser, calls: Calls) -> None:
    user("u1", 100_000)
    prices.card_at("m", NOW)
    spent = []
    for session_id in (uuid7(NOW), "chosen", uuid7(NOW + 10_001)):  # the last id contains another time
        calls.reset()
        open_session(session_id)
        spent.append(calls.write_units)
        calls.reset()
        finalize(session_id)
        spent.append(calls.write_units)

    assert spent == [8, 11, 9, 11, 9, 11]


@pytest.mark.parametrize("history", [0, HISTORY], ids=["new user", "long history"])
def test_operations_stay_within_their_cost_limits(user: MakeUser, calls: Calls, history: int) -> None:
    user("u1", 100_000)
    write_history(history)
    spent, allowed = {}, {}
    for cost_limit in COST_LIMITS:
        prices.card_at("m", NOW)  # caches the price
        subject = cost_limit.before()
        calls.reset()
        cost_limit.run(subject)
        spent[cost_limit.operation] = (calls.round_trips, calls.write_units)
        allowed[cost_limit.operation] = (cost_limit.round_trips, cost_limit.write_units)

    over = {
        operation: f"{spent[operation]} spent, {allowed[operation]} allowed"
        for operation in spent
        if any(cost > most for cost, most in zip(spent[operation], allowed[operation], strict=True))
    }
    assert over == {}


def write_history(length: int) -> None:
    """Write a history to the table: ``length`` sessions, all ended, as the domain's functions compute them."""
    before = wallet = wallets.get(ACCOUNT)
    items = []
    for number in range(length):
        at, session_id = NOW + number, f"old{number}"
        hold = decisions.hold(wallet, 2, cause=Cause("u1", at, session_id=session_id))
        session = Session("u1", session_id, ACCOUNT, "m", DEFAULT_CARD, 1_000, hold.parts, at, at, at, 2, at)
        cause = Cause("u1", at, session_id=session_id)
        settled = decisions.settle(hold.wallet, hold.parts, 1, grace_milliseconds=1, cause=cause)
        ended = resolved(session, settled, Report(200), outcome="aborted", success=False, at=at)
        items += [session_store.to_item(ended), *map(entries.to_item, [*hold.entries, *settled.entries])]
        wallet = settled.wallet
    for batch in batched(items, 100, strict=False):
        table.transact([Write(table.put(item)) for item in batch])
    if length:
        table.transact([wallets.put(before, wallet)])


def test_lists_read_at_most_a_page_and_two_rows(user: MakeUser, monkeypatch: pytest.MonkeyPatch) -> None:
    user("u1", 100_000)
    for number in range(30):
        sessions.initialize("u1", f"s{number}", "m", 1_000, now=NOW + number)
    evaluated: list[int] = []
    query = Wire.query

    def query_and_note(wire: Wire, **request: Any) -> Any:
        answer = query(wire, **request)
        evaluated.append(answer["ScannedCount"])
        return answer

    monkeypatch.setattr(Wire, "query", query_and_note)

    session_lists.recent_of_user("u1", now=NOW, before=None, limit=5)
    of_user = sum(evaluated)
    evaluated.clear()
    session_lists.recent_of_all(before=None, limit=5)
    of_all = max(evaluated)
    evaluated.clear()
    credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=5)
    of_ledger = sum(evaluated)

    assert of_user <= 7, "a page, the row before it, and a row that shows whether there is a next page"
    assert of_all <= 7, "a page and two rows of each shard"
    assert of_ledger <= 5


def test_a_grant_a_session_and_a_list_need_no_scan(user: MakeUser, calls: Calls) -> None:
    user("u1", 1_000)
    session_id = open_session()
    finalize(session_id)
    session_lists.recent_of_all(before=None, limit=20)

    assert set(calls.operations) <= {"GetItem", "BatchGetItem", "Query", "TransactWriteItems", "UpdateItem"}


def test_a_hold_on_a_wallet_of_200_lots_costs_at_most_15_write_units(user: MakeUser, calls: Calls) -> None:
    user("u1", 1)
    table.put_many([wallets.to_item(wallets.get(ACCOUNT)._replace(lots=tuple(different_lots(200)), allocations=200))])
    calls.reset()

    open_session()

    assert calls.write_units <= 15


def test_a_session_that_empties_the_first_lot_costs_at_most_22_write_units(user: MakeUser, calls: Calls) -> None:
    user("u1", 6, days=1)
    credits.allocate(credits.Request("admin", "u1", "", 30, NOW), 100)
    prices.card_at("m", NOW)
    calls.reset()

    sessions.initialize("u1", "s", "m", 5_000, now=NOW)
    assert (calls.round_trips, calls.write_units) == (2, 9)
    calls.reset()

    settling.finalize("u1", "s", 2_000, success=True, now=NOW)
    assert calls.round_trips == 2
    assert calls.write_units <= 22 - 9
