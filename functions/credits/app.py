"""Credits: balances, costs, and the commands with which supervisors move credits."""

from dataclasses import asdict
from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from accounting.domain.accounts import AccountId, personal, user_of
from accounting.domain.allocations import Allocation
from accounting.domain.audit import Problem, Proof, Sums
from accounting.domain.errors import Invalid
from accounting.domain.ledger import Entry
from accounting.domain.lots import allocation_id
from accounting.domain.pricing import price_of
from accounting.domain.wallet import Wallet
from accounting.operations import audit as audits
from accounting.operations import credits as operations
from accounting.operations.credits import Balance, Change, Request
from accounting.store import users
from accounting.store.users import Reference
from accounting.times import clock, from_iso, iso
from accounting.web.access import ADMINS, SUPERVISORS, Access, Disabled, Who
from accounting.web.api import Api, handler_of
from accounting.web.idempotency import REPLAYED_HEADER, key_of
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
from accounting.web.subject import named_by
from accounting.web.types import (
    DEFAULT_EXPIRY_DAYS,
    Adjustment,
    Credits,
    CreditsOrNone,
    ExpiryDays,
    Instant,
    ModelId,
    Notes,
    QueryCredits,
    QuestionModel,
    RequestModel,
    ResponseModel,
    Timestamp,
    Tokens,
    UserInPath,
    UserReference,
    left_out,
)

READERS = Access(Who.USERS, "credits:read")
BALANCE_READERS = Access(Who.USERS, "credits:read", Disabled.WALLET_DECIDES)
READERS_OF_ALLOCATIONS = Access(Who.SELF_OR_ADMINS, "credits:read")
GRANT_CODES = ("USER_NOT_FOUND", "TOO_MANY_ALLOCATIONS")

api = Api()


class Check(QuestionModel):
    """Whether there is enough for this."""

    required_credits: CreditsOrNone = Field(
        validation_alias=AliasChoices("requiredCredits", "credits"), description="Or as `credits`"
    )


class Calculate(QuestionModel):
    """What these tokens would cost."""

    model_id: ModelId
    tokens: Tokens


class _Command(RequestModel):
    user_id: UserReference = Field(
        validation_alias=AliasChoices("userId", "targetUserId"),
        description="An id or e-mail address; or as `targetUserId`",
    )
    notes: Notes | None = None


class _Grant(_Command):
    """A command that may make a lot. It lives ``expiryDays`` (default 30), or until ``expiresAt``."""

    expiry_days: ExpiryDays | None = None
    expires_at: Timestamp | None = None

    @field_validator("expires_at")
    @classmethod
    def _has_one_expiry(cls, expires_at: str | None, info: ValidationInfo) -> str | None:
        if expires_at is not None and info.data.get("expiry_days") is not None:
            raise ValueError("beside expiryDays: send one of them")
        return expires_at


class Allocate(_Grant):
    """Grant credits."""

    credits: Credits


class SetCredits(_Grant):
    """Make the available credits exactly this."""

    credits: CreditsOrNone


class Remove(_Command):
    """Take credits away."""

    credits: Credits


class Adjust(_Grant):
    """Grant (positive) or take away (negative)."""

    adjustment: Adjustment


class ActiveAllocation(ResponseModel):
    """A lot that can be spent."""

    id: str
    credits: int
    expires_at: Instant
    allocated_at: Instant


class BalanceView(ResponseModel):
    """What a user can spend now, and from which lots, soonest expiry first."""

    user_id: str
    total_credits: int
    held_credits: int
    debt: int
    active_allocations: list[ActiveAllocation]

    @classmethod
    def of(cls, balance: Balance) -> Self:
        """The view of a balance."""
        return cls(
            user_id=_user_of(balance.account_id),
            total_credits=balance.available,
            held_credits=balance.held,
            debt=balance.debt,
            active_allocations=[
                ActiveAllocation(
                    id=allocation_id(balance.account_id, lot.number),
                    credits=lot.credits,
                    expires_at=iso(lot.expires_at),
                    allocated_at=iso(lot.granted_at),
                )
                for lot in balance.lots
            ],
        )


class CheckView(ResponseModel):
    """Whether the balance covers what is required."""

    sufficient: bool
    credits: int
    required_credits: int
    message: str | None = left_out()


class CalculateView(ResponseModel):
    """What tokens of a model cost now."""

    model_id: str
    tokens: int
    credits: int
    price_per_thousand_tokens: int | float


class AllocateView(ResponseModel):
    """A grant as it was made; ``remainingCredits`` is what a repaid debt left of it."""

    id: str
    user_id: str
    credits: int
    remaining_credits: int
    total_credits: int
    debt: int
    expires_at: Instant
    message: str


class SetView(ResponseModel):
    """What a user can spend after it was set, and before."""

    user_id: str
    total_credits: int
    previous_credits: int
    debt: int


