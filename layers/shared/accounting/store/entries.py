"""The ledger: immutable entries, numbered without gaps and in time order."""

from collections.abc import Iterator

from accounting.domain.accounts import AccountId
from accounting.domain.ledger import FIRST_FORMAT, FORMAT, OF_SECOND_FORMAT, Entry, NewerEntry, Unreadable
from accounting.store import keys, table
from accounting.store.table import Item, Write

_NUMBERS = ("credits", "charged", "available_after", "held_after", "debt_after", "at", "format")
_FIELDS = tuple(name for name in Entry._fields if name not in ("account_id", "seq"))


def put(entry: Entry) -> Write:
    """Add an entry. The write fails if the entry's number is taken.

    The write has no ``refused`` for this case. A concurrent command that takes the number also changes the wallet, so
    the write of the wallet in the same transaction fails as well, and its ``refused`` makes the error. If only the
    entry's write fails, the code has a defect.
    """
    return Write(table.put(to_item(entry), condition="attribute_not_exists(pk)"))


def page(account_id: AccountId, *, first: int, last: int, limit: int) -> list[Entry]:
    """Up to ``limit`` entries with ``first <= seq <= last``, newest first."""
    if first > last:
        return []
    low, high = keys.entry(account_id, first), keys.entry(account_id, last)
    items = table.query(low["pk"], low["sk"], high["sk"], limit=limit)
    return [from_item(account_id, item) for item in items]


def after(account_id: AccountId, seq: int) -> Iterator[Entry | Unreadable | NewerEntry]:
    """Every item in the ledger after entry ``seq``, in order, as an entry, a ``NewerEntry`` or ``Unreadable``."""
    low, end = keys.entry(account_id, seq + 1), keys.end_of_entries()
    for item in table.query_all(low["pk"], low["sk"], end, forward=True):
        number = keys.entry_seq(item)
        if number is not None and type(item.get("format")) is int and item["format"] > FORMAT:
            yield NewerEntry(number)
            continue
        try:
            entry = from_item(account_id, item)
            genuine = _stored(entry) == item and all(type(getattr(entry, name)) is int for name in _NUMBERS)
        except (KeyError, TypeError, ValueError):
            genuine = False
        yield entry if genuine else Unreadable(number, str(item.get("hash")))


def _stored(entry: Entry) -> Item:
    return {name: value for name, value in to_item(entry).items() if value is not None}


def first_since(account_id: AccountId, at: int, last: int) -> int:
    """The number of the first entry made at or after ``at``, or ``last + 1`` if all entries are older.

    Entries are numbered in time order, so a binary search finds it: about log2(``last``) entries are read.
    """
    low, high = 1, last + 1
    while low < high:
        middle = (low + high) // 2
        item = table.get(keys.entry(account_id, middle))
        if item is not None and item["at"] < at:
            low = middle + 1
        else:
            high = middle
    return low


def to_item(entry: Entry) -> Item:
    """Convert an entry to an item; empty fields are left out."""
    plain = entry._asdict()
    return {
        **keys.entry(entry.account_id, entry.seq),
        "seq": entry.seq,
        **{name: plain[name] for name in _FIELDS if plain[name] != ""},
    }


def from_item(account_id: AccountId, item: Item) -> Entry:
    """Convert an item to an entry. Fields that the entry's format lacks are dropped: its hash does not cover them."""
    known = [name for name in _FIELDS if item.get("format") != FIRST_FORMAT or name not in OF_SECOND_FORMAT]
    return Entry(account_id=account_id, seq=item["seq"], **{name: item[name] for name in known if name in item})
