"""The sums of all wallets are stored only when the auditor has read every wallet, in one run or several."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal
from accounting.operations import credits, sessions, settling
from accounting.operations.audit import audit_all
from accounting.operations.credits import Request
from accounting.store import audits, keys, table, wallets
from accounting.times import DAY, HOUR
from tests.integration.conftest import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounting.domain.outstanding import Outstanding

type MakeUser = Callable[..., str]


def always() -> bool:
    return True


def for_batches(number: int) -> Callable[[], bool]:
    """A ``time_left`` for ``audit_all`` that allows ``number`` batches."""
    turns = count()
    return lambda: next(turns) < number


def stored_sums() -> Outstanding:
    sums = audits.outstanding()
    assert sums is not None
    return sums


def grant(user_id: str, number: int) -> None:
    credits.adjust(Request("boss", user_id, "", 30, NOW), number)


@pytest.fixture
def people(user: MakeUser) -> list[str]:
    """The ids of 12 users in several shards. Together they have 186 credits, which expire in 30 days."""
    return [user(f"u{number}", credits_granted=10 + number) for number in range(12)]


def test_no_sums_are_stored_before_the_first_run() -> None:
    assert audits.outstanding() is None

    audit_all(NOW, always)

    assert (stored_sums().accounts, stored_sums().available, stored_sums().ended_at) == (0, 0, NOW)


def test_the_sums_are_those_of_the_wallets(people: list[str]) -> None:
    sessions.initialize("u0", "s", "m", 4_000, now=NOW)
    sessions.initialize("u1", "t", "m", 4_000, now=NOW)
    settling.finalize("u1", "t", 100_000, success=True, now=NOW)
    audit_all(NOW + HOUR, always)

    known = [wallets.get(personal(name)) for name in people]
    assert (stored_sums().available, stored_sums().held, stored_sums().debt) == tuple(
        sum(getattr(each, name) for each in known) for name in ("available", "held", "debt")
    )
    assert stored_sums().held > 0
    assert stored_sums().debt > 0
    assert (stored_sums().accounts, stored_sums().drifting, stored_sums().unproved) == (12, 0, 0)
    assert stored_sums().by_month == {"2027-02": stored_sums().available}


def test_a_run_without_new_entries_adds_up_every_wallet_again(people: list[str]) -> None:
    audit_all(NOW, always)
    first = stored_sums()

    audit_all(NOW + HOUR, always)

    assert stored_sums().accounts == len(people)
    assert (stored_sums().available, stored_sums().ended_at) == (first.available, NOW + HOUR)


def test_an_incomplete_run_stores_no_new_sums_and_is_continued_by_the_next_run(people: list[str]) -> None:
    total = sum(wallets.get(personal(name)).available for name in people)
    assert not audit_all(NOW, for_batches(1)).complete
    assert audits.outstanding() is None
    audit_all(NOW + HOUR, always)
    assert (stored_sums().available, stored_sums().accounts) == (total, len(people))
    assert (stored_sums().begun_at, stored_sums().ended_at) == (NOW, NOW + HOUR)

    grant("u3", 1_000)
    for number in range(2):
        assert not audit_all(NOW + (2 + number) * HOUR, for_batches(1)).complete
        assert stored_sums().available == total, "must still be the total of the last complete run"

    audit_all(NOW + 5 * HOUR, always)
    assert (stored_sums().available, stored_sums().accounts) == (total + 1_000, len(people))


@pytest.mark.usefixtures("people")
def test_a_run_that_is_killed_at_its_end_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not audit_all(NOW, for_batches(1)).complete

    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(audits, "begin_anew", killed)
        with pytest.raises(KeyboardInterrupt):
            audit_all(NOW + HOUR, always)
    before = stored_sums()
    audit_all(NOW + 2 * HOUR, always)
    again = stored_sums()
    audit_all(NOW + 3 * HOUR, always)

    for each in (again, stored_sums()):
        assert (each.accounts, each.available) == (before.accounts, before.available) == (12, 186)


def test_a_run_that_is_killed_in_the_middle_counts_nothing_twice(
    people: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    assert not audit_all(NOW, for_batches(1)).complete
    with monkeypatch.context() as patched:
        patched.setattr(audits, "put_many", killed)
        with pytest.raises(KeyboardInterrupt):
            audit_all(NOW + HOUR, always)
    assert audits.outstanding() is None

    audit_all(NOW + 2 * HOUR, always)

    assert (stored_sums().accounts, stored_sums().available) == (len(people), 186)


@pytest.mark.usefixtures("people")
def test_damaged_accounts_are_named_and_accounts_whose_audit_failed_are_counted_as_unproved(
    dynamodb: Any, table_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, unreadable = personal("u2"), personal("u4")
    for account, values in ((changed, {"held": 5}), (unreadable, {"lots": "{"})):
        item = {**wallets.to_item(wallets.get(account)), **values}
        dynamodb.put_item(TableName=table_name, Item=table.pack(item))

    audit_all(NOW, always)

    assert set(stored_sums().named) == {changed, unreadable}
    assert (stored_sums().drifting, stored_sums().accounts) == (2, 11), "`accounts` must not count an unreadable wallet"

    from accounting.operations import audit

    proved = audit._proved

    def failing(proof: Any, wallet: Any) -> Any:
        if proof.account_id == personal("u6"):
            raise RuntimeError
        return proved(proof, wallet)

    monkeypatch.setattr(audit, "_proved", failing)
    audit_all(NOW + DAY, always)
    assert (stored_sums().drifting, stored_sums().unproved, stored_sums().accounts) == (2, 1, 11)


def test_a_run_ignores_a_stored_position_without_sums_and_reads_every_wallet(people: list[str]) -> None:
    table.put_many([{**keys.audit_position(), "part": 7, "after": keys.AFTER_ALL_ACCOUNTS}])

    audit_all(NOW, always)

    assert stored_sums().accounts == len(people)
