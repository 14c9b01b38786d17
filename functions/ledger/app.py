"""Routes that show an account's grants and ledger entries, prove its credits, and add up all accounts."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from contextlib import suppress
from dataclasses import asdict
from typing import Self
from urllib.parse import unquote

from pydantic import Field

from accounting.domain.accounts import AccountId, parsed, personal, user_of
from accounting.domain.allocations import Allocation
from accounting.domain.audit import LedgerSums, Problem, Proof
from accounting.domain.ledger import Entry
from accounting.domain.outstanding import Outstanding
from accounting.domain.wallet import Wallet
from accounting.operations import audit as audits
from accounting.operations import credits as operations
from accounting.store import audits as store
from accounting.store import users, wallets
from accounting.times import clock, iso
from accounting.web.access import ADMINS, SUPERVISORS, Access, Who
from accounting.web.accounts import AccountInQuery
from accounting.web.api import Api, handler_of
from accounting.web.caller import Caller
from accounting.web.paging import (
    DEFAULT_LIMIT,
    Cursor,
    EndDate,
    Limit,
    Page,
    StartDate,
    cursor_of,
    instants,
    number_in,
    rows_to_skip,
)
from accounting.web.sight import Sight, exists
from accounting.web.types import Instant, ResponseModel, UserInPath, left_out

READERS = Access(Who.USERS, "credits:read", sight=Sight("admin", Caller.require_supervisor))
READERS_OF_ALLOCATIONS = Access(Who.SELF_OR_ADMINS, "credits:read")

api = Api()


class AllocationView(ResponseModel):
    """A grant as it was made, and how much of it can still be spent."""

    id: str
    total_credits: int
    remaining_credits: int
    allocated_by: str
    allocated_at: Instant
    expires_at: Instant
    notes: str

    @classmethod
    def of(cls, allocation: Allocation, left: int) -> Self:
        return cls(
            id=allocation.id,
            total_credits=allocation.credits,
            remaining_credits=left,
            allocated_by=allocation.allocated_by,
            allocated_at=iso(allocation.allocated_at),
            expires_at=iso(allocation.expires_at),
            notes=allocation.notes,
        )


class AllocationsView(ResponseModel):
    """A page of grants, newest first."""

    total: int
    page: int
    total_pages: int
    allocations: list[AllocationView]
    next_cursor: str | None = left_out()


class EntryView(ResponseModel):
    """A ledger entry. ``credits`` is the change of the credits that can be spent.

    ``charged`` is what was charged for a session or usage record. It is negative if charged credits were given back.

    ``hash`` covers the entry and the previous entry's hash, so nobody can change, remove or add an entry unnoticed.
    """

    seq: int
    kind: str
    credits: int
    charged: int
    available_after: int
    held_after: int
    debt_after: int
    at: Instant
    actor: str
    reason: str
    session_id: str | None = left_out()
    allocation_id: str | None = left_out()
    usage_id: str | None = left_out()
    key_id: str | None = left_out("The API key that was used, if any")
    run_id: str | None = left_out("The run that the entry counts for, if any")
    hash: str

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(
            seq=entry.seq,
            kind=entry.kind,
            credits=entry.credits,
            charged=entry.charged,
            available_after=entry.available_after,
            held_after=entry.held_after,
            debt_after=entry.debt_after,
            at=iso(entry.at),
            actor=entry.actor,
            reason=entry.reason,
            session_id=entry.session_id,
            allocation_id=entry.allocation_id,
            usage_id=entry.usage_id,
            key_id=entry.key_id,
            run_id=entry.run_id,
            hash=entry.hash,
        )


class LedgerView(ResponseModel):
    """A page of the ledger, newest first."""

    entries: list[EntryView]
    next_cursor: str | None = left_out()


class SumsView(ResponseModel):
    """An account's sums. ``granted = available + held + charged + removed + expired - debt``."""

    available: int
    held: int
    debt: int
    granted: int
    charged: int
    removed: int
    expired: int

    @classmethod
    def of(cls, sums: LedgerSums) -> Self:
        return cls(**sums._asdict())


class KindView(ResponseModel):
    """How many ledger entries of one kind an account has, and their sums."""

    entries: int
    credits: int
    charged: int


class FindingView(ResponseModel):
    """An inconsistency at ledger entry ``seq``. This service's own writes cannot cause it."""

    problem: Problem
    seq: int


class AuditView(ResponseModel):
    """The proof of an account's credits.

    ``ledger`` has the sums that the audit computed from the ledger's entries. ``wallet`` has the sums in the wallet.
    ``intact`` is true if ``findings`` is empty. ``drift`` is 0 if ``intact`` is true; otherwise it is the largest error
    in credits. An error is a difference between two sums with the same name in ``ledger`` and ``wallet``, or a
    violation of ``granted = available + held + charged + removed + expired - debt`` in ``ledger`` or in ``wallet``.

    This audit read the entries from ``firstSeq`` to ``lastSeq``; ``head`` is the hash of entry ``lastSeq``. An
    earlier audit proved the entries before ``firstSeq``; ``ledger`` and ``byKind`` include these entries. If a newer
    version of the service wrote the entries after ``lastSeq``, the wallet is not compared with the ledger, and
    ``drift`` is 0.
    """

    account_id: AccountId
    user_id: str | None = left_out("The owner of a personal account; left out for an organization's account")
    intact: bool
    drift: int
    findings: list[FindingView]
    first_seq: int
    last_seq: int
    head: str
    by_kind: dict[str, KindView]
    ledger: SumsView
    wallet: SumsView

    @classmethod
    def of(cls, proof: Proof, wallet: Wallet, first_seq: int) -> Self:
        return cls(
            account_id=proof.account_id,
            user_id=user_of(proof.account_id),
            intact=proof.intact,
            drift=proof.drift(wallet),
            findings=[FindingView(problem=finding.problem, seq=finding.seq) for finding in proof.findings],
            first_seq=first_seq,
            last_seq=proof.seq,
            head=proof.head,
            by_kind={kind: KindView(**asdict(sums)) for kind, sums in proof.by_kind.items()},
            ledger=SumsView.of(proof.sums),
            wallet=SumsView.of(LedgerSums.of(wallet)),
        )