class RemoveView(ResponseModel):
    """What was taken away, and what is left."""

    user_id: str
    removed_credits: int
    total_credits: int


class AdjustView(ResponseModel):
    """What was adjusted, and what there is now."""

    user_id: str
    adjustment: int
    total_credits: int
    debt: int


class AllocationView(ResponseModel):
    """A grant as it was made, and what is left of it to spend."""

    id: str
    total_credits: int
    remaining_credits: int
    allocated_by: str
    allocated_at: Instant
    expires_at: Instant
    notes: str

    @classmethod
    def of(cls, allocation: Allocation, left: int) -> Self:
        """The view of a grant."""
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
    """A ledger entry. ``credits`` changes what can be spent, ``charged`` left the user for good.

    ``hash`` is over the entry and its predecessor's hash: entries can't be changed, removed or added unnoticed.
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
    hash: str

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The view of an entry."""
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
            hash=entry.hash,
        )


class LedgerView(ResponseModel):
    """A page of the ledger, newest first."""

    entries: list[EntryView]
    next_cursor: str | None = left_out()


class SumsView(ResponseModel):
    """A wallet's numbers. ``granted = available + held + charged + removed + expired - debt``."""

    available: int
    held: int
    debt: int
    granted: int
    charged: int
    removed: int
    expired: int

    @classmethod
    def of(cls, sums: Sums) -> Self:
        """The view of sums."""
        return cls(**asdict(sums))


class KindView(ResponseModel):
    """A user's ledger entries of one kind."""

    entries: int
    credits: int
    charged: int


class FindingView(ResponseModel):
    """Something that can't be if every change was made by this service, at ledger entry ``seq``."""

    problem: Problem
    seq: int


class AuditView(ResponseModel):
    """The proof of a user's credits.

    ``drift`` is by how many credits a number of the wallet is off, 0 when ``intact``. Entries before ``firstSeq`` were
    proved by the auditor before, and count in ``ledger`` and ``byKind``.
    """

    user_id: str
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
        """The view of a proof."""
        return cls(
            user_id=_user_of(proof.account_id),
            intact=proof.intact,
            drift=proof.drift(wallet),
            findings=[FindingView(problem=finding.problem, seq=finding.seq) for finding in proof.findings],
            first_seq=first_seq,
            last_seq=proof.seq,
            head=proof.head,
            by_kind={kind: KindView(**asdict(sums)) for kind, sums in proof.by_kind.items()},
            ledger=SumsView.of(proof.sums),
            wallet=SumsView.of(Sums.of(wallet)),
        )


@api.get("/api/credits/balance", access=BALANCE_READERS)
def own_balance() -> BalanceView:
    """What the caller can spend now."""
    return BalanceView.of(operations.balance(api.caller.account_id, clock()))


@api.get("/api/credits/balance/<user_id>", access=SUPERVISORS)
def balance_of(user_id: UserInPath) -> BalanceView:
    """What a user can spend now."""
    return BalanceView.of(operations.balance_of(api.subject, clock()))


@api.post("/api/credits/check", access=BALANCE_READERS, any_query=True)
def check(body: Check) -> CheckView:
    """Whether the caller's balance covers an amount; it holds nothing."""
    balance = operations.balance(api.caller.account_id, clock())
    sufficient = balance.available >= body.required_credits
    return CheckView(
        sufficient=sufficient,
        credits=balance.available,
        required_credits=body.required_credits,
        message=None if sufficient else "Insufficient credits",
    )


@api.post("/api/credits/calculate", access=READERS, any_query=True)
def calculate(body: Calculate) -> CalculateView:
    """What tokens of a model cost now."""
    credits, price_e4 = operations.cost(body.model_id, body.tokens, clock())
    return CalculateView(
        model_id=body.model_id,
        tokens=body.tokens,
        credits=credits,
        price_per_thousand_tokens=price_of(price_e4),
    )


@api.post("/api/credits/allocate", status_code=201, access=SUPERVISORS, idempotency="allocate", codes=GRANT_CODES)
def allocate(body: Allocate) -> AllocateView:
    """Grant credits to a user."""
    change = operations.allocate(_request(body), body.credits)
    allocation = _told(change).allocation
    if allocation is None:
        raise LookupError("an allocate without its allocation")
    return AllocateView(
        id=allocation.id,
        user_id=_user_of(change.account_id),
        credits=change.credits,
        remaining_credits=change.remaining,
        total_credits=change.available,
        debt=change.debt,
        expires_at=iso(allocation.expires_at),
        message=f"Allocated {change.credits} credits",
    )


@api.post("/api/credits/set", access=SUPERVISORS, idempotency="set", codes=GRANT_CODES)
def set_credits(body: SetCredits) -> SetView:
    """Make what a user can spend exactly this, and their debt 0."""
    change = _told(operations.set_available(_request(body), body.credits))
    return SetView(
        user_id=_user_of(change.account_id),
        total_credits=change.available,
        previous_credits=change.previous,
        debt=change.debt,
    )


