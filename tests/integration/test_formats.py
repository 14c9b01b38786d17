"""Formats of stored items: a changed attribute or type is noticed, and a newer version's attributes are kept.

``tests/samples`` has one item of each kind, as this version writes it. If ``WRITE_SAMPLES`` is set, missing samples are
written.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from accounting.domain.accounts import stored
from accounting.domain.budgets import Spender
from accounting.domain.errors import Unavailable
from accounting.domain.ledger import FORMAT
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import PriceRule
from accounting.domain.sessions import Report
from accounting.domain.usage import ModelCall, ProviderUsage
from accounting.domain.users import Description
from accounting.operations import (
    api_keys,
    budgets,
    closing,
    credits,
    erasing,
    organizations,
    prices,
    runs,
    service_credentials,
    sessions,
    settling,
    system_usage,
    usage,
)
from accounting.operations import users as people
from accounting.operations.audit import Audited, audit, audit_all
from accounting.operations.credits import Request
from accounting.operations.settling import Particulars
from accounting.operations.usage import Event
from accounting.store import keys, profiles, table, users, wallets
from accounting.store import sessions as session_store
from accounting.store import usage as usage_store
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY
from tests.audit import assert_books_balance
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with
from tests.prices import per_thousand

type MakeUser = Callable[..., str]

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
ORGANIZATION = stored("org:o1")


def request(**more: Any) -> Request:
    return Request("boss", "u1", "a note", 30, NOW, **more)


def write_every_kind(dynamodb: Any, table_name: str) -> list[dict[str, Any]]:
    """Write an item of every kind, and return all items of the table."""
    credits.allocate(request(key=IdempotencyKey("boss", "allocate", "k", "fingerprint")), 100)
    for name in ("s1", "s2"):
        sessions.initialize("u1", name, "m", 1_000, now=NOW, metadata={"chat": name})
    sessions.initialize("u1", "s3", "m", 1_000, now=NOW)
    by_class = Usage(900, 300, cached_input=100)
    for name in ("s4", "s5"):
        sessions.initialize("u1", name, "m", 300, now=NOW, estimated_usage=by_class)
    served = Particulars("other", {}, ProviderUsage("openai", {"prompt_tokens": 900}))
    settling.finalize("u1", "s4", Report.of(None, by_class) or 0, success=True, now=NOW, particulars=served)
    priced = ModelCall("priced", by_class, None, served.provider_usage)
    usage.record(Event("u1", "images", "describe", priced, {}, False), now=NOW, key=None)
    settling.force_end("u1", "s1", actor="boss", reason="stuck", now=NOW)
    settling.finalize("u1", "s1", 2_000, success=True, now=NOW)
    organization_with(ORGANIZATION, "u1", now=NOW)
    _spend_within_limits()
    usage.record(Event("u1", "images", "draw", 0, {"a": 1}, False, ORGANIZATION), now=NOW, key=None)
    full = PriceRule("m", per_thousand(9), NOW + DAY, NOW + 2 * DAY, {"v": per_thousand(1)}, ("alias",), 9, "list", "1")
    prices.add(full, now=NOW, key=None)
    api_keys.create("u1", "a key", ("credits:read",), expires_at=None, now=NOW, idempotency_key=None)
    usage.record(Event("u1", "images", "by a job", 0, {}, False, actor="service:s"), now=NOW, key=None)
    issued = service_credentials.create("a service", ("read",), now=NOW, key=None)
    service_credentials.rotate(issued.credential.id, overlap=DAY, keep_previous=False, now=NOW, key=None)
    made = organizations.create("Acme", "u1", now=NOW, key=None).organization
    api_keys.create("u1", "a key", (), expires_at=None, now=NOW, idempotency_key=None, account_id=made.account_id)
    closing.close(made.id, ACCOUNT, actor="boss", now=NOW)
    people.disable("u1", by="boss", reason="away", now=NOW)
    users.sync(Description("u9"), NOW)
    erasing.erase("u9", by="boss", now=NOW)
    system_usage.count([*usage_store.newest(ACCOUNT, None, None, 99)])
    audit_all(NOW, lambda: True)
    audit_all(NOW, lambda: False)
    pages = dynamodb.get_paginator("scan").paginate(TableName=table_name, ConsistentRead=True)
    return [table.unpack(item) for page in pages for item in page["Items"]]


def _spend_within_limits() -> None:
    """Make a budget and a run. Then spend from both, with an open session, an ended session and a usage record."""
    credits.allocate(request()._replace(account_id=ORGANIZATION), 100)
    of_all = budgets.BudgetValues(90, "month", "Europe/Berlin", (80,))
    budgets.put(ORGANIZATION, "members", of_all, by=budgets.Requester("boss", is_administrator=True), now=NOW)
    spender = Spender("u1", ORGANIZATION, "k", "r1")
    runs.begin(spender, "r1", 50, expires_at=None, metadata={"task": "t"}, now=NOW)
    for name in ("s6", "s7"):
        sessions.initialize("u1", name, "m", 1_000, now=NOW, account_id=ORGANIZATION, key_id="k", run_id="r1")
    settling.finalize("u1", "s7", 500, success=True, now=NOW)
    event = Event("u1", "images", "draw", 1, {}, True, ORGANIZATION, None, "k", "r1")
    usage.record(event, now=NOW, key=None)


def kind_of(item: dict[str, Any]) -> str:
    """The kind of an item: how its keys begin, its state, and which optional attributes it has."""
    partition, kind = item["pk"].partition("#")[0], item["sk"].partition("#")[0]
    state = f"-{item['status']}" if kind == "SESSION" else "-erased" if {"erased", "erased_at"} & item.keys() else ""
    by_class = ("rates" in item and "inputs" in item) or (kind == "USAGE" and "usage" in item) or "input" in item
    options = f"{'-alias' if 'alias_of' in item else ''}{'-by-class' if by_class else ''}"
    options += f"{'-by-number' if 'unclassified' in item else ''}{'-priced' if 'priced_as' in item else ''}"
    options += f"{'-of-an-organization' if kind == 'WALLET' and '#org:' in item['pk'] else ''}"
    options += f"{'-for-an-account' if partition == 'KEY' and 'account_id' in item else ''}"
    options += f"{'-of-a-service' if 'actor' in item and kind == 'USAGE' else ''}"
    options += f"{'-in-a-run' if 'run_id' in item and kind != 'RUN' else ''}"
    options += f"{'-with-budgets' if kind == 'WALLET' and 'budgets' in item else ''}"
    options += f"{'-closed' if 'closed_at' in item else ''}"
    return f"{partition}-{kind}{state}{options}{'-pointer' if 'paid_by' in item else ''}".lower()


def shape_of(item: dict[str, Any]) -> dict[str, str]:
    """The attributes of an item and their types."""
    return {name: type(value).__name__ for name, value in sorted(item.items())}


def test_every_kind_of_item_matches_its_sample(user: MakeUser, dynamodb: Any, table_name: str) -> None:
    user("u1")
    written: dict[str, dict[str, Any]] = {}
    for item in write_every_kind(dynamodb, table_name):
        written.setdefault(kind_of(item), item)
    if os.environ.get("WRITE_SAMPLES"):
        for kind in written.keys() - {file.stem for file in SAMPLES.glob("*.json")}:
            (SAMPLES / f"{kind}.json").write_text(json.dumps(written[kind], indent=2) + "\n")
    samples = {file.stem: json.loads(file.read_text()) for file in SAMPLES.glob("*.json")}

    assert len(written) > 15
    assert {kind: shape_of(item) for kind, item in written.items()} == {
        kind: shape_of(sample) for kind, sample in samples.items()
    }, "an item whose shape changes needs a new ``format``: see accounting/store/formats.py"
    assert [kind for kind, item in written.items() if not isinstance(item.get("format"), int)] == []


@pytest.mark.parametrize(
    ("sample", "read_and_write"),
    [
        ("account-wallet", lambda item: wallets.to_item(wallets.from_item(ACCOUNT, item))),
        ("user-session-active", lambda item: session_store.to_item(session_store.from_item(item))),
        ("user-session-active-by-class", lambda item: session_store.to_item(session_store.from_item(item))),
        ("user-session-completed-by-class", lambda item: session_store.to_item(session_store.from_item(item))),
        ("user-session-completed", lambda item: session_store.to_item(session_store.from_item(item))),
        ("user-profile", lambda item: profiles.to_item(profiles.from_item(item))),
    ],
)
def test_replacing_an_item_keeps_attributes_of_a_newer_version(
    sample: str, read_and_write: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    item = json.loads((SAMPLES / f"{sample}.json").read_text())
    newer = item | {"of_tomorrow": {"M": {"x": {"N": "1"}}}, "format": 2}

    written = {name: value for name, value in read_and_write(newer).items() if value is not None}

    assert written == newer


def test_a_future_issue_time_of_a_token_is_stored() -> None:
    synced = users.sync(Description("u1", role="admin", issued_at=NOW // 1000 + 25), NOW)[0]

    assert synced.ahead == NOW // 1000 + 25
    assert users.find("u1") == synced


def test_a_wallet_of_a_newer_version_is_used_and_keeps_its_attributes(
    user: MakeUser, dynamodb: Any, table_name: str
) -> None:
    """During a deployment, both versions write the same wallets. Neither may refuse or lose the other's values."""
    user("u1", 100)
    dynamodb.update_item(
        TableName=table_name,
        Key=table.pack(keys.wallet(ACCOUNT)),
        UpdateExpression="SET tariff = :tariff, #format = :two",
        ExpressionAttributeNames={"#format": "format"},
        ExpressionAttributeValues={":tariff": {"M": {"name": {"S": "pro"}}}, ":two": {"N": "2"}},
    )

    sessions.initialize("u1", "s1", "m", 1_000, now=NOW)
    settling.finalize("u1", "s1", 1_000, success=True, now=NOW)

    item = table.get(keys.wallet(ACCOUNT))
    assert item is not None
    assert (item["tariff"], item["format"]) == ({"M": {"name": {"S": "pro"}}}, 2)
    assert assert_books_balance("u1").available == 99


