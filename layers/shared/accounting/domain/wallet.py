"""A user's credits as one aggregate, and every command on it as a pure function. Imports ``errors`` only.

A command takes the wallet as it was read and a ``Cause`` (who, when, why), and returns the wallet as it must become
with the ledger entries that explain the change, or raises a domain error. Credits are integers, times are epoch
milliseconds.

Three rules hold after every command:

* conservation: ``granted == available + held + charged + removed + expired - debt``;
* an entry's ``credits`` is the change of what the user can spend, so ``available_after`` is the running sum;
* debt is repaid before anything becomes spendable, so a wallet never has both.

Entries form a chain: each has a hash over its content and its predecessor's hash, and the wallet has the newest one's.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from accounting.domain.errors import InsufficientCredits, TooManyAllocations, UserDisabled

MAX_LOTS = 200
SYSTEM = "system"
"""The actor of what nobody asked for: expiry, and the end of stale sessions."""

Kind = Literal[
    "grant", "hold", "settle", "release", "charge", "remove", "set", "adjust", "expire", "repay", "write_off"
]


class Lot(NamedTuple):
    """Credits that expire together. ``grace`` marks a lot that already outlived its own expiry once."""

    id: str
    credits: int
    expires_at: int
    grace: bool = False


class Slice(NamedTuple):
    """The part of a lot that a session holds; it returns to that lot, with the lot's own expiry."""

    lot: str
    credits: int
    expires_at: int
    grace: bool = False


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's credits. ``lots`` are in burn order.

    ``granted``, ``removed`` and ``expired`` only grow; ``charged`` shrinks when a late settle returns credits.

    ``version`` counts commands, ``entry_seq`` ledger entries and ``allocations`` the lots that were ever granted.
    ``head`` is the newest entry's hash. ``due_at`` is when the sweeper looks at it: no later than the first lot
    expires, but perhaps sooner, because it only ever moves forward there (moving it costs two writes to an index).
    ``frozen`` is the wallet of a disabled user: nothing new is held or charged, what was held is settled.
    """

    user_id: str
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

    @property
    def available(self) -> int:
        """Credits in lots, those that expired since the last command included."""
        return sum(lot.credits for lot in self.lots)

    @property
    def next_expiry(self) -> int | None:
        """When the first lot expires; None without lots."""
        return self.lots[0].expires_at if self.lots else None

    def live_lots(self, at: int) -> tuple[Lot, ...]:
        """The lots that can be spent at ``at``, in burn order; a clock behind the last change counts as that one."""
        return tuple(lot for lot in self.lots if lot.expires_at > max(at, self.updated_at))

    def spendable(self, at: int) -> int:
        """What can be spent at ``at``."""
        return sum(lot.credits for lot in self.live_lots(at))


@dataclass(frozen=True, slots=True)
class Cause:
    """Who asked for a change, when and why, and what it belongs to. ``actor`` is a user id or ``SYSTEM``.

    ``allocation_id`` names the lot if the command makes one.
    """

    actor: str
    at: int
    reason: str = ""
    session_id: str | None = None
    allocation_id: str | None = None
    usage_id: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One immutable line of the ledger. ``seq`` is gapless from 1.

    ``credits`` is the signed change of what the user can spend; ``charged`` what left the user for good. A settle of
    a hold of 5 for 4 has ``credits`` 1 (it came back) and ``charged`` 4.
    """

    user_id: str
    seq: int
    kind: Kind
    credits: int
    charged: int
    available_after: int
    held_after: int
    debt_after: int
    at: int
    actor: str
    reason: str = ""
    session_id: str | None = None
    allocation_id: str | None = None
    usage_id: str | None = None
    hash: str = ""

    def hashed(self, predecessor: str) -> str:
        """What ``hash`` must be: SHA-256, in hexadecimal, of the JSON array of ``predecessor`` and all other fields.

        The array is in the order of the fields, without blanks, its text ASCII, an id that is missing is null.
        ``predecessor`` is the hash of the entry before, empty for the first.
        """
        content = [predecessor, *(getattr(self, name) for name in _HASHED)]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


_HASHED = tuple(name for name in Entry.__slots__ if name != "hash")


@dataclass(frozen=True, slots=True)
class Decision:
    """The wallet as it must become, and the entries that say why."""

    wallet: Wallet
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Hold(Decision):
    """Credits set aside: ``slices`` say from which lots."""

    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Settlement(Decision):
    """A hold resolved. ``refund`` came back, ``overrun`` exceeded the hold, ``debt`` of it could not be covered."""

    refund: int
    overrun: int
    debt: int