class MonthView(ResponseModel):
    """Credits that expire in a UTC month."""

    month: str = Field(description="`yyyy-mm`")
    credits: int


class OutstandingView(ResponseModel):
    """The sums of all wallets, from the auditor's last complete run.

    The run began at ``begunAt`` and ended at ``asOf``. Before the first complete run, both are null, and all numbers
    are 0.

    ``availableCredits`` is what can be spent. It is the sum of ``expiring`` and ``expiringLater``. ``expiring`` has the
    credits that expire in each of 24 months, beginning with the month of ``begunAt``. Months in which no credits expire
    are left out. ``expiringLater`` has the credits that expire after the 24 months. Credits that have expired but are
    still in a wallet are in none of these numbers.

    ``driftingAccounts`` counts the accounts in which the auditor found a problem, and ``drifting`` has the ids of the
    first 20. ``unprovedAccounts`` counts the accounts that could not be checked. The auditor's log says why.
    """

    as_of: Instant | None
    begun_at: Instant | None
    accounts: int
    available_credits: int
    held_credits: int
    debt: int
    expiring: list[MonthView]
    expiring_later: int
    drifting_accounts: int
    drifting: list[AccountId]
    unproved_accounts: int

    @classmethod
    def of(cls, sums: Outstanding | None) -> Self:
        known = sums or Outstanding(0)
        return cls(
            as_of=iso(sums.ended_at) if sums else None,
            begun_at=iso(sums.begun_at) if sums else None,
            accounts=known.accounts,
            available_credits=known.available,
            held_credits=known.held,
            debt=known.debt,
            expiring=[MonthView(month=month, credits=credits) for month, credits in sorted(known.by_month.items())],
            expiring_later=known.later,
            drifting_accounts=known.drifting,
            drifting=list(known.named),
            unproved_accounts=known.unproved,
        )


@api.get("/api/credits/allocations", access=READERS)
def own_allocations(
    page: Page = 1, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, account_id: AccountInQuery = None
) -> AllocationsView:
    """List the caller's grants, newest first. With ``accountId``, list the grants of that account instead."""
    return _allocations(wallets.get(api.account.id), page, limit, cursor)


@api.get("/api/credits/allocations/<user_id>", access=READERS_OF_ALLOCATIONS)
def allocations_of(
    user_id: UserInPath, page: Page = 1, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> AllocationsView:
    """List a user's grants, newest first."""
    return _allocations(users.resolve(api.subject).wallet, page, limit, cursor)


@api.get("/api/credits/ledger", access=READERS)
def own_ledger(
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
    account_id: AccountInQuery = None,
) -> LedgerView:
    """List the caller's ledger entries, newest first. With ``accountId``, list the entries of that account instead."""
    return _ledger(wallets.get(api.account.id), limit, cursor, start_date, end_date)


@api.get("/api/credits/ledger/<user_id>", access=SUPERVISORS)
def ledger_of(
    user_id: UserInPath,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
) -> LedgerView:
    """List a user's ledger entries, newest first."""
    return _ledger(users.resolve(api.subject).wallet, limit, cursor, start_date, end_date)


@api.get("/api/credits/outstanding", access=ADMINS)
def outstanding() -> OutstandingView:
    """Show the credits of all accounts: what can be spent and when it expires, what is held, and debt.

    The auditor adds up all wallets while it checks them, by default every hour.
    """
    return OutstandingView.of(store.outstanding())


@api.get("/api/credits/audit/<user_id>", access=ADMINS)
def audit_of(user_id: UserInPath) -> AuditView:
    """Prove an account's credits: compare the sums and hashes of the ledger with the wallet.

    The path has a user's id or e-mail address, or an account's id.
    """
    return AuditView.of(*audits.audit(_audited(user_id), clock()))


def _audited(reference: str) -> AccountId:
    """The account with the id in the path, or the personal account of the user in the path. Raises UserNotFound."""
    for text in (reference, unquote(reference)):  # clients encode a slash in an id twice
        with suppress(ValueError):
            if exists(parsed(text)):
                return parsed(text)
    return personal(users.resolve(api.subject).user.id)


def _allocations(wallet: Wallet, page: int, limit: int, cursor: str | None) -> AllocationsView:
    last = number_in(cursor)
    skip = 0 if last is not None else rows_to_skip(page, limit)
    found = operations.list_allocations(wallet, skip=skip, last=last, limit=limit, now=clock())
    return AllocationsView(
        total=found.total,
        page=page,
        total_pages=-(-found.total // limit),
        allocations=[AllocationView.of(allocation, left) for allocation, left in found.allocations],
        next_cursor=cursor_of(found.next_number) if found.next_number else None,
    )


def _ledger(wallet: Wallet, limit: int, cursor: str | None, start: str | None, end: str | None) -> LedgerView:
    since, until = instants(start, end)
    entries, before = operations.list_entries(wallet, since=since, until=until, before=number_in(cursor), limit=limit)
    return LedgerView(
        entries=[EntryView.of(entry) for entry in entries],
        next_cursor=cursor_of(before) if before else None,
    )


handler = handler_of(api)
