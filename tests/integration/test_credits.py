"""Credits in the table: balances, the commands that change them, allocations and the ledger."""

from collections.abc import Callable
from typing import Any

import pytest

from accounting import telemetry
from accounting.domain.errors import InsufficientCredits, UserNotFound
from accounting.domain.ledger import Cause
from accounting.domain.wallet import grant
from accounting.operations import credits, sessions, settling, usage
from accounting.operations.credits import Request
from accounting.operations.usage import Event
from accounting.store import allocations, keys, table, wallets
from accounting.times import DAY, HOUR
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.metrics import Counted

MakeUser = Callable[..., str]


def request(days: int = 30, now: int = NOW, notes: str = "", user: str = "u1") -> Request:
    return Request("boss", user, notes, days, now)


def ledger(
    since: int | None = None, until: int | None = None, before: int | None = None, limit: int = 100
) -> list[int]:
    entries, _ = credits.list_entries(wallets.get(ACCOUNT), since=since, until=until, before=before, limit=limit)
    return [entry.seq for entry in entries]


def test_a_user_without_a_wallet_has_nothing(user: MakeUser) -> None:
    user("u1")

    balance = credits.balance(ACCOUNT, NOW)

    assert (balance.available, balance.held, balance.debt, balance.lots) == (0, 0, 0, ())


def test_a_balance_ignores_expired_credits_and_writes_nothing(user: MakeUser, calls: Calls) -> None:
    user("u1", 10, days=1)
    credits.allocate(request(days=2), 5)
    before = wallets.get(ACCOUNT)
    calls.reset()

    balance = credits.balance(ACCOUNT, NOW + DAY)

    assert (balance.available, [lot.credits for lot in balance.lots]) == (5, [5])
    assert calls.write_units == 0
    assert wallets.get(ACCOUNT) == before


def test_the_first_command_after_an_expiry_writes_it_to_the_ledger(user: MakeUser) -> None:
    user("u1", 10, days=1)

    credits.allocate(request(now=NOW + DAY), 3)

    entries, _ = credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=10)
    assert [(entry.kind, entry.credits, entry.actor) for entry in entries] == [
        ("grant", 3, "boss"),
        ("expire", -10, "system"),
        ("grant", 10, "admin"),
    ]
    assert assert_books_balance("u1").expired == 10


RECORD = Event("u1", "images", "draw", 1, {}, deduct=True)
EXPIRED = NOW + 25 * HOUR


@pytest.mark.parametrize(
    "command",
    [
        lambda: credits.allocate(request(now=EXPIRED), 1),
        lambda: credits.set_available(request(now=EXPIRED), 1),
        lambda: credits.remove(request(now=EXPIRED), 1),
        lambda: credits.adjust(request(now=EXPIRED), -1),
        lambda: sessions.initialize("u1", "s2", "m", 5_000, now=EXPIRED),
        lambda: sessions.heartbeat("u1", "s1", 20_000, now=EXPIRED),
        lambda: settling.finalize("u1", "s1", 2_000, success=True, now=EXPIRED),
        lambda: usage.record(RECORD, now=EXPIRED, key=None),
        lambda: credits.expire(wallets.get(ACCOUNT), EXPIRED),
    ],
    ids=["allocate", "set", "remove", "adjust", "initialize", "heartbeat", "finalize", "record", "sweep"],
)
def test_the_first_command_after_an_expiry_counts_the_expired_credits_once(
    command: Callable[[], object], user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 50, days=1)
    credits.allocate(request(), 100)
    sessions.initialize("u1", "s1", "m", 5_000, now=EXPIRED - 2 * HOUR)
    counted = Counted()
    monkeypatch.setattr(telemetry, "metrics", counted)

    command()
    credits.remove(request(now=EXPIRED), 1)

    assert counted.counts["CreditsExpired"] == wallets.get(ACCOUNT).expired == 44  # 50 - 6 held


def test_a_wallet_is_due_for_the_sweeper_at_its_first_expiry_or_earlier(user: MakeUser) -> None:
    user("u1", 10, days=2)
    assert _due() == "2027-01-17T08:00:00.000Z#user:u1"
    credits.allocate(request(days=1), 5)
    assert _due() == "2027-01-16T08:00:00.000Z#user:u1"

    credits.remove(request(), 5)
    assert _due() == "2027-01-16T08:00:00.000Z#user:u1", (
        "the due time stays, because a change would cost two index writes"
    )

    assert credits.expire(wallets.get(ACCOUNT), NOW + DAY) == 0
    assert _due() == "2027-01-17T08:00:00.000Z#user:u1", "the sweeper finds nothing due and moves the time"
    assert credits.expire(wallets.get(ACCOUNT), NOW + 2 * DAY) == 10
    assert _due() is None


