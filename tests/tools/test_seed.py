"""`make seed` stores what the service would have stored: every audit succeeds, and all sums equal a recount."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal
from accounting.operations import system_usage, usage
from accounting.operations.audit import Audited, audit_all
from accounting.store import audits, keys, organizations, table, users, wallets
from accounting.store import usage as records
from accounting.times import clock, day
from local import seed
from local.steps import Refused
from tests.integration.conftest import new_table
from tests.integration.test_formats import SAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounting.store.table import Item
    from local.emulator import Emulator

USERS, RECORDS = 200, 400


pytestmark = pytest.mark.xdist_group("seed")  # these tests share one table


@pytest.fixture(scope="module")
def seeded(aws: Emulator, dynamodb: Any) -> Iterator[tuple[str, list[Item]]]:
    """A table that is seeded once for all of these tests, and the items that seeding stored."""
    with pytest.MonkeyPatch.context() as patch, new_table(aws, dynamodb, patch) as name:
        seed.seed(USERS, RECORDS)
        yield name, stored(dynamodb, name)


@pytest.fixture(autouse=True)
def table_name(seeded: tuple[str, list[Item]]) -> str:
    """The name of the seeded table, which replaces the separate table of each test."""
    return seeded[0]


@pytest.fixture
def items(seeded: tuple[str, list[Item]]) -> list[Item]:
    return seeded[1]


def stored(dynamodb: Any, table_name: str) -> list[Item]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=table_name, ConsistentRead=True)
    return [table.unpack(item) for page in pages for item in page["Items"]]


def test_the_seeded_items_are_consistent(items: list[Item]) -> None:
    made = [records.from_item(keys.account_in(item), item) for item in items if records.is_record(item)]
    found = system_usage.statistics(None, None, top=1000, now=clock())
    ninety_days = system_usage.statistics(clock() - 91 * 86_400_000, None, top=1000, now=clock(), by="model")
    seeded = [record for record in made if "sessionId" not in record.metadata]

    assert len(seeded) == RECORDS
    assert ninety_days.sums.records == RECORDS
    assert ninety_days.sums.credits == sum(record.credits for record in seeded)
    assert ninety_days.by_day == _credits_by(seeded, lambda record: day(record.at))
    assert ninety_days.by_user == _credits_by(seeded, lambda record: record.user_id)
    assert 0 < found.sums.records < RECORDS
    assert system_usage.count(seeded[:50]) == 0, "the rollups function must not count them again"

    one = seeded[0]
    of_user = usage.statistics(one.user_id, None, None)
    assert of_user.sums.credits == sum(each.credits for each in made if each.user_id == one.user_id)
    of_account = usage.statistics_of_account(one.account_id, None, None)
    assert of_account.sums.credits == sum(each.credits for each in made if each.account_id == one.account_id)
    assert any(record.account_id != personal(record.user_id) for record in seeded)


def _credits_by(made: list[Any], name: Any) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for record in made:
        sums[name(record)] += record.credits
    return dict(sums)


def test_every_wallet_and_user_exists_once(items: list[Item]) -> None:
    sums = audits.outstanding()
    assert sums is not None
    all_organizations, _ = organizations.of_all(before=None, limit=100)

    assert audit_all(clock() + 8 * 86_400_000, lambda: True) == Audited(wallets=USERS + len(all_organizations))
    assert sums.accounts == USERS + len(all_organizations)
    assert sums.debt > 0
    assert sums.held > 0
    assert sums.available == sum(
        wallets.from_item(keys.account_in(each), each).available for each in items if each["sk"] == "WALLET"
    )
    assert users.total(None) == USERS
    assert len({item["email"] for item in items if item["sk"] == "PROFILE"}) == USERS
    for user in users.newest(None, before=None, skip=0, limit=5)[0]:
        assert users.resolve(user.email).user == user


def kind_in(item: Item) -> tuple[str, str]:
    """The first words of an item's keys."""
    return item["pk"].partition("#")[0], item["sk"].partition("#")[0]


def test_the_service_writes_every_kind_of_item_that_is_seeded(items: list[Item]) -> None:
    known = {kind_in(json.loads(file.read_text())) for file in SAMPLES.glob("*.json")}
    made = {kind_in(item) for item in items}

    assert len(made) > 15
    assert made <= known
    assert all(value is not None for item in items for value in item.values())
    assert all(isinstance(item["format"], int) for item in items)


def test_a_second_seeding_is_refused_and_changes_nothing(dynamodb: Any, table_name: str) -> None:
    before = stored(dynamodb, table_name)

    with pytest.raises(Refused, match="seeded before"):
        seed.seed(USERS, RECORDS)

    assert len(before) > RECORDS
    assert {json.dumps(item, sort_keys=True) for item in stored(dynamodb, table_name)} == {
        json.dumps(item, sort_keys=True) for item in before
    }


@pytest.mark.parametrize(
    ("name", "text"), [("USERS", "199"), ("USERS", "ten"), ("RECORDS", "0"), ("RECORDS", "-1"), ("USERS", "1e6")]
)
def test_an_invalid_number_of_users_or_records_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)

    assert seed.main() == 1
    assert name in capsys.readouterr().err
