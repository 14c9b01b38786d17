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

    assert items(dynamodb, table_name) == spoiled, "without apply, nothing must be written"
    assert restore.restore(dynamodb, backup, table_name, apply=True) == found
    assert found.missing == 1, "u3's wallet"
    assert items(dynamodb, table_name) == before
    assert restore.restore(dynamodb, backup, table_name, apply=True) == Differences(), (
        "a second restore must change nothing"
    )
    assert [assert_books_balance(f"u{number}").available for number in (1, 2, 3)] == [98, 100, 100]


def test_the_error_names_a_missing_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert restore.restore(dynamodb, backup, table_name, apply=False).erased == ["since"], (
        "every restore must list the user"
    )


def test_a_restore_keeps_the_newer_of_two_erasures_and_lists_the_user(
    dynamodb: Any, table_name: str, backup: str, user: MakeUser
) -> None:
    """The user was erased, brought back by a restore, copied, and erased again."""
    user("again", credits_granted=5)
    with_data = items(dynamodb, table_name)
    erasing.erase("again", by="boss", now=NOW)
    for item in with_data:
        dynamodb.put_item(TableName=table_name, Item=item)
    restore.restore(dynamodb, table_name, backup, apply=True)
    erasing.erase("again", by="boss", now=NOW + DAY)

    for _ in range(2):
        assert restore.restore(dynamodb, backup, table_name, apply=True).erased == ["again"], (
            "every restore must list the user"
        )
    kept = erasures.get("again")
    assert kept is not None
    assert kept.at == NOW + DAY
    assert restore.restore(dynamodb, table_name, backup, apply=True) == Differences(changed=1), (
        "the newer erasure must replace the older one"
    )
    newer = dynamodb.get_item(TableName=backup, Key={"pk": {"S": "USER#again"}, "sk": {"S": "ERASURE"}})["Item"]
    assert newer["begun_at"] == {"N": str(NOW + DAY)}


def test_an_unfinished_erasure_is_due_again_after_it_is_restored(
    dynamodb: Any, table_name: str, backup: str, user: MakeUser
) -> None:
    user("u1", credits_granted=5)
    erasing.erase("u1", by="boss", now=NOW)
    restore.restore(dynamodb, table_name, backup, apply=True)
    before = items(dynamodb, backup)
    erasure = erasing.erase("u1", by="boss", now=NOW + DAY)
    assert erasure.finished_at is not None

    assert restore.restore(dynamodb, backup, table_name, apply=True).erased == []

    assert items(dynamodb, table_name) == before
    assert [each.user_id for batch in erasures.due(NOW + DAY) for each in batch] == ["u1"]


class Throttled:
    """A client of DynamoDB that processes only the first key or item of each batch."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def batch_get_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto3's name
        ((table, wanted),) = RequestItems.items()
        answer = self._client.batch_get_item(RequestItems={table: {**wanted, "Keys": wanted["Keys"][:1]}})
        rest = wanted["Keys"][1:]
        return answer | {"UnprocessedKeys": {table: {**wanted, "Keys": rest}} if rest else {}}

    def batch_write_item(self, RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto3's name
        ((table, wanted),) = RequestItems.items()
        answer = self._client.batch_write_item(RequestItems={table: wanted[:1]})
        return answer | {"UnprocessedItems": {table: wanted[1:]} if wanted[1:] else {}}


def test_a_throttled_table_is_asked_again_after_growing_pauses(
    dynamodb: Any, table_name: str, backup: str, user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        user(f"u{number}", credits_granted=100)
    made = items(dynamodb, table_name)
    assert restore.READ_AT_ONCE > len(made) > restore.WRITE_AT_ONCE // 2
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    restore._read(Throttled(dynamodb), table_name, [restore._key(item) for item in made])
    reading = pauses.copy()
    pauses.clear()
    restore._write(Throttled(dynamodb), backup, [{"PutRequest": {"Item": item}} for item in made[:10]])

    assert items(dynamodb, backup) == made[:10]
    for waited, number in ((reading, len(made) - 1), (pauses, 9)):
        assert len(waited) == number, "each repetition must follow one pause"
        assert all(
            limit / 2 <= pause <= limit
            for pause, limit in zip(
                waited,
                [min(0.1 * 2**each, restore.LONGEST_PAUSE_SECONDS) for each in range(number)],
                strict=True,
            )
        )
        assert len(set(waited)) == number, "pauses must be random"
