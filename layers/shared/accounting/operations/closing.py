"""Closing an organization: its account pays for nothing new, and its credits move to another account or are removed.

Open sessions can still settle. Their refunds return to the closed account, and the sweeper then moves or removes them.
Every move is one transaction with ledger entries on both sides, so that each credit is always in exactly one account.
"""

from collections.abc import Iterable
from itertools import chain, starmap
from typing import NamedTuple

from accounting.domain import accounts
from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId
from accounting.domain.allocations import Allocation
from accounting.domain.errors import Invalid, OrganizationClosed
from accounting.domain.ledger import SYSTEM, Cause, Entry
from accounting.domain.lots import SECOND, Lot, allocation_id
from accounting.domain.organizations import Organization
from accounting.domain.wallet import Decision, Wallet
from accounting.operations.commit import count_expired, ledger_writes, retry_conflicts
from accounting.operations.ids import new_salt
from accounting.store import allocations, organizations, users, wallets
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Write, transact
from accounting.telemetry import count

MAX_MOVED = 20
"""How many lots (credits that expire together) one transaction moves.

Each lot may need three new items, and a transaction has at most 100.
"""


class Closed(NamedTuple):
    """A closed organization, the credits that this request moved or removed, and what open sessions still hold."""

    organization: Organization
    moved: int
    removed: int
    held: int


def close(organization_id: str, transfer_to: AccountId | None, *, actor: str, now: int) -> Closed:
    """Close an organization. Its credits go to ``transfer_to``, which must be open. With None, they are removed.

    A repeat moves or removes the credits that have come back since. Raises OrganizationClosed if the organization is
    already closed with a different ``transfer_to``. Raises Invalid if ``transfer_to`` is not open or is the
    organization's own account. Also raises AccountNotFound, Contention.
    """
    organization = retry_conflicts(lambda: _shut(organization_id, transfer_to, now))
    gone = empty(organization, actor=actor, now=now)
    held = wallets.get(organization.account_id).held
    return Closed(organization, *((gone, 0) if transfer_to else (0, gone)), held)


def _shut(organization_id: str, transfer_to: AccountId | None, now: int) -> Organization:
    """Store that the organization is closed, and that the sweeper must empty its wallet. A repeat changes nothing."""
    known = organizations.require(organization_id)
    if known.closed_at is not None:
        if known.transfer_to != transfer_to:
            raise OrganizationClosed
        return known
    closed = known.closed(transfer_to, now)
    wallet = wallets.get(known.account_id)
    shut = [organizations.close(known, closed), wallets.put(wallet, decisions.close(wallet, now))]
    _transact([*_target_stays_open(known, transfer_to), *shut])
    return closed


def _target_stays_open(organization: Organization, target: AccountId | None) -> list[Write]:
    """A condition for the transaction: the account that receives the credits stays open.

    Without this condition, two organizations could close at the same time, each in favor of the other. Their credits
    would then move back and forth. Raises Invalid if the account is not open or is the organization's own.
    """
    if target is None:
        return []
    receiver, user_id = accounts.organization_of(target), accounts.user_of(target)
    known = users.find(user_id) if user_id is not None else organizations.get(receiver or "")
    ended = known is None or (known.closed_at is not None if isinstance(known, Organization) else known.erased)
    if ended or target == organization.account_id:
        raise Invalid.field("transferTo", "there is no such open account")
    return [] if receiver is None else [organizations.stays_open(receiver)]


def empty(organization: Organization, *, actor: str, now: int) -> int:
    """Move or remove all spendable credits of a closed organization. Returns how many.

    Each credit leaves once, even if several callers do this at the same time. Raises Contention.
    """
    total = 0
    while gone := retry_conflicts(lambda: _empty_some(organization, actor, now)):
        total += gone
    return total


def sweep(wallet: Wallet, now: int) -> int:
    """Empty the wallet of a closed organization. Returns how many credits left it. Raises Contention."""
    organization_id = accounts.organization_of(wallet.account_id)
    organization = organizations.get(organization_id) if organization_id else None
    return empty(organization, actor=SYSTEM, now=now) if organization else 0


def _empty_some(organization: Organization, actor: str, now: int) -> int:
    """Move up to ``MAX_MOVED`` lots, or remove all lots. Returns how many credits were in these lots."""
    source, target = organization.account_id, organization.transfer_to
    wallet = wallets.get(source)
    lots = wallet.live_lots(now)[: MAX_MOVED if target else None]
    credits = sum(lot.credits for lot in lots)
    if not credits:
        return 0
    reason = f"Closed; moved to {target}" if target else "Closed"
    changes = [(wallet, decisions.remove(wallet, credits, cause=Cause(actor, now, reason, new_salt(reason))))]
    granted = list[Allocation]()
    if target:
        reason = f"From {source}, which was closed"
        before = wallets.get(target)
        received, granted = _received(before, lots, Cause(actor, now, reason, new_salt(reason)))
        changes.append((before, received))
    _transact([*chain.from_iterable(starmap(ledger_writes, changes)), *map(allocations.put, granted)])
    for before, decision in changes:
        count_expired(before, decision.wallet)
    count("CreditsRemoved", credits)
    count("CreditsGranted", credits if target else 0)
    return credits


def _received(before: Wallet, lots: Iterable[Lot], cause: Cause) -> tuple[Decision, list[Allocation]]:
    """Grant the lots of a closed account to the wallet that receives them. Each lot keeps its expiry."""
    wallet, entries, granted = before, list[Entry](), list[Allocation]()
    for lot in lots:
        decision = decisions.grant(wallet, lot.credits, expires_at=lot.expires_at, cause=cause)
        wallet = decision.wallet
        entries += decision.entries
        granted.append(
            Allocation(
                account_id=wallet.account_id,
                number=wallet.allocations,
                id=allocation_id(wallet.account_id, wallet.allocations),
                credits=lot.credits,
                allocated_by=cause.actor,
                allocated_at=cause.at // SECOND * SECOND,
                expires_at=lot.expires_at,
                notes="" if wallet.erased else cause.reason,
            )
        )
    return Decision(wallet, tuple(entries)), granted


def _transact(writes: list[Write]) -> None:
    """Write everything or nothing. Raises Conflict if an item has changed; the caller then reads everything again."""
    try:
        transact(writes)
    except StaleRead as stale:
        raise Conflict from stale
