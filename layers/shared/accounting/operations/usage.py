"""Usage: record a billable event, with or without taking its credits, and read a user's statistics."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from accounting.domain import wallet as ledger
from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import InsufficientCredits, Invalid, ModelUnknown, UserDisabled
from accounting.domain.ledger import Cause
from accounting.domain.model_usage import Usage
from accounting.domain.service_credentials import service_in
from accounting.domain.usage import Countable, ModelCall, Sums, UsageRecord, split
from accounting.operations.commit import Snapshot, ledger_writes, replay, retry_until_committed
from accounting.operations.ids import new_id
from accounting.store import idempotency, prices, rollups, usage, users, wallets
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import Write, transact
from accounting.store.usage import Wanted
from accounting.telemetry import count
from accounting.times import day

RECENT = 10


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record, whether its credits were taken, and whether the request is a repeat. A replayed one has no metadata."""

    record: UsageRecord
    deducted: bool
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A billable event to record. With ``deduct``, the same transaction takes its credits.

    It costs ``credits``, or what the model's price says that a call costs. ``actor`` acts for the user, by default they
    themselves.
    """

    user_id: str
    service: str
    operation: str
    cost: int | ModelCall
    metadata: dict[str, Any]
    deduct: bool
    account_id: AccountId | None = None
    actor: str | None = None

    @property
    def payer(self) -> AccountId:
        """The account that pays: ``account_id``, by default the user's personal account."""
        return self.account_id or personal(self.user_id)


def record(event: Event, *, now: int, key: IdempotencyKey | None) -> Recorded:
    """Record an event.

    Raises InsufficientCredits, UserDisabled, Invalid if the price has no such variant, ModelUnknown,
    IdempotencyConflict, Contention; nothing is recorded then. With a deduction, the wallet says whether the user is
    disabled; without one, an answer that is at most 30 seconds old.
    """
    try:
        return _record(event, now, key)
    except (InsufficientCredits, UserDisabled, Invalid, ModelUnknown):
        # The balance, the user or the price may have changed since this request was first sent.
        if key and (known := idempotency.find(key, now)):
            return _again(key, known)
        raise


def _record(event: Event, now: int, key: IdempotencyKey | None) -> Recorded:
    made = _priced(event, now)
    deducts = event.deduct and made.credits > 0
    if not deducts and users.is_disabled(event.user_id):
        raise UserDisabled
    # Records without a deduction do not wait for the wallet, so they should not wait for one rollup item either.
    spread = 0 if deducts else rollups.any_spread()

    def charge_and_record(snapshot: Snapshot) -> Recorded:
        writes = usage_writes(made, spread)
        if deducts:
            cause = Cause(event.actor or event.user_id, now, usage_id=made.id)
            decision = ledger.charge(snapshot.wallet, made.credits, cause=cause)
            writes = [*ledger_writes(snapshot.wallet, decision), *writes]
        if key:
            answer = asdict(Recorded(replace(made, metadata={}, provider_usage=None), deducts))
            writes.insert(0, idempotency.put(key, json.dumps(answer), now))
        try:
            transact(writes)
        except Repeated as repeated:
            return _again(repeated.key, repeated.record)
        count("UsageRecorded")
        count("CreditsCharged", made.credits if deducts else 0)
        return Recorded(made, deducts)

    def read() -> Snapshot:
        return Snapshot(wallets.get(event.payer) if deducts else wallets.from_item(event.payer, None))

    return retry_until_committed(charge_and_record, read=read)


def _priced(event: Event, now: int) -> UsageRecord:
    """The usage record of the event, priced. Raises Invalid, ModelUnknown."""
    made = UsageRecord(
        id=new_id(now),
        account_id=event.payer,
        user_id=event.user_id,
        service=event.service,
        operation=event.operation,
        credits=0,
        at=now,
        metadata=event.metadata,
        actor=service_in(event.actor or event.user_id, event.user_id),
    )
    if isinstance(event.cost, int):
        return replace(made, credits=event.cost)
    model_id, used, variant, provider_usage = event.cost
    return replace(
        made,
        credits=prices.card_at(model_id, now, variant).cost(used),
        usage=used,
        provider_usage=provider_usage,
        priced_as=None if model_id == made.model_id else model_id,
        variant=variant,
    )


def usage_writes(made: UsageRecord, spread: int = 0) -> list[Write]:
    """The writes of a record: the record, its sums and, if another account pays, the pointer from the user's own."""
    pointers = [usage.point(made) for _ in made.accounts[1:]]
    sums = [rollups.add(made, account_id, spread) for account_id in made.accounts]
    return [usage.put(made), *sums, *pointers]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Sums over a range of time, by service, UTC day and model, and the newest records in it."""

    sums: Sums
    by_day: dict[str, int]
    recent: list[UsageRecord]


def statistics(user_id: str, since: int | None, until: int | None) -> Statistics:
    """What a user used in ``since <= at < until`` (epoch milliseconds), whichever account paid."""
    return _statistics(personal(user_id), since, until, usage.every)


def statistics_of_account(
    account_id: AccountId, since: int | None, until: int | None, *, user_id: str | None = None
) -> Statistics:
    """What an account paid for in ``since <= at < until`` (epoch milliseconds): for all of its users, or for one."""
    if user_id is None or account_id == personal(user_id):
        return _statistics(account_id, since, until, usage.paid)
    return _statistics(personal(user_id), since, until, usage.paid_by(account_id))


def _statistics(account_id: AccountId, since: int | None, until: int | None, wanted: Wanted) -> Statistics:
    """Read whole days from their sums. Count the partial days at both ends of the range from their records."""
    spans = split(since, until)
    days = [*rollups.between(account_id, *spans.days, wanted)] if spans.days else []
    for begin, end in spans.cut:
        days += _counted(usage.between(account_id, begin, end, wanted))
    by_day: dict[str, int] = {}
    total = Sums()
    for name, sums in days:
        total.merge(sums)
        by_day[name] = by_day.get(name, 0) + sums.credits
    newest = usage.newest(account_id, since, until, RECENT, wanted)
    return Statistics(total, dict(sorted(by_day.items())), newest)


def _counted(records: Iterable[Countable]) -> list[tuple[str, Sums]]:
    counted: dict[str, Sums] = {}
    for known in records:
        counted.setdefault(day(known.at), Sums()).add(known)
    return list(counted.items())


def _again(key: IdempotencyKey, known: idempotency.Record) -> Recorded:
    answer = replay(key, known)
    record = answer["record"]
    used = record["usage"] and Usage(*record["usage"])
    return Recorded(UsageRecord(**record | {"usage": used}), answer["deducted"], replayed=True)
