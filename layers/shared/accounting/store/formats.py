"""The formats of stored items, so that two versions of this service can share a table while one replaces the other.

Every item has a ``format``. A release writes only what its predecessor reads and hands on; the next release switches.
Whoever replaces an item whole writes back the attributes that it does not know.
"""

from collections.abc import Collection
from typing import Any

FORMAT = 1
"""The format of every item that says nothing else."""

_OF_THE_TABLE = frozenset({"pk", "sk", "owner_pk", "owner_sk", "kind_pk", "kind_sk", "due_pk", "due_sk", "ttl"})


def unknown(item: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The attributes that a newer version gave an item, beside the ``known`` ones; a newer format is one of them."""
    others = {name: value for name, value in item.items() if name not in known and name not in _OF_THE_TABLE}
    if others.get("format") == FORMAT:
        del others["format"]
    return others