def grant(
    wallet: Wallet, credits: int, *, expires_at: int, cause: Cause, kind: Literal["grant", "adjust"] = "grant"
) -> Decision:
    """Add a lot named ``cause.allocation_id``; debt is repaid from it first.

    Raises TooManyAllocations when ``MAX_LOTS`` lots are live.
    """
    draft = _Draft(wallet, cause)
    draft.add_lot(credits, expires_at)
    draft.record(kind, credits)
    return draft.close()


def remove(wallet: Wallet, credits: int, *, cause: Cause, kind: Literal["remove", "adjust"] = "remove") -> Decision:
    """Take spendable credits away, soonest expiry first. Raises InsufficientCredits, then nothing is taken."""
    draft = _Draft(wallet, cause)
    draft.require(credits)
    draft.burn(credits)
    draft.removed += credits
    draft.record(kind, -credits)
    return draft.close()


def set_available(wallet: Wallet, target: int, *, expires_at: int, cause: Cause) -> Decision:
    """Make what can be spent exactly ``target`` and debt 0; held credits are apart.

    What is missing becomes a lot named ``cause.allocation_id``, what is too much is burnt soonest expiry first, and
    debt is written off by an entry of its own. The other lots keep their expiry.
    Raises TooManyAllocations when a lot is needed and ``MAX_LOTS`` are live.
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
    """Take spendable credits for a usage record. Raises UserDisabled, InsufficientCredits, then nothing is taken."""
    _require_enabled(wallet)
    draft = _Draft(wallet, cause)
    draft.require(credits)
    draft.burn(credits)
    draft.charged += credits
    draft.record("charge", -credits, charged=credits)
    return draft.close()


def hold(wallet: Wallet, credits: int, *, cause: Cause) -> Hold:
    """Set spendable credits aside for a session. Raises UserDisabled, InsufficientCredits, then nothing is held."""
    _require_enabled(wallet)
    draft = _Draft(wallet, cause)
    draft.require(credits)
    slices = draft.burn(credits)
    draft.held += credits
    draft.record("hold", -credits)
    decision = draft.close()
    return Hold(decision.wallet, decision.entries, slices)


def settle(wallet: Wallet, slices: Iterable[Slice], used: int, *, grace_milliseconds: int, cause: Cause) -> Settlement:
    """Charge ``used`` against a session's hold and give the rest back. Never refused: what was used is a fact.

    The slices that expire soonest are charged first. What is not used returns to its lots; the part of a lot that
    expired meanwhile returns as a lot that lives ``grace_milliseconds``, once. An overrun is drawn from the live lots,
    and what they can't cover becomes debt.
    """
    draft = _Draft(wallet, cause)
    held, unused = _split(slices, used)
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
    """Correct what an ended session was charged by ``difference`` credits; its hold is resolved already.

    What is missing is drawn from the live lots, and what they cannot cover becomes debt. What was charged too much
    returns as a lot of its own, named ``cause.usage_id``, that lives ``grace_milliseconds``. Never refused.
    """
    if difference >= 0:
        return settle(wallet, (), difference, grace_milliseconds=grace_milliseconds, cause=cause)
    if cause.usage_id is None:
        raise ValueError("a late refund needs cause.usage_id")
    draft = _Draft(wallet, cause)
    draft.charged += difference
    draft.put_back([Slice(cause.usage_id, -difference, draft.at + grace_milliseconds, True)], grace_milliseconds)
    draft.record("settle", -difference, charged=difference)
    decision = draft.close()
    return Settlement(decision.wallet, decision.entries, refund=-difference, overrun=0, debt=0)


def expire(wallet: Wallet, *, cause: Cause) -> Decision:
    """Drop the lots that expired by ``cause.at`` and be due when the next one does; without any, there is no entry."""
    decision = _Draft(wallet, cause).close()
    return replace(decision, wallet=replace(decision.wallet, due_at=decision.wallet.next_expiry))


def freeze(wallet: Wallet, *, frozen: bool) -> Wallet:
    """The wallet of a user who was disabled, or enabled again. What was decided on the one before is decided again."""
    return replace(wallet, frozen=frozen, version=wallet.version + 1)


def _require_enabled(wallet: Wallet) -> None:
    if wallet.frozen:
        raise UserDisabled


def merge_slices(*holds: Iterable[Slice]) -> tuple[Slice, ...]:
    """One hold out of several, a slice per lot, in burn order."""
    merged: dict[tuple[str, int, bool], int] = {}
    for part in (part for parts in holds for part in parts):
        key = (part.lot, part.expires_at, part.grace)
        merged[key] = merged.get(key, 0) + part.credits
    return tuple(
        sorted((Slice(lot, credits, at, grace) for (lot, at, grace), credits in merged.items()), key=_slice_order)
    )


def _split(slices: Iterable[Slice], used: int) -> tuple[int, list[Slice]]:
    """How much is held, and the parts of it that remain after the first ``used`` credits."""
    held, unused = 0, []
    for part in sorted(slices, key=_slice_order):
        taken = min(part.credits, max(0, used - held))
        held += part.credits
        if taken < part.credits:
            unused.append(part._replace(credits=part.credits - taken))
    return held, unused


def _lot_order(lot: Lot) -> tuple[int, str]:
    """Burn order: soonest expiry first, then oldest (ids are ULIDs, which sort by age)."""
    return lot.expires_at, lot.id


def _slice_order(part: Slice) -> tuple[int, str]:
    return part.expires_at, part.lot


class _Draft:
    """A wallet under change. Opening it drops expired lots; closing it does so again, repays debt and counts up.

    ``at`` never runs behind the wallet's last change, so that the ledger is in time order by sequence.
    """

    def __init__(self, wallet: Wallet, cause: Cause) -> None:
        self._before = wallet
        self._cause = cause
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
        self._made_lot = False
        self._expire()

    @property
    def available(self) -> int:
        return sum(lot.credits for lot in self.lots)

    def require(self, credits: int) -> None:
        if credits > self.available:
            raise InsufficientCredits(credits, self.available, self.held)

    def add_lot(self, credits: int, expires_at: int) -> None:
        if len(self.lots) >= MAX_LOTS:
            raise TooManyAllocations(f"At most {MAX_LOTS} live allocations a user", limit=MAX_LOTS)
        if self._cause.allocation_id is None:
            raise ValueError("a lot needs cause.allocation_id")
        self._made_lot = True
        self.allocations += 1
        self.granted += credits
        self._insert(Lot(self._cause.allocation_id, credits, expires_at))

    def burn(self, credits: int) -> tuple[Slice, ...]:
        """Take ``credits``, which must be available, from the lots in burn order."""
        slices = []
        while credits:
            lot = self.lots[0]
            taken = min(credits, lot.credits)
            credits -= taken
            slices.append(Slice(lot.id, taken, lot.expires_at, lot.grace))
            if taken == lot.credits:
                self.lots.pop(0)
            else:
                self.lots[0] = lot._replace(credits=lot.credits - taken)
        return tuple(slices)

    def put_back(self, slices: Iterable[Slice], grace_milliseconds: int) -> None:
        for part in slices:
            lot = Lot(part.lot, part.credits, part.expires_at, part.grace)
            if lot.expires_at <= self.at and not lot.grace:
                lot = self._graced(lot, grace_milliseconds)
            self._insert(lot)

    def record(self, kind: Kind, credits: int, *, charged: int = 0) -> None:
        """Note a change that was just made. An expiry is nobody's doing, whatever command came upon it."""
        cause = Cause(SYSTEM, self.at) if kind == "expire" else self._cause
        entry = Entry(
            user_id=self._before.user_id,
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
            session_id=cause.session_id,
            allocation_id=cause.allocation_id if self._made_lot else None,
            usage_id=cause.usage_id,
        )
        self._head = entry.hashed(self._head)
        self._entries.append(replace(entry, hash=self._head))

    def close(self) -> Decision:
        self._expire()
        self._repay()
        wallet = replace(
            self._before,
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
        """Sooner when a lot now expires sooner, else as it was."""
        times = [at for at in (self._before.due_at, self.lots[0].expires_at if self.lots else None) if at is not None]
        return min(times, default=None)

    def _expire(self) -> None:
        gone = sum(lot.credits for lot in self.lots if lot.expires_at <= self.at)
        if gone:
            self.lots = [lot for lot in self.lots if lot.expires_at > self.at]
            self.expired += gone
            self.record("expire", -gone)

    def _repay(self) -> None:
        paid = min(self.debt, self.available)
        if paid:
            self.burn(paid)
            self.debt -= paid
            self.record("repay", -paid)

    def _graced(self, lot: Lot, grace_milliseconds: int) -> Lot:
        """The expired lot with its one extension; a part that got it earlier sets the end for the others."""
        earlier = next((known.expires_at for known in self.lots if known.id == lot.id and known.grace), None)
        return lot._replace(expires_at=earlier or self.at + grace_milliseconds, grace=True)

    def _insert(self, lot: Lot) -> None:
        """Add to the lot of the same id and expiry, or stand in burn order."""
        for index, known in enumerate(self.lots):
            if (known.id, known.expires_at) == (lot.id, lot.expires_at):
                self.lots[index] = known._replace(credits=known.credits + lot.credits)
                return
        self.lots.append(lot)
        self.lots.sort(key=_lot_order)
