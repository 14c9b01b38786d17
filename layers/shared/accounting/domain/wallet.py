"""The wallet, which is an account's credits, and every command on a wallet as a pure function.

A wallet keeps its credits in lots. All credits of a lot expire together.

A command takes the wallet as it was read and a ``Cause`` (who, when, why). It returns the wallet as it must become, and
the ledger entries that explain the change, or raises a domain error. Credits are integers, times are epoch
milliseconds.

Three rules hold after every command:

* conservation: ``granted == available + held + charged + removed + expired - debt``;
* an entry's ``credits`` is the change of the spendable credits, so ``available_after`` is their running sum;
* debt is repaid before anything becomes spendable, so a wallet with debt has no spendable credits.

Entries form a chain: each has a hash over its content and the previous entry's hash. The wallet has the newest hash.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from accounting.domain import lots as of_lots
from accounting.domain.accounts import AccountId, user_of
from accounting.domain.errors import InsufficientCredits, OrganizationClosed, TooManyAllocations, UserDisabled
from accounting.domain.ledger import FIRST_FORMAT, SYSTEM, Cause, Entry, Kind, digest
from accounting.domain.ledger import FORMAT as ENTRY_FORMAT
from accounting.domain.lots import MAX_LOTS, SECOND, Lot

FORMAT = 1
"""The format of the wallets that this release creates."""


class Wallet(NamedTuple):
    """An account's credits. ``lots`` are in burn order, which is the order in which they are spent.

    ``granted``, ``removed`` and ``expired`` only grow; ``charged`` shrinks if late usage is lower than what the sweep
    charged.

    ``version`` counts writes, ``entry_seq`` counts ledger entries, and ``allocations`` counts all lots ever granted.
    ``head`` is the newest entry's hash. ``due_at`` is when the sweeper next looks at the wallet: when the first lot
    expires, or sooner. If the first lot is spent before it expires, ``due_at`` stays the same, because a change costs
    two writes to an index. The sweeper then finds nothing expired, and sets ``due_at`` to the next expiry.

    ``frozen`` is true if the user is disabled or the organization closed: nothing new is held or charged, but holds are
    settled. ``erased`` is true if the user is erased: new entries have no reason. ``terms`` counts the changes to
    members and budgets. ``budgets`` is the number of budgets. ``passed`` only affects how long commands wait before
    they try again: see `operations/turns.py`. ``more`` has the attributes that only a newer release knows. This release
    keeps them and the stored ``format`` unchanged.
    """

    account_id: AccountId
    version: int = 0
    entry_seq: int = 0
    allocations: int = 0
    lots: tuple[Lot, ...] = ()
    held: int = 0
    debt: int = 0
    granted: int = 0
    charged: int = 0
    removed: int = 0
    expired: int = 0
    updated_at: int = 0
    due_at: int | None = None
    head: str = ""
    frozen: bool = False
    erased: bool = False
    terms: int = 0
    budgets: int = 0
    passed: int = 0
    format: int = FORMAT
    more: Mapping[str, Any] = MappingProxyType({})

    @property
    def available(self) -> int:
        """Credits in lots, including lots that expired since the last command."""
        return sum(lot.credits for lot in self.lots)

    @property
    def closed(self) -> bool:
        """Whether the account belongs to a closed organization."""
        return self.frozen and user_of(self.account_id) is None

    @property
    def next_expiry(self) -> int | None:
        """When the first lot expires; None without lots."""
        return self.lots[0].expires_at if self.lots else None

    def live_lots(self, at: int) -> tuple[Lot, ...]:
        """The lots, in burn order, that have not expired at ``at`` or at the last change, whichever is later."""
        return tuple(lot for lot in self.lots if lot.expires_at > max(at, self.updated_at))

    def spendable(self, at: int) -> int:
        """How many credits can be spent at ``at``."""
        return sum(lot.credits for lot in self.live_lots(at))


class Decision(NamedTuple):
    """The wallet as it must become, and the entries that explain the change."""

    wallet: Wallet
    entries: tuple[Entry, ...]


class Hold(NamedTuple):
    """The decision to set credits aside; ``parts`` are the parts of lots that the credits come from."""

    wallet: Wallet
    entries: tuple[Entry, ...]
    parts: tuple[Lot, ...]


class Settlement(NamedTuple):
    """The decision to settle a hold.

    ``refund`` is the credits that came back. ``overrun`` is the credits used beyond the hold, and ``debt`` is the part
    of ``overrun`` that no lot covered.
    """

    wallet: Wallet
    entries: tuple[Entry, ...]
    refund: int
    overrun: int
    debt: int


type AnyDecision = Decision | Hold | Settlement


def grant(
    wallet: Wallet, credits: int, *, expires_at: int, cause: Cause, kind: Literal["grant", "adjust"] = "grant"
) -> Decision:
    """Add a lot. Its credits first repay debt.

    If the wallet then has more than ``MAX_LOTS``, two lots are merged. Raises TooManyAllocations if no two lots can be
    merged.
    """
    draft = _Draft(wallet, cause)
    draft.add_lot(credits, expires_at)
    draft.record(kind, credits)
    return draft.close()


def remove(wallet: Wallet, credits: int, *, cause: Cause, kind: Literal["remove", "adjust"] = "remove") -> Decision:
    """Take spendable credits away, soonest expiry first. Raises InsufficientCredits."""
    draft = _Draft(wallet, cause)
    draft.require(credits)
    draft.burn(credits)
    draft.removed += credits
    draft.record(kind, -credits)
    return draft.close()


def set_available(wallet: Wallet, target: int, *, expires_at: int, cause: Cause) -> Decision:
    """Make the spendable credits exactly ``target``, and the debt 0. Held credits do not change.

    Missing credits become a new lot. Excess credits are taken away, soonest expiry first. The lots that remain keep
    their expiry. A separate entry writes off the debt. Raises TooManyAllocations as ``grant`` does.
    """
    draft = _Draft(wallet, cause)
    if draft.debt:
        draft.granted += draft.debt
        draft.debt = 0
        draft.record("write_off", 0)
    change = target - draft.available
    if change > 0:
        draft.add_lot(change, expires_at)
    elif change < 0:
        draft.burn(-change)
        draft.removed -= change
    draft.record("set", change)
    return draft.close()


def charge(wallet: Wallet, credits: int, *, cause: Cause) -> Decision:
    """Take spendable credits for a usage record.

    Raises UserDisabled, OrganizationClosed, InsufficientCredits.
    """
    require_enabled(wallet)
    draft = _Draft(wallet, cause)
    draft.require(credits)
    draft.burn(credits)
    draft.charged += credits
    draft.record("charge", -credits, charged=credits)
    return draft.close()


def hold(wallet: Wallet, credits: int, *, cause: Cause) -> Hold:
    """Set spendable credits aside for a session.

    Raises UserDisabled, OrganizationClosed, InsufficientCredits.
    """
    require_enabled(wallet)
    draft = _Draft(wallet, cause)
    draft.require(credits)
    parts = draft.burn(credits)
    draft.held += credits
    draft.record("hold", -credits)
    decision = draft.close()
    return Hold(decision.wallet, decision.entries, parts)


def settle(wallet: Wallet, parts: Iterable[Lot], used: int, *, grace_milliseconds: int, cause: Cause) -> Settlement:
    """Charge ``used`` credits against a session's hold and give the rest back. Never refused: the usage has happened.

    The parts that expire soonest are charged first. Unused credits return to their lots. If their lot expired while
    they were held, they return as a lot that is valid for ``grace_milliseconds``. Credits get this extension only once.
    An overrun is drawn from the live lots; what the lots cannot cover becomes debt.
    """
    draft = _Draft(wallet, cause)
    held, unused = of_lots.split(parts, used)
    overrun = max(0, used - held)
    drawn = min(overrun, draft.available)
    draft.burn(drawn)
    draft.put_back(unused, grace_milliseconds)
    draft.held -= held
    draft.charged += used
    draft.debt += overrun - drawn
    refund = sum(part.credits for part in unused)
    draft.record("settle" if used else "release", refund - drawn, charged=used)
    decision = draft.close()
    return Settlement(decision.wallet, decision.entries, refund, overrun, overrun - drawn)


def settle_late(wallet: Wallet, difference: int, *, grace_milliseconds: int, cause: Cause) -> Settlement:
    """Add ``difference`` credits, which may be negative, to the charge of a settled session. Never refused.

    A positive difference is drawn from the live lots; what the lots cannot cover becomes debt. A negative difference
    returns as a lot that belongs to no allocation and is valid for ``grace_milliseconds``.
    """
    if difference >= 0:
        return settle(wallet, (), difference, grace_milliseconds=grace_milliseconds, cause=cause)
    draft = _Draft(wallet, cause)
    draft.charged += difference
    at = of_lots.whole_second(draft.at)
    of_lots.add(draft.lots, Lot(0, -difference, at + grace_milliseconds, at, grace=True))
    draft.record("settle", -difference, charged=difference)
    decision = draft.close()
    return Settlement(decision.wallet, decision.entries, refund=-difference, overrun=0, debt=0)


def expire(wallet: Wallet, *, cause: Cause) -> Decision:
    """Drop the lots that expired by ``cause.at``, and make the wallet due at its next expiry.

    If no lot has expired, there is no entry.
    """
    decision = _Draft(wallet, cause).close()
    if wallet.closed:
        return decision
    return decision._replace(wallet=decision.wallet._replace(due_at=decision.wallet.next_expiry))


def freeze(wallet: Wallet, *, frozen: bool) -> Wallet:
    """The wallet after its user was disabled or enabled. Its new ``version`` makes concurrent commands decide again."""
    return wallet._replace(frozen=frozen, version=wallet.version + 1)


def with_new_terms(wallet: Wallet, *, more_budgets: int = 0) -> Wallet:
    """The wallet after a change of members or budgets. Its new ``version`` makes concurrent commands decide again."""
    budgets = wallet.budgets + more_budgets
    return wallet._replace(version=wallet.version + 1, terms=wallet.terms + 1, budgets=budgets)


def close(wallet: Wallet, now: int) -> Wallet:
    """The wallet after its organization was closed. A wallet with lots is due now, so that the sweeper empties it."""
    return freeze(wallet, frozen=True)._replace(due_at=now if wallet.lots else None)


def erase(wallet: Wallet) -> Wallet:
    """The wallet after its user was erased.

    Its new ``version`` makes concurrent commands decide again, so that they store no texts about the user.
    """
    return freeze(wallet, frozen=True)._replace(erased=True)


def require_open(wallet: Wallet) -> None:
    """Raise OrganizationClosed if the account's organization is closed."""
    if wallet.closed:
        raise OrganizationClosed