def test_the_audit_counts_a_ledger_that_continues_in_a_newer_format_as_unread(
    user: MakeUser, dynamodb: Any, table_name: str
) -> None:
    user("u1", 100)
    user("u2", 100)
    sessions.initialize("u1", "s1", "m", 1_000, now=NOW)
    dynamodb.update_item(
        TableName=table_name,
        Key=table.pack(keys.entry(ACCOUNT, 2)),
        UpdateExpression="SET #format = :newer, budget = :b, #hash = :other",
        ExpressionAttributeNames={"#format": "format", "#hash": "hash"},
        ExpressionAttributeValues={
            ":newer": {"N": str(FORMAT + 1)},
            ":b": {"S": "b"},
            ":other": {"S": "of another kind"},
        },
    )

    assert audit_all(NOW, lambda: True) == Audited(wallets=2, unread=1)
    proof, _, _ = audit(ACCOUNT, NOW)
    assert (proof.unread, proof.intact, proof.seq) == (True, True, 1)


def test_an_idempotency_record_of_a_newer_version_raises_unavailable(
    user: MakeUser, dynamodb: Any, table_name: str
) -> None:
    user("u1")
    keyed = request(key=IdempotencyKey("boss", "allocate", "k", "fingerprint"))
    credits.allocate(keyed, 7)
    dynamodb.update_item(
        TableName=table_name,
        Key=table.pack(keys.idempotency("boss", "allocate", "k")),
        UpdateExpression="SET #format = :two",
        ExpressionAttributeNames={"#format": "format"},
        ExpressionAttributeValues={":two": {"N": "2"}},
    )

    with pytest.raises(Unavailable):
        credits.allocate(keyed, 7)
    assert assert_books_balance("u1").available == 7