def _due() -> str | None:
    item = table.get(keys.wallet(ACCOUNT))
    assert item is not None
    return item.get("due_sk")


def test_each_command_answers_with_its_effect(user: MakeUser) -> None:
    user("u1", 100)

    allocated = credits.allocate(request(days=1, notes="gift"), 7)
    removed = credits.remove(request(), 5)
    adjusted = credits.adjust(request(), -2)
    made = credits.set_available(request(), 500)

    assert allocated.allocation is not None
    assert (allocated.allocation.credits, allocated.allocation.notes, allocated.remaining) == (7, "", 7)
    (stored,) = allocations.page(ACCOUNT, last=2, limit=1)
    assert stored == allocated.allocation._replace(notes="gift"), (
        "the result has no notes: it is stored for repeats, and notes are stored only where they can be erased"
    )
    assert allocated.allocation.expires_at == NOW + DAY
    assert [(change.previous, change.available) for change in (allocated, removed, adjusted, made)] == [
        (100, 107),
        (107, 102),
        (102, 100),
        (100, 500),
    ]
    assert made.allocation is not None
    assert made.allocation.credits == 400
    assert assert_books_balance("u1").allocations == 3


def test_a_refused_command_writes_nothing(user: MakeUser) -> None:
    user("u1", 10)
    before = wallets.get(ACCOUNT)

    with pytest.raises(InsufficientCredits):
        credits.remove(request(), 11)
    with pytest.raises(InsufficientCredits):
        credits.adjust(request(), -11)

    assert wallets.get(ACCOUNT) == before
    assert_books_balance("u1")


@pytest.mark.parametrize("command", [credits.allocate, credits.set_available, credits.remove, credits.adjust])
def test_commands_for_unknown_users_are_refused(command: Callable[[Request, int], Any]) -> None:
    with pytest.raises(UserNotFound):
        command(request(user="nobody"), 1)


def test_a_wallet_has_at_most_a_thousand_lots_and_merges_them_beyond_that(user: MakeUser) -> None:
    user("u1")
    full = wallets.get(ACCOUNT)
    for number in range(1000):
        cause = Cause("boss", NOW)
        full = grant(full, 10**9, expires_at=NOW + DAY + number * 1_000, cause=cause).wallet
    table.transact([wallets.put(wallets.get(ACCOUNT), full)])

    change = credits.allocate(request(), 1)

    assert change.available == 1000 * 10**9 + 1
    balance = credits.balance(ACCOUNT, NOW)
    assert (len(balance.lots), balance.available) == (1000, change.available)
    entries, _ = credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=2)
    assert [entry.kind for entry in entries] == ["merge", "grant"]
    assert entries[0].reason == "allocation 1 joined allocation 2"


def test_a_purchase_after_two_hundred_gifts_is_granted_and_cheap_to_spend(user: MakeUser, calls: Calls) -> None:
    user("u1")
    for number in range(200):
        credits.allocate(request(now=NOW + number * 60_000), 1)
    bought = credits.allocate(request(days=365, now=NOW + DAY), 5_000)
    sessions.initialize("u1", "s0", "m", 1_000, now=NOW + DAY)
    calls.reset()

    sessions.initialize("u1", "s1", "m", 5_000, now=NOW + DAY)

    assert bought.available == 5_200
    assert (calls.round_trips, calls.write_units <= 15) == (2, True), calls.write_units
    assert_books_balance("u1")


def test_the_ledger_is_read_newest_first_page_by_page(user: MakeUser) -> None:
    user("u1")
    for number in range(7):
        credits.allocate(request(now=NOW + number), 1)

    pages, before = [], None
    while True:
        entries, before = credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=before, limit=3)
        pages.append([entry.seq for entry in entries])
        credits.allocate(request(now=NOW + HOUR), 1)  # new entries do not shift the pages
        if before is None:
            break

    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


