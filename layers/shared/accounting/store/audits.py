"""How far each user's ledger was proved, and how far a run has come."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from accounting.domain.audit import KindSums, Proof, Sums
from accounting.domain.users import ROLES
from accounting.store import keys, table
from accounting.store.table import Item


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the lists of users: after ``sk`` of the partition number ``part``."""

    part: int = 0
    sk: str = keys.BEFORE_ALL_TIMES


def users(position: Position) -> Iterator[tuple[list[str], Position]]:
    """Every user from a position on, in batches with the position after each."""
    parts = [part for role in ROLES for part in keys.users_in_role(role)]
    for number in range(position.part, len(parts)):
        after = position.sk if number == position.part else keys.BEFORE_ALL_TIMES
        for batch in table.forward(keys.BY_KIND, parts[number].pk, after, keys.AFTER_ALL_TIMES):
            yield [keys.user_in(key) for key in batch], Position(number, batch[-1][keys.INDEX_KEYS[keys.BY_KIND][1]])


def position() -> Position:
    """Where the last run ended before it was through; the beginning if it was."""
    item = table.get(keys.audit_position())
    return Position(item["part"], item["after"]) if item else Position()


def put_position(reached: Position) -> None:
    """Note where the next run goes on."""
    table.put_many([{**keys.audit_position(), "part": reached.part, "after": reached.sk}])


def put_many(proofs: list[Proof]) -> None:
    """Remember proofs in which nothing was found."""
    table.put_many([to_item(proof) for proof in proofs])


def to_item(proof: Proof) -> Item:
    """The item; sums are JSON texts."""
    return {
        **keys.audit(proof.user_id),
        "since": proof.since,
        "seq": proof.seq,
        "head": proof.head,
        "sums": table.compact(asdict(proof.sums)),
        "by_kind": table.compact({kind: asdict(sums) for kind, sums in proof.by_kind.items()}),
    }


def from_item(user_id: str, item: Item) -> Proof:
    """The proof of an item."""
    return Proof(
        user_id,
        since=item["since"],
        seq=item["seq"],
        head=item["head"],
        sums=Sums(**json.loads(item["sums"])),
        by_kind={kind: KindSums(**sums) for kind, sums in json.loads(item["by_kind"]).items()},
    )