def require_enabled(wallet: Wallet) -> None:
    """Raise UserDisabled or OrganizationClosed if nothing new may be taken from the wallet."""
    require_open(wallet)
    if wallet.frozen:
        raise UserDisabled


class _Draft:
    """A wallet while a command changes it.

    Opening a draft drops expired lots. Closing it drops expired lots that the command has put back, repays debt, merges
    lots and returns the decision. ``at`` is never before the wallet's last change, so that the order of entries is
    also their order in time.
    """

    def __init__(self, wallet: Wallet, cause: Cause) -> None:
        self._before = wallet
        self._cause = cause._replace(reason="", salt="") if wallet.erased else cause
        self._entries: list[Entry] = []
        self.at = max(cause.at, wallet.updated_at)
        self.lots = list(wallet.lots)
        self.allocations = wallet.allocations
        self.held = wallet.held
        self.debt = wallet.debt
        self.granted = wallet.granted
        self.charged = wallet.charged
        self.removed = wallet.removed
        self.expired = wallet.expired
        self._head = wallet.head
        self._allocation_id: str | None = None
        self._expire()

    @property
    def available(self) -> int:
        return sum(lot.credits for lot in self.lots)

    def require(self, credits: int) -> None:
        if credits > self.available:
            raise InsufficientCredits(credits, self.available, self.held)

    def add_lot(self, credits: int, expires_at: int) -> None:
        if len(self.lots) >= MAX_LOTS and of_lots.nearest_pair(self.lots) is None:
            raise TooManyAllocations(f"An account may have at most {MAX_LOTS} live allocations", limit=MAX_LOTS)
        self.allocations += 1
        self.granted += credits
        self._allocation_id = of_lots.allocation_id(self._before.account_id, self.allocations)
        granted_at = self.at // SECOND * SECOND
        of_lots.add(self.lots, Lot(self.allocations, credits, of_lots.whole_second(expires_at), granted_at))

    def burn(self, credits: int) -> tuple[Lot, ...]:
        """Take ``credits``, which must be available, from the lots in burn order."""
        taken = []
        while credits:
            lot = self.lots[0]
            part = lot._replace(credits=min(credits, lot.credits))
            credits -= part.credits
            taken.append(part)
            if part.credits == lot.credits:
                self.lots.pop(0)
            else:
                self.lots[0] = lot._replace(credits=lot.credits - part.credits)
        return tuple(taken)

    def put_back(self, parts: Iterable[Lot], grace_milliseconds: int) -> None:
        for part in parts:
            expired = part.expires_at <= self.at and not part.grace
            of_lots.add(self.lots, self._graced(part, grace_milliseconds) if expired else part)

    def record(self, kind: Kind, credits: int, *, charged: int = 0, reason: str = "") -> None:
        """Add the entry for a change just made. The actor of an expiry or a merge is the system, not the caller."""
        cause = Cause(SYSTEM, self.at, reason) if kind in ("expire", "merge") else self._cause
        entry = Entry(
            account_id=self._before.account_id,
            seq=self._before.entry_seq + len(self._entries) + 1,
            kind=kind,
            credits=credits,
            charged=charged,
            available_after=self.available,
            held_after=self.held,
            debt_after=self.debt,
            at=self.at,
            actor=cause.actor,
            reason=cause.reason,
            salt=cause.salt,
            reason_digest=digest(cause.reason, cause.salt),
            session_id=cause.session_id,
            allocation_id=self._allocation_id if cause is self._cause else None,
            usage_id=cause.usage_id,
            key_id=cause.key_id,
            run_id=cause.run_id,
            format=FIRST_FORMAT if cause.key_id is None and cause.run_id is None else ENTRY_FORMAT,
        )
        self._head = entry.hashed(self._head)
        self._entries.append(entry._replace(hash=self._head))

    def close(self) -> Decision:
        self._expire()
        self._repay()
        self._merge()
        wallet = self._before._replace(
            version=self._before.version + 1,
            entry_seq=self._before.entry_seq + len(self._entries),
            allocations=self.allocations,
            lots=tuple(self.lots),
            held=self.held,
            debt=self.debt,
            granted=self.granted,
            charged=self.charged,
            removed=self.removed,
            expired=self.expired,
            updated_at=self.at,
            due_at=self._due_at(),
            head=self._head,
        )
        return Decision(wallet, tuple(self._entries))

    def _due_at(self) -> int | None:
        """The old ``due_at`` or the first expiry, whichever is sooner. A closed organization's lots are due at once."""
        if self._before.closed:
            return self.at if self.lots else None
        times = [at for at in (self._before.due_at, self.lots[0].expires_at if self.lots else None) if at is not None]
        return min(times, default=None)

    def _expire(self) -> None:
        credits = sum(lot.credits for lot in self.lots if lot.expires_at <= self.at)
        if credits:
            self.lots = [lot for lot in self.lots if lot.expires_at > self.at]
            self.expired += credits
            self.record("expire", -credits)

    def _repay(self) -> None:
        paid = min(self.debt, self.available)
        if paid:
            self.burn(paid)
            self.debt -= paid
            self.record("repay", -paid)

    def _graced(self, lot: Lot, grace_milliseconds: int) -> Lot:
        """The expired lot, extended. All extended parts of one allocation expire together."""
        same = (known.expires_at for known in self.lots if known.number == lot.number and known.grace)
        expires_at = next(same, None) or of_lots.whole_second(self.at) + grace_milliseconds
        return lot._replace(expires_at=expires_at, grace=True)

    def _merge(self) -> None:
        """Keep to ``MAX_LOTS``. Of the two lots whose expiries are closest together, the sooner joins the later."""
        while len(self.lots) > MAX_LOTS and (place := of_lots.nearest_pair(self.lots)) is not None:
            sooner, later = self.lots[place : place + 2]
            self.lots[place : place + 2] = [later._replace(credits=sooner.credits + later.credits)]
            self.record("merge", 0, reason=f"allocation {sooner.number} joined allocation {later.number}")