def test_a_full_last_page_has_no_cursor(user: MakeUser) -> None:
    user("u1")
    for number in range(3):
        credits.allocate(request(now=NOW + number), 1)

    entries, before = credits.list_entries(wallets.get(ACCOUNT), since=None, until=None, before=None, limit=3)

    assert (len(entries), before) == (3, None)


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        (None, None, [6, 5, 4, 3, 2, 1]),
        (NOW + 20, None, [6, 5, 4, 3]),
        (NOW + 21, None, [6, 5]),
        (None, NOW + 20, [2, 1]),
        (None, NOW + 21, [4, 3, 2, 1]),
        (NOW + 10, NOW + 21, [4, 3, 2, 1]),
        (NOW + 11, NOW + 20, []),
        (NOW + 99, None, []),
        (None, NOW, []),
        (0, 10**15, [6, 5, 4, 3, 2, 1]),
    ],
)
def test_the_ledger_lists_the_entries_of_a_range_of_time(
    since: int | None, until: int | None, found: list[int], user: MakeUser
) -> None:
    user("u1")
    for at in (10, 10, 20, 20, 30, 30):
        credits.allocate(request(now=NOW + at), 1)

    assert ledger(since, until) == found


def test_the_entries_of_a_range_of_time_are_read_page_by_page(user: MakeUser) -> None:
    user("u1")
    for at in range(10):
        credits.allocate(request(now=NOW + at), 1)

    first, before = credits.list_entries(wallets.get(ACCOUNT), since=NOW + 3, until=NOW + 8, before=None, limit=3)
    second, end = credits.list_entries(wallets.get(ACCOUNT), since=NOW + 3, until=NOW + 8, before=before, limit=3)

    assert ([entry.seq for entry in first], [entry.seq for entry in second], end) == ([8, 7, 6], [5, 4], None)


def test_a_range_of_time_is_found_by_binary_search(user: MakeUser, calls: Calls) -> None:
    user("u1")
    for at in range(40):
        credits.allocate(request(now=NOW + at), 1)
    calls.reset()

    assert ledger(NOW + 30, NOW + 31) == [31]

    assert calls.operations.count("GetItem") <= 2 * 6  # six for each end of the range, because 2**6 > 40


def test_an_empty_ledger_has_one_empty_page(user: MakeUser) -> None:
    user("u1")

    assert credits.list_entries(wallets.get(ACCOUNT), since=NOW, until=None, before=None, limit=9) == ([], None)


def test_allocations_are_listed_newest_first_with_their_remaining_credits(user: MakeUser) -> None:
    user("u1")
    for number in range(5):
        credits.allocate(request(days=number + 1, now=NOW + number), 10)
    credits.remove(request(), 15)

    page = credits.list_allocations(wallets.get(ACCOUNT), skip=0, last=None, limit=9, now=NOW)
    later = credits.list_allocations(wallets.get(ACCOUNT), skip=0, last=None, limit=9, now=NOW + 3 * DAY + 1_000)

    assert [(made.number, left) for made, left in page.allocations] == [(5, 10), (4, 10), (3, 10), (2, 5), (1, 0)]
    assert [left for _, left in later.allocations] == [10, 10, 0, 0, 0]
    assert (page.total, page.next_number) == (5, None)


def test_allocations_are_paged_by_skipping_and_by_cursor(user: MakeUser) -> None:
    user("u1")
    for number in range(5):
        credits.allocate(request(now=NOW + number), 1)

    def page(skip: int = 0, last: int | None = None) -> tuple[list[int], int | None]:
        found = credits.list_allocations(wallets.get(ACCOUNT), skip=skip, last=last, limit=2, now=NOW)
        return [made.number for made, _ in found.allocations], found.next_number

    assert [page(skip) for skip in (0, 2, 4, 6)] == [([5, 4], 3), ([3, 2], 1), ([1], None), ([], None)]
    assert [page(last=last) for last in (3, 1, 99)] == [([3, 2], 1), ([1], None), ([5, 4], 3)]
    assert page(last=0) == ([], None)


def test_a_refund_after_the_expiry_is_still_listed_with_its_allocation(user: MakeUser) -> None:
    user("u1", 10, days=1)
    sessions.initialize("u1", "s1", "m", 5_000, now=NOW)
    settling.abort("u1", "s1", 0, now=NOW + DAY + HOUR)

    page = credits.list_allocations(wallets.get(ACCOUNT), skip=0, last=None, limit=2, now=NOW + DAY + HOUR)

    assert [(made.credits, left) for made, left in page.allocations] == [(10, 6)]
