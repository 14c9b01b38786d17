"""Runs, each the budget of one task. A run's partition has an item for the run, and one with the sums of each model."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from accounting.domain.accounts import AccountId, stored
from accounting.domain.budgets import Spender, most_before
from accounting.domain.runs import LONGEST_LIFE, Run
from accounting.domain.usage import UsageRecord, digest
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.formats import FORMAT
from accounting.store.table import Conflict, Item, Write
from accounting.times import DAY

_PLAIN = ("user_id", "limit", "created_at", "expires_at", "committed", "spent", "sessions", "records")


class RunTaken(Exception):
    """The id already belongs to ``run``."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.id)
        self.run = run


def find(account_id: AccountId, run_id: str) -> Run | None:
    """The run, strongly consistent; None if the account has no run with this id."""
    return if_whole(table.get(keys.run(account_id, run_id)))


def with_models(account_id: AccountId, run_id: str) -> tuple[Run | None, dict[str, int]]:
    """The run, and what it spent on each model, strongly consistent."""
    pk = keys.run(account_id, run_id)["pk"]
    items = list(table.query_all(pk, keys.BEFORE_ALL_TIMES, keys.AFTER_ALL_TIMES, forward=True))
    run = next((item for item in items if item["sk"] == "RUN"), None)
    return if_whole(run), {item["model"]: item["spent"] for item in items if item["sk"] != "RUN"}


def metadata_of(run: Run) -> dict[str, Any]:
    """The metadata that the run was made with. Empty if there was none, or if the user who made the run was erased."""
    if not run.has_metadata:
        return {}
    item = table.get(keys.run_metadata(run.user_id, run.account_id, run.id))
    found: dict[str, Any] = json.loads(item["metadata"]) if item else {}
    return found


def open_new(run: Run, metadata: dict[str, Any]) -> list[Write]:
    """Add a run with its metadata. Refused with RunTaken if the account has a run with this id."""

    def refused(old: Item | None) -> Exception:
        return RunTaken(from_item(old)) if old else Conflict()

    writes = [Write(table.put(to_item(run), condition="attribute_not_exists(run_id)"), refused=refused)]
    if metadata:
        item = {**keys.run_metadata(run.user_id, run.account_id, run.id), "metadata": table.compact(metadata)}
        writes.append(Write(table.put({**item, "ttl": _kept_until(run.expires_at)})))
    return writes


def stop(account_id: AccountId, run_id: str, now: int) -> Run | None:
    """Stop the run, unless it is stopped already. Return the stopped run, or None if there is no such run."""
    _, item = table.update_one(
        keys.run(account_id, run_id),
        "SET stopped_at = :now",
        condition="attribute_exists(#run_id) AND attribute_not_exists(stopped_at)",
        values={":now": now},
        names={"#run_id": "run_id"},
    )
    return if_whole(item)


def commit(run: Run, credits: int, refused: Callable[[Run], Exception], sums: Mapping[str, int]) -> Write:
    """Add ``credits`` to the run's ``committed``, and each number in ``sums`` to the run's field of that name.

    Refused if the stored run is stopped, or if its limit does not cover the credits. ``refused`` makes the error from
    the stored run.
    """
    active = "attribute_exists(run_id) AND attribute_not_exists(stopped_at)"
    covered = "#committed <= :most"
    added = {"committed": credits, **sums}

    def stopped_or_full(old: Item | None) -> Exception:
        newer = if_whole(old)
        return refused(newer) if newer else Conflict()

    return Write(
        table.update(
            keys.run(run.account_id, run.id),
            "ADD " + ", ".join(f"#{name} :{name}" for name in added),
            condition=f"{active} AND {covered}",
            values={":most": most_before(run.limit, credits), **{f":{name}": more for name, more in added.items()}},
            names={f"#{name}": name for name in added},
        ),
        refused=stopped_or_full,
    )


def settle(spender: Spender, record: UsageRecord, more: int) -> list[Write]:
    """Count a usage record, and add ``more`` to ``committed``. ``more`` is negative if a hold gives credits back.

    The writes have no condition, so they are never refused. If the run was deleted after its expiry, they make an
    item with only the sums. It is kept for a day, and does not count as a run.
    """
    if spender.run_id is None:
        return []
    added = {"committed": more, **sums_of(record)}
    if_absent = {"format": FORMAT, "ttl": (record.at + DAY) // 1000}
    write = Write(table.add(keys.run(spender.account_id, spender.run_id), added, if_absent=if_absent))
    return [write, *count_model(spender, record)]


def sums_of(record: UsageRecord) -> dict[str, int]:
    """What a usage record adds to a run's sums."""
    return {"spent": record.credits, "records": 1}


def count_model(spender: Spender, record: UsageRecord) -> list[Write]:
    """Count a usage record in the run's sums for the record's model, if any. The write has no condition."""
    if spender.run_id is None or record.model_id is None:
        return []
    key = keys.run_model(spender.account_id, spender.run_id, digest(record.model_id))
    if_absent = {"model": record.model_id, "format": FORMAT, "ttl": _kept_until(record.at + LONGEST_LIFE)}
    return [Write(table.add(key, sums_of(record), if_absent=if_absent))]


def to_item(run: Run) -> Item:
    return {
        **keys.run(run.account_id, run.id),
        "account_id": run.account_id,
        "run_id": run.id,
        **{name: getattr(run, name) for name in _PLAIN},
        "stopped_at": run.stopped_at,
        "has_metadata": run.has_metadata or None,
        "ttl": _kept_until(run.expires_at),
    }


def if_whole(item: Item | None) -> Run | None:
    """The run in an item. None if the item is missing, or has only the sums of a deleted run (see ``settle``)."""
    return from_item(item) if item and "run_id" in item else None


def from_item(item: Item) -> Run:
    return Run(
        account_id=stored(item["account_id"]),
        id=item["run_id"],
        stopped_at=item.get("stopped_at"),
        has_metadata=item.get("has_metadata", False),
        **{name: item[name] for name in _PLAIN},
    )


def _kept_until(expires_at: int) -> int:
    """When the database may delete a run that expires then, in epoch seconds: after its sessions and usage records."""
    kept = max(settings().usage_retention, settings().session_retention)
    return (expires_at + settings().session_max_life + kept) // 1000
