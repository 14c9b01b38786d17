"""Formats of stored items. They let two versions of this service share a table while one replaces the other.

Every item has a ``format``. A release writes only formats that the previous release can read and keep. So one release
learns to read a new format, and the next one writes it. Code that replaces a wallet, a session, a user or a sum of the
system-wide statistics keeps the attributes that it does not know.
"""

from collections.abc import Collection
from typing import Any

FORMAT = 1
"""Written into every item that states no other format."""

_OF_THE_TABLE = frozenset({"pk", "sk", "owner_pk", "owner_sk", "kind_pk", "kind_sk", "due_pk", "due_sk", "ttl"})


def unknown(item: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The attributes that a newer version added to an item.

    These are all attributes except those in ``known``, the table's keys and ``ttl``, and a ``format`` that equals
    ``FORMAT``.
    """
    others = {name: value for name, value in item.items() if name not in known and name not in _OF_THE_TABLE}
    if others.get("format") == FORMAT:
        del others["format"]
    return others