def test_a_sessions_metadata_is_stored_in_an_item_of_its_own(user: MakeUser, calls: Any) -> None:
    user("u1", 100)
    metadata = {"prompt": "x" * 4_000}
    sessions.initialize("u1", "s1", "m", 1_000, now=NOW, metadata=metadata)
    calls.reset()

    sessions.heartbeat("u1", "s1", 500, now=NOW)

    assert (calls.round_trips, calls.write_units) == (1, 1)
    settling.finalize("u1", "s1", 500, success=True, now=NOW)
    (record,) = usage_store.newest(ACCOUNT, None, None, 9)
    assert record.metadata == metadata | {
        "sessionId": "s1",
        "tokens": 500,
        "estimatedCredits": 1,
        "duration": 0,
        "reportedTokens": 500,
    }


def bytes_of(value: dict[str, Any]) -> int:
    """The size of a value in DynamoDB: a number takes one byte, and one more for every two digits."""
    return 1 + -(-len(value["N"]) // 2) if "N" in value else len(str(next(iter(value.values()))))


def test_a_session_item_is_smaller_than_a_kilobyte(user: MakeUser) -> None:
    user_id, session_id = str(uuid4()), str(uuid4())
    user(user_id)
    for number in range(5):
        credits.allocate(Request("boss", user_id, "", 30 + number, NOW), 2_000)
    model_id = "arn:aws:bedrock:us-east-1::inference-profile/claude-sonnet-4"
    session = sessions.initialize(user_id, session_id, model_id, 8_000_000, now=NOW, metadata={"a": 1}).session

    assert len(session.parts) == 5
    item = table.pack(session_store.to_item(session))
    assert sum(len(name) + bytes_of(value) for name, value in item.items()) < 1_024
