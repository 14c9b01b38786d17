"""`make restore FROM=copy TO=table`: makes the table TO equal to the table FROM, such as a point-in-time copy of TO.

Both tables have the keys `pk` and `sk`. With APPLY=1, the command writes. Otherwise it only counts the differences.
Credentials, region and endpoint are those that boto3 finds.

You can stop the command and run it again: what is done stays done. Nothing else may write to TO meanwhile.

If a user was erased in TO after the copy was made, the restore brings the user's texts back. The command lists these
users: erase them again. Their erasure items stay in TO, so that every run lists them.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass, field
from itertools import batched
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.steps import Refused, explain, step

if TYPE_CHECKING:
    from collections.abc import Iterator

type Item = dict[str, Any]
type Key = tuple[str, str]

ERASURE = "ERASURE"
"""The sort key of the item that records the erasure of a user."""

READ_AT_ONCE = 100
WRITE_AT_ONCE = 25
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 20.0


@dataclass
class Differences:
    """How many items of TO are different, missing and superfluous, and which users' erasures stay in TO."""

    changed: int = 0
    missing: int = 0
    superfluous: int = 0
    erased: list[str] = field(default_factory=list)


def main() -> int:
    """Compare or restore; return the exit status."""
    apply = os.environ.get("APPLY") == "1"
    try:
        source, target = _wanted("FROM"), _wanted("TO")
        if source == target:
            raise Refused("FROM and TO are the same table")
        client = boto3.client("dynamodb", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
        with step(f"{source} → {target}"):
            found = restore(client, source, target, apply=apply)
    except Refused as refused:
        return explain(refused)
    except (BotoCoreError, ClientError) as error:
        return explain(Refused(str(error)))
    done = "" if apply else " (nothing was written: APPLY=1 writes)"
    print(f"changed {found.changed}, added {found.missing}, deleted {found.superfluous}{done}")
    if found.erased:
        print("erased after the copy; erase them again with POST /api/users/{userId}/erase:")
        print("\n".join(found.erased))
    return 0


def restore(client: Any, source: str, target: str, *, apply: bool) -> Differences:
    """Make `target` equal to `source`, page by page; without `apply`, only count the differences.

    Erasures that `source` lacks, or that began later in `target`, stay in `target`.
    """
    found = Differences()
    for page in _pages(client, source):
        there = _read(client, target, [_key(item) for item in page])
        found.missing += sum(_key(item) not in there for item in page)
        different = [item for item in page if there.get(_key(item)) != item]
        again = [item for item in different if _is_erased_later(item, there.get(_key(item)))]
        found.erased += map(_user_in, again)
        different = [item for item in different if item not in again]
        found.changed += sum(_key(item) in there for item in different)
        if apply:
            _write(client, target, [{"PutRequest": {"Item": item}} for item in different])
    for page in _pages(client, target, ProjectionExpression="pk, sk"):
        there = _read(client, source, [_key(item) for item in page])
        superfluous = [item for item in page if _key(item) not in there]
        found.erased += [_user_in(item) for item in superfluous if item["sk"]["S"] == ERASURE]
        gone = [{"DeleteRequest": {"Key": item}} for item in superfluous if item["sk"]["S"] != ERASURE]
        found.superfluous += len(gone)
        if apply:
            _write(client, target, gone)
    return found


def _wanted(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise Refused(f"{name} is missing: make restore FROM=<restored table> TO=<TableName>")
    return value


def _pages(client: Any, table: str, **options: Any) -> Iterator[list[Item]]:
    pages = client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **options)
    for page in pages:
        yield from map(list, batched(page["Items"], READ_AT_ONCE, strict=False))


def _key(item: Item) -> Key:
    return item["pk"]["S"], item["sk"]["S"]


def _is_erased_later(item: Item, there: Item | None) -> bool:
    """Return whether `there`, the target's item, is an erasure that began later than `item`, the source's.

    If both are the same erasure, return False, even if the sweeper has erased more texts in the target since the copy
    was made. The restore brings these texts back, and sets the erasure back to its state in the source, so that the
    sweeper erases the texts again.
    """
    if there is None or item["sk"]["S"] != ERASURE:
        return False
    return int(there["begun_at"]["N"]) > int(item["begun_at"]["N"])


def _user_in(item: Item) -> str:
    user_id: str = item["pk"]["S"].removeprefix("USER#")
    return user_id


def _read(client: Any, table: str, keys: list[Key]) -> dict[Key, Item]:
    """Return the table's items at `keys`."""
    found: dict[Key, Item] = {}
    wanted = {table: {"Keys": [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys], "ConsistentRead": True}}
    for pause in _pauses():
        answer = client.batch_get_item(RequestItems=wanted)
        found |= {_key(item): item for item in answer["Responses"].get(table, [])}
        wanted = answer["UnprocessedKeys"]
        if not wanted:
            break
        time.sleep(pause)
    return found


def _write(client: Any, table: str, requests: list[Item]) -> None:
    for some in batched(requests, WRITE_AT_ONCE, strict=False):
        wanted = {table: list(some)}
        for pause in _pauses():
            wanted = client.batch_write_item(RequestItems=wanted)["UnprocessedItems"]
            if not wanted:
                break
            time.sleep(pause)


def _pauses() -> Iterator[float]:
    """Yield how many seconds to wait before each repeat of a throttled request: random, and growing up to a limit."""
    longest = FIRST_PAUSE_SECONDS
    while True:
        yield random.uniform(longest / 2, longest)
        longest = min(2 * longest, LONGEST_PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
