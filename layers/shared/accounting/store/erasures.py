"""Erasures of users' personal data: how far each erasure got, and which texts it erases."""

from collections.abc import Iterator
from typing import NamedTuple

from accounting.domain.accounts import personal, stored
from accounting.store import keys, table
from accounting.store.keys import Key, Range
from accounting.store.stale import StaleRead
from accounting.store.table import Item, Write

_TEXTS = ("notes", "reason", "salt", "metadata", "provider_usage")
"""The attributes of grants, ledger entries and usage records that may contain text about a user.

A ledger entry keeps its ``reason_digest``, because the entry's hash is computed from it. Without the ``salt``, nobody
can find out the reason by guessing.
"""


class Erasure(NamedTuple):
    """The erasure of a user's personal data, begun at ``at``.

    ``part`` is the number of the range of items that is being erased (see ``items``). In that range, the items up to
    the sort key ``after`` are done. ``due_at`` is when the next step may begin. ``finished_at`` is when the whole
    erasure ended, or None if it has not ended. All times are in epoch milliseconds.
    """

    user_id: str
    at: int
    due_at: int
    part: int = 0
    after: str = ""
    finished_at: int | None = None

    def reached(self, part: int, after: str) -> "Erasure":
        return self._replace(part=part, after=after)

    def finished(self, now: int) -> "Erasure":
        return self._replace(finished_at=now)


def get(user_id: str) -> Erasure | None:
    item = table.get(keys.erasure(user_id))
    return from_item(item) if item else None


def begin(erasure: Erasure) -> Write:
    """The write that begins an erasure, and replaces the user's earlier erasure if there was one.

    A user's data can be erased again, because restoring a backup can bring erased texts back.
    """
    return Write(table.put(to_item(erasure)))


def put_progress(after: Erasure) -> None:
    """Store how far an erasure got.

    Raises StaleRead with the ``erasure`` in the table if that one has finished or replaced this one.
    """
    still_running = "begun_at = :at AND attribute_not_exists(finished_at)"
    action = table.put(to_item(after), condition=still_running, values={":at": after.at})
    table.transact([Write(action, lambda old: StaleRead(erasure=from_item(old) if old else after))])


def due(now: int) -> Iterator[list[Erasure]]:
    """The erasures that are due by ``now``, in batches."""
    for found in table.due(keys.DUE_ERASURES, now):
        erasures = [from_item(item) for item in table.get_many(found) if item]
        yield [each for each in erasures if each.finished_at is None]


def items(erasure: Erasure) -> Iterator[tuple[int, Item]]:
    """Every item that is left to erase, with the number of its range (``Erasure.part``).

    Only the attributes that ``erase`` needs are read.
    """
    parts = [*keys.texts_of_account(personal(erasure.user_id)), *keys.texts_of_user(erasure.user_id)]
    for number, part in enumerate(parts[erasure.part :], erasure.part):
        low = erasure.after if number == erasure.part and erasure.after else part.prefix
        for item in _between(part, low):
            if item["sk"] != low:
                yield number, item


def _between(part: Range, low: str) -> Iterator[Item]:
    attributes = ("pk", "sk", "paid_by", "at", "id", *_TEXTS)
    return table.query_all(part.pk, low, part.prefix + keys.AFTER_ALL_TIMES, forward=True, attributes=attributes)


def erase(item: Item) -> None:
    """Delete an item of the user's partition, or remove the texts from an item of the account's partition.

    Do nothing if the item is gone. If the item points to a usage record of another account, remove that record's
    texts, too.
    """
    if keys.is_of_user(item):
        table.delete_one({"pk": item["pk"], "sk": item["sk"]})
        return
    if "paid_by" in item:
        _remove(keys.usage(stored(item["paid_by"]), item["at"], item["id"]), ("metadata", "provider_usage"))
    texts = tuple(name for name in _TEXTS if name in item)
    if texts:
        _remove(item, texts)


def _remove(item: Item | Key, texts: tuple[str, ...]) -> None:
    table.update_one(
        {"pk": item["pk"], "sk": item["sk"]},
        "REMOVE " + ", ".join(f"#{name}" for name in texts),
        condition="#pk = :pk",
        values={":pk": item["pk"]},
        names={"#pk": "pk", **{f"#{name}": name for name in texts}},
    )


def to_item(erasure: Erasure) -> Item:
    """Convert an erasure to an item. A finished erasure is no longer due."""
    when_due = {} if erasure.finished_at is not None else keys.erasure_due(erasure.user_id, erasure.due_at)
    return {
        **keys.erasure(erasure.user_id),
        **when_due,
        "begun_at": erasure.at,
        "due_at": erasure.due_at,
        "part": erasure.part,
        "after": erasure.after or None,
        "finished_at": erasure.finished_at,
    }


def from_item(item: Item) -> Erasure:
    """Convert an item to an erasure."""
    return Erasure(
        keys.user_in(item),
        item["begun_at"],
        item["due_at"],
        item["part"],
        item.get("after", ""),
        item.get("finished_at"),
    )
