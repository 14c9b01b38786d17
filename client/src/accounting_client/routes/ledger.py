"""The ledger: every change of an account's credits, and the proof that the changes add up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from accounting_client.call import Call, Listing, Page, get, json_fields, paged, path, require_not_both


@dataclass(frozen=True)
class Entry:
    """A change of an account's credits.

    ``credits`` is the change of the spendable credits. ``charged`` is what was charged for sessions and usage records.
    ``hash`` covers the entry and the previous entry's hash.
    """

    seq: int
    kind: str
    credits: int
    charged: int
    available_after: int
    held_after: int
    debt_after: int
    at: datetime
    actor: str
    reason: str
    hash: str
    session_id: str | None = None
    allocation_id: str | None = None
    usage_id: str | None = None
    key_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class _Ledger:
    entries: tuple[Entry, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Sums:
    """The sums of a ledger or a wallet, in credits.

    ``granted = available + held + charged + removed + expired - debt``.
    """

    available: int
    held: int
    debt: int
    granted: int
    charged: int
    removed: int
    expired: int


@dataclass(frozen=True)
class KindSums:
    """How many entries of one kind there are, and their sums in credits."""

    entries: int
    credits: int
    charged: int


@dataclass(frozen=True)
class Finding:
    """An inconsistency at ledger entry ``seq`` that the service's own writes cannot cause."""

    problem: str
    seq: int


@dataclass(frozen=True)
class Audit:
    """The proof of an account's credits.

    ``drift`` is the largest error in the sums of ``ledger`` and ``wallet``, in credits. It is 0 if ``intact``.
    ``user_id`` is the owner of a personal account, and None for an organization's account.
    """

    intact: bool
    drift: int
    findings: tuple[Finding, ...]
    first_seq: int
    last_seq: int
    head: str
    by_kind: dict[str, KindSums]
    ledger: Sums
    wallet: Sums
    account_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Month:
    """Credits that expire in a UTC month (``yyyy-mm``)."""

    month: str
    credits: int


@dataclass(frozen=True)
class Outstanding:
    """The sums of all wallets, which the auditor read between ``begun_at`` and ``as_of``.

    Until the auditor has finished its first run, both are None, and all numbers are 0. ``expiring`` and
    ``expiring_later`` add up to ``available_credits``. ``drifting_accounts`` counts the accounts in which the auditor
    found a problem, and ``drifting`` has the ids of the first 20. ``unproved_accounts`` counts the accounts that could
    not be checked.
    """

    as_of: datetime | None
    begun_at: datetime | None
    accounts: int
    available_credits: int
    held_credits: int
    debt: int
    expiring: tuple[Month, ...]
    expiring_later: int
    drifting_accounts: int
    drifting: tuple[str, ...]
    unproved_accounts: int


def ledger_page(
    user_id: str | None = None,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
    account_id: str | None = None,
) -> Call[Page[Entry]]:
    """A page of the ledger of the caller, of another user (for supervisors), or of an account. Newest entries first.

    ``limit`` is 1 to 100, by default 20; ``cursor`` is the previous page's ``next_cursor``. Dates are in UTC. An
    ``end_date`` without a time includes that whole day. ``account_id`` is an account that the caller manages or,
    for supervisors, any account. Raises UserNotFound, AccountNotFound.
    """
    require_not_both(user_id, account_id)
    where = "/api/credits/ledger" if user_id is None else path("/api/credits/ledger/{}", user_id)
    query = json_fields(limit=limit, cursor=cursor, start_date=start_date, end_date=end_date, account_id=account_id)
    return Call("GET", where, paged(_Ledger, lambda found: found.entries), query=query, repeatable=True)


def ledger(
    user_id: str | None = None,
    *,
    start_date: datetime | date | str | None = None,
    end_date: datetime | date | str | None = None,
    page_size: int = 100,
    account_id: str | None = None,
) -> Listing[Entry]:
    """The ledger of the caller, of another user (for supervisors), or of an account. Newest entries first.

    ``start_date`` and ``end_date`` are as for `ledger_page`. Raises UserNotFound, AccountNotFound.
    """
    return lambda cursor: ledger_page(
        user_id, limit=page_size, cursor=cursor, start_date=start_date, end_date=end_date, account_id=account_id
    )


def audit(user_id: str) -> Call[Audit]:
    """As an administrator, prove a user's credits: add up the ledger again, and compare it with the wallet.

    ``user_id`` may also be the id of an account, such as ``org:01M7XZ7VE5EWNW6G9TAJHR15GM``.
    Raises UserNotFound.
    """
    return get(path("/api/credits/audit/{}", user_id), Audit)


def outstanding_credits() -> Call[Outstanding]:
    """As an administrator, read the sums of all wallets: spendable credits by month of expiry, held credits, and debt.

    The auditor updates these sums, by default every hour.
    """
    return get("/api/credits/outstanding", Outstanding)
