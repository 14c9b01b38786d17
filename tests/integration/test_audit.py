"""The audit finds changes to the table that the service did not make.

An audit of all wallets stores a proof of each intact ledger. For a week, later audits read only newer entries.

``AUDIT_WALLETS=10000`` sets the size of the test with many wallets, and ``--log-cli-level=INFO`` shows its time and
memory.
"""

import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain import wallet as decisions
from accounting.domain.accounts import personal
from accounting.domain.audit import Finding
from accounting.domain.ledger import Cause, Entry
from accounting.domain.users import User
from accounting.domain.wallet import Wallet
from accounting.operations import credits
from accounting.operations.audit import Audited, audit, audit_all
from accounting.operations.credits import Request
from accounting.store import entries, keys, profiles, table, wallets
from accounting.times import DAY, HOUR
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW

type MakeUser = Callable[..., str]
type Tamper = Callable[..., None]


def always() -> bool:
    return True


def adjust(user_id: str, times: int = 1) -> None:
    for _ in range(times):
        credits.adjust(Request("boss", user_id, "", 30, NOW), 1)


@pytest.fixture
def three_users(user: MakeUser) -> None:
    """Three users with five ledger entries each."""
    for name in ("u1", "u2", "u3"):
        adjust(user(name, credits_granted=10), 4)


@pytest.mark.usefixtures("three_users")
def test_ledgers_that_the_service_wrote_are_intact() -> None:
    assert audit_all(NOW, always) == Audited(wallets=3)


@pytest.fixture
def tamper(dynamodb: Any, table_name: str) -> Tamper:
    """A function that alters, inserts or removes a ledger entry of u2 without the service."""

    def change(how: str, number: int, **values: Any) -> None:
        key = table.pack(keys.entry(personal("u2"), number))
        if how == "remove":
            dynamodb.delete_item(TableName=table_name, Key=key)
            return
        item = dynamodb.get_item(TableName=table_name, Key=key).get("Item", {})
        dynamodb.put_item(TableName=table_name, Item={**item, **key, **table.pack(values)})

    return change


TAMPERINGS = [
    pytest.param("alter", 3, {"reason": "never said"}, "altered", id="a reason"),
    pytest.param("alter", 3, {"credits": 9}, "altered", id="credits"),
    pytest.param("alter", 3, {"credits": "1"}, "altered", id="a type"),
    pytest.param("alter", 3, {"more": 1}, "altered", id="an extra attribute"),
    pytest.param("alter", 3, {"run_id": "r1"}, "altered", id="an attribute of a later format"),
    pytest.param("alter", 3, {"run_id": "r1", "format": 2}, "altered", id="a later format"),
    pytest.param("alter", 5, {"actor": "u2"}, "altered", id="the last entry"),
    pytest.param("remove", 1, {}, "missing", id="the first removed"),
    pytest.param("remove", 3, {}, "missing", id="one removed"),
    pytest.param("remove", 5, {}, "missing", id="the last removed"),
    pytest.param("insert", 6, {"seq": 6, "kind": "grant", "credits": 50}, "inserted", id="one inserted"),
]


@pytest.mark.usefixtures("three_users")
@pytest.mark.parametrize(("how", "seq", "values", "problem"), TAMPERINGS)
def test_tampering_is_found_by_an_audit_on_request_and_by_the_next_full_audit(
    tamper: Tamper, how: str, seq: int, values: dict[str, Any], problem: str
) -> None:
    audit_all(NOW, always)
    tamper(how, seq, **values)

    proof, _, first = audit(personal("u2"), NOW)
    assert Finding(problem, seq) in proof.findings  # type: ignore[arg-type]
    assert first == 1
    assert audit_all(NOW + 8 * DAY, always) == Audited(wallets=3, drifting=1)
    assert audit_all(NOW + 9 * DAY, always).drifting == 1, "the finding returns until somebody repairs the ledger"


@pytest.mark.usefixtures("three_users")
def test_tampering_with_new_entries_is_found_by_the_next_audit(tamper: Tamper) -> None:
    audit_all(NOW, always)
    adjust("u2", 3)
    tamper("alter", 7, reason="never said")

    assert audit_all(NOW + HOUR, always) == Audited(wallets=3, drifting=1)


@pytest.mark.usefixtures("three_users")
def test_tampering_with_a_wallet_is_found_by_the_next_audit(dynamodb: Any, table_name: str) -> None:
    audit_all(NOW, always)
    dynamodb.update_item(
        TableName=table_name,
        Key=table.pack(keys.wallet(personal("u2"))),
        UpdateExpression="SET granted = granted + :five, held = held + :five",
        ExpressionAttributeValues={":five": {"N": "5"}},
    )

    assert audit_all(NOW + HOUR, always) == Audited(wallets=3, drifting=1)
    proof, wallet, _ = audit(personal("u2"), NOW)
    assert proof.drift(wallet) == 5


