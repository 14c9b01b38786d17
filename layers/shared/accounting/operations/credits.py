"""An account's credits: its balance, grants and ledger, the commands that grant and take credits, and expiry."""

import json
from collections.abc import Callable
from typing import NamedTuple

from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId
from accounting.domain.allocations import Allocation, expiry
from accounting.domain.errors import AccountingError, UserDisabled, UserNotFound
from accounting.domain.ledger import SYSTEM, Cause, Entry
from accounting.domain.lots import SECOND, Lot
from accounting.domain.wallet import Decision, Wallet
from accounting.operations.commit import Snapshot, count_expired, ledger_writes, replay, retry_until_committed
from accounting.operations.ids import new_salt
from accounting.store import allocations, entries, idempotency, users, wallets
from accounting.store.idempotency import IdempotencyKey, Record, Repeated
from accounting.store.table import transact
from accounting.store.users import Reference
from accounting.telemetry import count


class Request(NamedTuple):
    """A request to change credits: who asks (``actor``), whose credits, why, and the key that makes a repeat safe.

    The credits of ``account_id`` change. The route has checked that this account exists. If ``account_id`` is None, the
    personal account of ``user`` (an id or e-mail address) changes. A lot that the change creates expires at
    ``expires_at`` (epoch milliseconds), by default after ``expiry_days``.
    """

    actor: str
    user: Reference | None
    notes: str
    expiry_days: int
    now: int
    key: IdempotencyKey | None = None
    expires_at: int | None = None
    account_id: AccountId | None = None


class CreditChange(NamedTuple):
    """The result of a command.

    ``credits`` is what the request asked for. ``previous`` and ``available`` are the credits that can be spent before
    and after the command. ``allocation`` is the grant that the command made, if any. ``remaining`` is what is left of
    that grant after it repaid debt. The allocation has no notes, because this result is stored for repeats, and notes
    are stored only where they can be erased.
    """

    account_id: AccountId
    credits: int
    previous: int
    available: int
    debt: int
    allocation: Allocation | None
    remaining: int
    replayed: bool = False


class Balance(NamedTuple):
    """An account's credits. ``lots`` are the parts of ``available`` that expire together, soonest expiry first."""

    account_id: AccountId
    available: int
    held: int
    debt: int
    lots: tuple[Lot, ...]


def balance(account_id: AccountId, now: int) -> Balance:
    """The balance of an account. Expired lots do not count, even if they are still stored."""
    return _balance(wallets.get(account_id), now)


def own_balance(account_id: AccountId, now: int) -> Balance:
    """The balance of the caller's personal account. Raises UserDisabled."""
    wallet = wallets.get(account_id)
    if wallet.frozen:
        raise UserDisabled
    return _balance(wallet, now)


def balance_of(reference: Reference, now: int) -> Balance:
    """The balance of a user, by id or e-mail address. Raises UserNotFound."""
    return _balance(users.resolve(reference).wallet, now)


def allocate(request: Request, credits: int) -> CreditChange:
    """Grant credits as a new lot.

    Raises UserNotFound, OrganizationClosed, Invalid (``expires_at``), TooManyAllocations, IdempotencyConflict,
    Contention.
    """

    def decide(wallet: Wallet, cause: Cause, expires_at: int) -> Decision:
        return decisions.grant(wallet, credits, expires_at=expires_at, cause=cause)

    return _command(request, credits, decide)


def set_available(request: Request, target: int) -> CreditChange:
    """Make the spendable credits exactly ``target``, and the debt 0. Raises the errors of ``allocate``."""

    def decide(wallet: Wallet, cause: Cause, expires_at: int) -> Decision:
        return decisions.set_available(wallet, target, expires_at=expires_at, cause=cause)

    return _command(request, target, decide)


def remove(request: Request, credits: int) -> CreditChange:
    """Take credits away.

    Raises UserNotFound, OrganizationClosed, InsufficientCredits, IdempotencyConflict, Contention.
    """

    def decide(wallet: Wallet, cause: Cause, _expires_at: int) -> Decision:
        return decisions.remove(wallet, credits, cause=cause)

    return _command(request, credits, decide)


def adjust(request: Request, adjustment: int) -> CreditChange:
    """Grant credits if ``adjustment`` is positive; take them away if it is negative.

    Raises InsufficientCredits, and the errors of ``allocate``.
    """

    def decide(wallet: Wallet, cause: Cause, expires_at: int) -> Decision:
        if adjustment < 0:
            return decisions.remove(wallet, -adjustment, cause=cause, kind="adjust")
        return decisions.grant(wallet, adjustment, expires_at=expires_at, cause=cause, kind="adjust")

    return _command(request, adjustment, decide)


def expire(wallet: Wallet, now: int) -> int:
    """Drop a wallet's expired lots, and return how many credits expired. Raises Contention.

    The sweeper looks at the wallet again when the next of its lots expires.
    """

    def drop_expired(snapshot: Snapshot) -> int:
        decision = decisions.expire(snapshot.wallet, cause=Cause(SYSTEM, now))
        if not decision.entries and decision.wallet.due_at == snapshot.wallet.due_at:
            return 0
        transact(ledger_writes(snapshot.wallet, decision))
        count_expired(snapshot.wallet, decision.wallet)
        return decision.wallet.expired - snapshot.wallet.expired

    return retry_until_committed(
        drop_expired, read=lambda: Snapshot(wallets.get(wallet.account_id)), first=Snapshot(wallet)
    )


