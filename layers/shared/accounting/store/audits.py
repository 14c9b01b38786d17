"""The auditor's state: where its last run stopped, the sums of all wallets, and a proof for each ledger.

A proof says up to which entry the auditor has added up a ledger, and has the sums up to there.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NamedTuple

from accounting.domain.accounts import AccountId
from accounting.domain.audit import KindSums, LedgerSums, Proof
from accounting.domain.outstanding import Outstanding
from accounting.domain.wallet import Wallet
from accounting.store import keys, table, wallets
from accounting.store.table import Item

_UNREADABLE = (AttributeError, LookupError, TypeError, ValueError)
"""The errors that the conversion of a damaged item can raise."""


class Position(NamedTuple):
    """A place in the lists of wallets: after the sort key ``sk`` in the partition with the number ``part``."""

    part: int = 0
    sk: str = keys.BEFORE_ALL_ACCOUNTS


class AuditableAccount(NamedTuple):
    """An account to audit: its wallet, and the proof from the audit before.

    ``wallet`` is None if the stored wallet cannot be read. ``proved`` is None if there is no stored proof, or if the
    stored proof cannot be read. Without a proof, the audit reads the ledger from its first entry.
    """

    id: AccountId
    wallet: Wallet | None
    proved: Proof | None = None


def read(account_ids: list[AccountId]) -> list[AuditableAccount]:
    """The accounts as they are now, strongly consistent."""
    found = table.get_many([key for each in account_ids for key in (keys.wallet(each), keys.audit(each))])
    return list(map(_account, account_ids, found[::2], found[1::2]))


def _account(account_id: AccountId, wallet: Item | None, proof: Item | None) -> AuditableAccount:
    account = AuditableAccount(account_id, None)
    with suppress(*_UNREADABLE):
        account = account._replace(wallet=wallets.from_item(account_id, wallet))
    with suppress(*_UNREADABLE):
        account = account._replace(proved=from_item(account_id, proof) if proof else None)
    return account


def accounts(position: Position) -> Iterator[tuple[list[AccountId], Position]]:
    """The accounts after ``position``, in batches. Each batch comes with the position of its last account."""
    parts = keys.wallets_of_all()
    for number in range(position.part, len(parts)):
        after = position.sk if number == position.part else keys.BEFORE_ALL_ACCOUNTS
        for batch in table.forward(keys.BY_KIND, parts[number], after, keys.AFTER_ALL_ACCOUNTS):
            yield [keys.account_in(key) for key in batch], Position(number, batch[-1][keys.INDEX_KEYS[keys.BY_KIND][1]])


def progress() -> tuple[Position, Outstanding] | None:
    """Where the last run stopped, and its sums up to there. None if the last run finished or there was no run."""
    item = table.get(keys.audit_position())
    return (Position(item["part"], item["after"]), _sums(item)) if item and "sums" in item else None


def put_progress(reached: Position, sums: Outstanding) -> None:
    """Store where the next run continues, and the sums up to there, in one item, so that they always match."""
    _put_position(reached, sums=table.compact(asdict(sums)))


def begin_anew() -> None:
    """Let the next run begin with the first account."""
    _put_position(Position())


def _put_position(reached: Position, **more: str) -> None:
    table.put_many([{**keys.audit_position(), "part": reached.part, "after": reached.sk, **more}])


def outstanding() -> Outstanding | None:
    """The sums of all wallets, from the last time that every wallet was read; None if that never happened."""
    item = table.get(keys.audit_sums())
    return _sums(item) if item else None


def put_outstanding(sums: Outstanding) -> None:
    """Store the sums of all wallets in place of the previous ones."""
    table.put_many([{**keys.audit_sums(), "sums": table.compact(asdict(sums))}])


def _sums(item: Item) -> Outstanding:
    found: dict[str, Any] = json.loads(item["sums"])
    return Outstanding(**found | {"named": tuple(found["named"])})


def put_many(proofs: list[Proof]) -> None:
    """Store proofs that have no findings. Findings, the problems that an audit found, are not stored."""
    table.put_many([to_item(proof) for proof in proofs])


def to_item(proof: Proof) -> Item:
    """Convert a proof to an item; sums become JSON texts."""
    return {
        **keys.audit(proof.account_id),
        "since": proof.since,
        "seq": proof.seq,
        "head": proof.head,
        "sums": table.compact(proof.sums._asdict()),
        "by_kind": table.compact({kind: asdict(sums) for kind, sums in proof.by_kind.items()}),
    }


def from_item(account_id: AccountId, item: Item) -> Proof:
    return Proof(
        account_id,
        since=item["since"],
        seq=item["seq"],
        head=item["head"],
        sums=LedgerSums(**json.loads(item["sums"])),
        by_kind={kind: KindSums(**sums) for kind, sums in json.loads(item["by_kind"]).items()},
    )