@pytest.mark.usefixtures("three_users")
@pytest.mark.parametrize("lots", ["{", "1,5", "tro8w0,5,1jk00,1", 7])
def test_an_unreadable_wallet_is_reported_and_does_not_stop_the_audit(
    lots: object, dynamodb: Any, table_name: str
) -> None:
    account = personal("u2")
    item = {**wallets.to_item(wallets.get(account)), "lots": lots}
    dynamodb.put_item(TableName=table_name, Item=table.pack(item))

    assert audit_all(NOW, always) == Audited(wallets=3, drifting=1)


@pytest.mark.usefixtures("three_users")
@pytest.mark.parametrize("sums", ["{", '{"unknown": 1}', 7])
def test_a_ledger_with_an_unreadable_proof_is_proved_from_its_first_entry(
    sums: object, dynamodb: Any, table_name: str
) -> None:
    audit_all(NOW, always)
    key = keys.audit(personal("u2"))
    stored = table.get(key)
    assert stored is not None
    dynamodb.put_item(TableName=table_name, Item=table.pack({**stored, "sums": sums}))

    assert audit_all(NOW + HOUR, always) == Audited(wallets=3)
    assert table.get(key) == {**stored, "since": NOW + HOUR}


@pytest.mark.usefixtures("three_users")
def test_an_audit_reads_only_new_entries_but_after_a_week_it_reads_all_entries(calls: Calls) -> None:
    def entries_read(now: int) -> int:
        calls.reset()
        assert audit_all(now, always).drifting == 0
        position, users_listed, wallets_and_proofs = 1, 3, 3 + 3
        return calls.items - position - users_listed - wallets_and_proofs

    audit_all(NOW, always)
    adjust("u1", 2)

    assert entries_read(NOW + HOUR) == 2
    assert entries_read(NOW + 2 * HOUR) == 0
    assert entries_read(NOW + 7 * DAY) == 17


@pytest.mark.usefixtures("three_users")
def test_an_audit_resumes_where_the_last_one_ran_out_of_time() -> None:
    turns = iter([True, False])
    first = audit_all(NOW, lambda: next(turns))
    second = audit_all(NOW, always)

    assert (first.complete, second.complete) == (False, True)
    assert first.wallets + second.wallets == 3
    assert audit_all(NOW, always).wallets == 3, "after a complete audit, the next audit begins with the first wallet"


def test_commands_during_an_audit_cause_no_finding(user: MakeUser) -> None:
    for number in range(4):
        user(f"u{number}", credits_granted=5)
    busy = [threading.Thread(target=adjust, args=(f"u{number}", 25)) for number in range(4)]
    for each in busy:
        each.start()
    audits: list[Audited] = []
    while any(each.is_alive() for each in busy):
        audits.append(audit_all(NOW + len(audits) * 8 * DAY * (len(audits) % 2), always))

    assert len(audits) > 1
    assert {(each.drifting, each.failures) for each in audits} == {(0, 0)}


def test_an_audit_on_request_proves_only_the_new_entries_of_a_long_ledger(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounting.operations.audit.MAX_READ_AGAIN", 10)
    adjust(user(credits_granted=5), 20)
    audit_all(NOW, always)
    adjust("u1", 3)

    proof, wallet, first = audit(ACCOUNT, NOW)

    assert (proof.intact, first, proof.seq, wallet.entry_seq) == (True, 22, 24, 24)
    assert proof.by_kind["adjust"].entries == 23


WALLETS = int(os.environ.get("AUDIT_WALLETS", "300"))


def test_auditing_many_wallets_takes_bounded_memory() -> None:
    items = []
    for number in range(WALLETS):
        items += _user_with_entries(f"u{number:05}")
    table.put_many(items)
    del items
    tracemalloc.start()
    began = time.perf_counter()

    audited = audit_all(NOW, always)

    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    logging.getLogger(__name__).info("%s wallets in %.1f s, at most %s KB", WALLETS, seconds, peak // 1024)
    assert audited == Audited(wallets=WALLETS)
    assert peak < 16 * 1024 * 1024, "memory must not grow with the number of wallets"


def _user_with_entries(user_id: str) -> list[table.Item]:
    """The items of a user with three ledger entries."""
    wallet, made = Wallet(personal(user_id)), list[Entry]()
    for _ in range(3):
        decision = decisions.grant(wallet, 5, expires_at=NOW + DAY, cause=Cause("boss", NOW))
        wallet = decision.wallet
        made += decision.entries
    profile = profiles.to_item(User(user_id, "", "", "user", created_at=NOW, updated_at=NOW))
    return [profile, wallets.to_item(wallet), *map(entries.to_item, made)]