@api.delete("/api/credits/remove", access=SUPERVISORS, idempotency="remove", codes=("INSUFFICIENT_CREDITS",))
def remove(
    body: Remove | None = None,
    user_id: Annotated[UserReference | None, Query(alias="userId")] = None,
    credits: Annotated[QueryCredits | None, Query()] = None,
    notes: Annotated[Notes | None, Query()] = None,
) -> RemoveView:
    """Take credits away from a user; the request stands in the body or in the query, not in both."""
    fields = {"userId": user_id, "credits": credits, "notes": notes}
    in_query = {name: value for name, value in fields.items() if value is not None}
    if body and in_query:
        raise Invalid.field(next(iter(in_query)), "in the query beside a body: send the request in one of them")
    command = body or Remove.model_validate(in_query)
    change = _told(operations.remove(_request(command), command.credits))
    return RemoveView(
        user_id=_user_of(change.account_id), removed_credits=change.credits, total_credits=change.available
    )


@api.put("/api/credits/adjust", access=SUPERVISORS, idempotency="adjust", codes=(*GRANT_CODES, "INSUFFICIENT_CREDITS"))
def adjust(body: Adjust) -> AdjustView:
    """Grant credits to a user, or take them away."""
    change = _told(operations.adjust(_request(body), body.adjustment))
    return AdjustView(
        user_id=_user_of(change.account_id),
        adjustment=change.credits,
        total_credits=change.available,
        debt=change.debt,
    )


@api.get("/api/credits/allocations", access=READERS)
def own_allocations(page: Page = 1, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> AllocationsView:
    """The caller's grants, newest first."""
    return _allocations(api.subject, page, limit, cursor)


@api.get("/api/credits/allocations/<user_id>", access=READERS_OF_ALLOCATIONS)
def allocations_of(
    user_id: UserInPath, page: Page = 1, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> AllocationsView:
    """A user's grants, newest first."""
    return _allocations(api.subject, page, limit, cursor)


@api.get("/api/credits/ledger", access=READERS)
def own_ledger(
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
) -> LedgerView:
    """The caller's ledger, newest first."""
    return _ledger(api.subject, limit, cursor, start_date, end_date)


@api.get("/api/credits/ledger/<user_id>", access=SUPERVISORS)
def ledger_of(
    user_id: UserInPath,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    start_date: StartDate = None,
    end_date: EndDate = None,
) -> LedgerView:
    """A user's ledger, newest first."""
    return _ledger(api.subject, limit, cursor, start_date, end_date)


@api.get("/api/credits/audit/<user_id>", access=ADMINS)
def audit_of(user_id: UserInPath) -> AuditView:
    """The proof of a user's credits: their ledger, added up again and its hashes checked, beside their wallet."""
    return AuditView.of(*audits.audit(personal(users.resolve(api.subject)[0].id), clock()))


def _request(body: _Command) -> Request:
    """The command's request."""
    return Request(
        actor=api.caller.user_id,
        user=named_by(api.caller, body.user_id),
        notes=body.notes or "",
        expiry_days=(body.expiry_days if isinstance(body, _Grant) else None) or DEFAULT_EXPIRY_DAYS,
        expires_at=from_iso(body.expires_at) if isinstance(body, _Grant) and body.expires_at else None,
        now=clock(),
        key=key_of(api, body),
    )


def _user_of(account_id: AccountId) -> str:
    """The user whose account it is. Raises LookupError of an organization's."""
    user_id = user_of(account_id)
    if user_id is None:
        raise LookupError(f"{account_id} is no user's own account")
    return user_id


def _told(change: Change) -> Change:
    """The change, with a header if it was made before."""
    if change.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return change


def _allocations(user: Reference, page: int, limit: int, cursor: str | None) -> AllocationsView:
    last = number_in(cursor)
    skip = 0 if last is not None else rows_to_skip(page, limit)
    found = operations.list_allocations(user, skip=skip, last=last, limit=limit, now=clock())
    return AllocationsView(
        total=found.total,
        page=page,
        total_pages=-(-found.total // limit),
        allocations=[AllocationView.of(allocation, left) for allocation, left in found.allocations],
        next_cursor=cursor_of(found.next_last) if found.next_last else None,
    )


def _ledger(user: Reference, limit: int, cursor: str | None, start: str | None, end: str | None) -> LedgerView:
    since, until = instants(start, end)
    entries, before = operations.list_entries(user, since=since, until=until, before=number_in(cursor), limit=limit)
    return LedgerView(
        entries=[EntryView.of(entry) for entry in entries],
        next_cursor=cursor_of(before) if before else None,
    )


handler = handler_of(api)
