"""`make restore`: a table gets its earlier items back."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from accounting.operations import credits, erasing, sessions, settling
from accounting.operations.credits import Request
from accounting.store import erasures, users
from accounting.times import DAY
from local import restore
from local.restore import Differences
from tests.audit import assert_books_balance
from tests.integration.conftest import NOW
from tests.template import create_table

type MakeUser = Callable[..., str]


@pytest.fixture
def backup(dynamodb: Any) -> Iterator[str]:
    """A second, empty table."""
    name = f"test-{uuid4()}"
    create_table(dynamodb, name)
    yield name
    dynamodb.delete_table(TableName=name)


def items(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dynamodb.scan(TableName=table)["Items"]
    return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def test_a_restored_table_equals_the_source_and_its_books_balance(
    dynamodb: Any, table_name: str, backup: str, user: MakeUser
) -> None:
    for number in range(30):
        user(f"u{number}", credits_granted=100)
    sessions.initialize("u1", "s1", "m", 1000, now=NOW)
    restore.restore(dynamodb, table_name, backup, apply=True)
    before = items(dynamodb, backup)
    settling.finalize("u1", "s1", 800, success=True, now=NOW + DAY)
    user("stranger", credits_granted=5)
    credits.remove(Request("admin", "u2", "", 30, NOW), 100)
    dynamodb.delete_item(TableName=table_name, Key={"pk": {"S": "ACCOUNT#user:u3"}, "sk": {"S": "WALLET"}})
    spoiled = items(dynamodb, table_name)

    found = restore.restore(dynamodb, backup, table_name, apply=False)

    assert items(dynamodb, table_name) == spoiled, "counting writes nothing"
    assert restore.restore(dynamodb, backup, table_name, apply=True) == found
    assert found.missing == 1, "u3's wallet"
    assert items(dynamodb, table_name) == before
    assert restore.restore(dynamodb, backup, table_name, apply=True) == Differences(), (
        "a second restore changes nothing"
    )
    assert [assert_books_balance(f"u{number}").available for number in (1, 2, 3)] == [98, 100, 100]


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FROM", raising=False)

    assert restore.main() == 1
    assert "make restore FROM=" in capsys.readouterr().err


def test_changes_are_written_only_with_apply(
    dynamodb: Any,
    table_name: str,
    backup: str,
    user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user(credits_granted=5)
    monkeypatch.setenv("FROM", table_name)
    monkeypatch.setenv("TO", backup)

    assert restore.main() == 0
    assert items(dynamodb, backup) == []
    assert "nothing was written" in capsys.readouterr().out
    monkeypatch.setenv("APPLY", "1")
    assert restore.main() == 0
    assert items(dynamodb, backup) == items(dynamodb, table_name)


def test_users_erased_since_the_backup_are_listed_and_can_be_erased_again(
    dynamodb: Any,
    table_name: str,
    backup: str,
    user: MakeUser,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    user("before", credits_granted=5)
    user("since", credits_granted=5)
    erasing.erase("before", by="boss", now=NOW)
    restore.restore(dynamodb, table_name, backup, apply=True)
    erasing.erase("since", by="boss", now=NOW)
    monkeypatch.setenv("FROM", backup)
    monkeypatch.setenv("TO", table_name)

    for apply in ("0", "1", "1"):
        monkeypatch.setenv("APPLY", apply)
        assert restore.main() == 0
        listed = capsys.readouterr().out.partition("erased after the copy")[2].splitlines()
        assert listed[1:] == ["since"], apply
    known = users.find("since")
    assert known is not None
    assert known.email == "since@example.com"

    erasing.erase("since", by="boss", now=NOW + DAY)
    found = users.find("since")
    assert found is not None
    assert (found.email, found.erased) == ("", True)
    again = erasures.get("since")
    assert again is not None
    assert again.at == NOW + DAY
    assert restore.restore(dynamodb, backup, table_name, apply=False).erased == ["since"], "every run lists them"
