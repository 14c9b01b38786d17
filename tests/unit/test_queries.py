"""Pages of an index. When an item's key in the index changes, the index has the item twice for a moment."""

from collections.abc import Iterator
from typing import Any

import pytest

from accounting.store import keys
from accounting.store.table import Item, newest, queries

OLD, NEW = keys.users_in_role("user")[0], keys.users_in_role("admin")[0]


def index_entry(name: str, part: keys.Range, at: str) -> Item:
    return {"pk": f"USER#{name}", "sk": "PROFILE", "kind_pk": part.pk, "kind_sk": f"{at}#{name}"}


@pytest.fixture(autouse=True)
def _index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with the users d, c, b and a, newest first. It has d and c twice: with the old role and with the new."""
    found = [
        *(index_entry(name, OLD, at) for name, at in (("d", "4"), ("c", "3"), ("b", "2"), ("a", "1"))),
        *(index_entry(name, NEW, at) for name, at in (("d", "4"), ("c", "3"))),
    ]

    def query(_names: tuple[str, str], pk: str, low: str, high: str, *_: Any, **__: Any) -> Iterator[Item]:
        return (item for item in found if item["kind_pk"] == pk and low <= item["kind_sk"] <= high)

    monkeypatch.setattr(queries, "_query", query)


def page(before: str | None, *, limit: int, skip: int = 0) -> tuple[list[str], str | None]:
    found, position = newest(keys.BY_KIND, [OLD, NEW], before=before, limit=limit, skip=skip)
    return [item["pk"].removeprefix("USER#") for item in found], position


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_show_every_item_exactly_once(limit: int) -> None:
    shown, position = page(None, limit=limit)
    while position:
        assert len(shown) % limit == 0, "every page but the last is full"
        names, position = page(position, limit=limit)
        shown += names

    assert shown == ["d", "c", "b", "a"]


def test_a_page_after_skipped_items_is_full_and_has_a_position_if_more_items_follow() -> None:
    assert page(None, limit=1, skip=1) == (["c"], "3#c")
    assert page(None, limit=2, skip=2) == (["b", "a"], None)