class AllocationPage(NamedTuple):
    """A page of grants, newest first, each with what is left of it.

    ``next_number`` is the number of the next page's first grant, or None on the last page.
    """

    total: int
    allocations: list[tuple[Allocation, int]]
    next_number: int | None


def list_allocations(wallet: Wallet, *, skip: int, last: int | None, limit: int, now: int) -> AllocationPage:
    """A page of an account's grants.

    ``last`` is the number of the page's newest grant, which comes first. If ``last`` is None, the page begins after the
    ``skip`` newest grants.
    """
    last = wallet.allocations - skip if last is None else min(last, wallet.allocations)
    page = allocations.page(wallet.account_id, last=last, limit=limit)
    left: dict[int, int] = {}
    for lot in wallet.live_lots(now):
        left[lot.number] = left.get(lot.number, 0) + lot.credits
    next_number = page[-1].number - 1 if page else 0
    return AllocationPage(
        wallet.allocations, [(grant, left.get(grant.number, 0)) for grant in page], next_number or None
    )


def list_entries(
    wallet: Wallet, *, since: int | None, until: int | None, before: int | None, limit: int
) -> tuple[list[Entry], int | None]:
    """A page of an account's ledger, newest first, and the next page's ``before`` (None on the last page).

    The page's entries are from ``since`` (inclusive) to ``until`` (exclusive), in epoch milliseconds, and have numbers
    below ``before``.
    """
    account_id, newest = wallet.account_id, wallet.entry_seq
    first = 1 if since is None else entries.first_since(account_id, since, newest)
    last = newest if until is None else entries.first_since(account_id, until, newest) - 1
    if before is not None:
        last = min(last, before - 1)
    page = entries.page(account_id, first=first, last=last, limit=limit)
    more = bool(page) and page[-1].seq > first
    return page, page[-1].seq if more else None


def _balance(wallet: Wallet, now: int) -> Balance:
    return Balance(wallet.account_id, wallet.spendable(now), wallet.held, wallet.debt, wallet.live_lots(now))


def _command(request: Request, credits: int, decide: Callable[[Wallet, Cause, int], Decision]) -> CreditChange:
    """Decide the change of the wallet, and write it with its entries, any allocation, and the idempotency record.

    The idempotency record's condition is checked before the wallet's, so a repeat gets the first answer even if the
    wallet has changed since.
    """
    now, key = request.now, request.key
    try:
        wallet = _wallet_of(request)
    except UserNotFound:
        # A repeat can fail here, for example because the e-mail address of the user has changed since.
        if key and (record := idempotency.find(key, now)):
            return _replayed(key, record)
        raise
    cause = Cause(request.actor, now, request.notes, new_salt(request.notes))

    def decide_and_write(snapshot: Snapshot) -> CreditChange:
        before = snapshot.wallet
        try:
            decisions.require_open(before)
            expires_at = expiry(now, request.expiry_days, request.expires_at)
            decision = decide(before, cause, expires_at)
        except AccountingError:
            # A repeat can fail here because the first request changed the wallet, or ``expires_at`` has passed since.
            if key and (record := idempotency.find(key, now)):
                return _replayed(key, record)
            raise
        allocation = _allocation(request, decision, expires_at)
        change = CreditChange(
            account_id=before.account_id,
            credits=credits,
            previous=before.spendable(now),
            available=decision.wallet.available,
            debt=decision.wallet.debt,
            allocation=allocation and allocation._replace(notes=""),
            remaining=_left_of(allocation, decision.wallet),
        )
        writes = ledger_writes(before, decision)
        if allocation:
            writes.append(allocations.put(allocation))
        if key:
            answer = change._asdict() | {"allocation": change.allocation and change.allocation._asdict()}
            writes.insert(0, idempotency.put(key, json.dumps(answer), now))
        try:
            transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        count_expired(before, decision.wallet)
        count("CreditsGranted", decision.wallet.granted - before.granted)
        count("CreditsRemoved", decision.wallet.removed - before.removed)
        return change

    return retry_until_committed(
        decide_and_write, read=lambda: Snapshot(wallets.get(wallet.account_id)), first=Snapshot(wallet)
    )


def _wallet_of(request: Request) -> Wallet:
    """The wallet that a request changes. Raises UserNotFound."""
    if request.account_id is not None:
        return wallets.get(request.account_id)
    if request.user is None:
        raise LookupError("the request names neither a user nor an account")
    return users.resolve(request.user).wallet


def _left_of(allocation: Allocation | None, wallet: Wallet) -> int:
    return sum(lot.credits for lot in wallet.lots if allocation and lot.number == allocation.number)


def _allocation(request: Request, decision: Decision, expires_at: int) -> Allocation | None:
    """The grant that a command made, if any. The first entry with an allocation says how much was granted."""
    granted = next((entry for entry in decision.entries if entry.allocation_id), None)
    if granted is None or granted.allocation_id is None:
        return None
    return Allocation(
        account_id=granted.account_id,
        number=decision.wallet.allocations,
        id=granted.allocation_id,
        credits=granted.credits,
        allocated_by=request.actor,
        allocated_at=granted.at // SECOND * SECOND,
        expires_at=expires_at,
        notes="" if decision.wallet.erased else request.notes,
    )


def _replayed(key: IdempotencyKey, record: Record) -> CreditChange:
    answer = replay(key, record)
    allocation = answer.pop("allocation")
    return CreditChange(**answer | {"allocation": allocation and Allocation(**allocation), "replayed": True})
