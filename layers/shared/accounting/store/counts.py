"""Counts of things that are limited in number."""

from accounting.domain.errors import AccountingError
from accounting.store import table
from accounting.store.formats import FORMAT
from accounting.store.keys import Key
from accounting.store.table import Write


def one_more(key: Key, most: int, too_many: AccountingError) -> Write:
    """Add 1 to the count. Refused with ``too_many`` if the count is not below ``most``."""
    return Write(
        table.update(
            key,
            "ADD #count :one SET #format = :format",
            condition="attribute_not_exists(#count) OR #count < :most",
            values={":one": 1, ":most": most, ":format": FORMAT},
            names={"#count": "count", "#format": "format"},
        ),
        refused=lambda _: too_many,
    )


def one_less(key: Key) -> Write:
    return Write(table.update(key, "ADD #count :one_less", values={":one_less": -1}, names={"#count": "count"}))
