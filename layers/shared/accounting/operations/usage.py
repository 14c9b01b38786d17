"""Usage: record a billable event, with or without charging for it, and read the statistics of a user or an account."""

import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from accounting.domain import wallet as decisions
from accounting.domain.accounts import AccountId, personal
from accounting.domain.budgets import Bound, Spender
from accounting.domain.errors import (
    AccountingError,
    Contention,
    IdempotencyConflict,
    Invalid,
    Unavailable,
    UserDisabled,
)
from accounting.domain.ledger import Cause
from accounting.domain.model_usage import Usage
from accounting.domain.series import Series, series
from accounting.domain.service_credentials import acting_service
from accounting.domain.usage import Countable, ModelCall, Sums, UsageRecord, add_each, split
from accounting.operations import spending
from accounting.operations.commit import Snapshot, count_expired, ledger_writes, replay, retry_until_committed
from accounting.operations.ids import new_id
from accounting.operations.spending import admit, commitments, refusal, room_for
from accounting.store import idempotency, prices, rollups, runs, usage, users, wallets
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import Write, transact
from accounting.store.usage import Wanted
from accounting.telemetry import count
from accounting.times import day

RECENT = 10

type By = Literal["model", "service"]
"""What a series groups credits by."""


class Recorded(NamedTuple):
    """A record, whether its credits were taken, and whether the request is a repeat.

    The record of a repeat has no metadata and no provider usage.
    """

    record: UsageRecord
    deducted: bool
    replayed: bool = False


class Event(NamedTuple):
    """A billable event to record. With ``deduct``, the transaction that records the event also charges the payer.

    ``cost`` is a number of credits, or a model call, whose cost follows from the model's price. ``actor`` is the
    sender of the request: a service that acts for the user, or by default the user. ``key_id`` is the API key of the
    request. ``run_id`` is the run that counts the event.
    """

    user_id: str
    service: str
    operation: str
    cost: int | ModelCall
    metadata: dict[str, Any]
    deduct: bool
    account_id: AccountId | None = None
    actor: str | None = None
    key_id: str | None = None
    run_id: str | None = None

    @property
    def payer(self) -> AccountId:
        """The account that pays: ``account_id``, by default the user's personal account."""
        return self.account_id or personal(self.user_id)

    @property
    def spender(self) -> Spender:
        """The user who spends, with the account, the API key and the run that the event names."""
        return Spender(self.user_id, self.payer, self.key_id, self.run_id)


def record(event: Event, *, now: int, key: IdempotencyKey | None) -> Recorded:
    """Record an event.

    Raises InsufficientCredits, BudgetExceeded, RunEnded, OrganizationClosed, UserDisabled, ModelUnknown,
    IdempotencyConflict, Contention. Raises AccountNotFound if the user may not spend from the account. Raises Invalid
    if the model's price does not have the variant, if the account does not have the run, or if an event with a run does
    not deduct. After any of these errors, nothing is recorded. For up to 30 seconds after a user is disabled, an
    event that deducts nothing can still be recorded for the user's personal account.
    """
    try:
        return _record(event, now, key)
    except (Contention, IdempotencyConflict, Unavailable):
        raise
    except AccountingError:
        # A repeat gets the recorded answer, even if the balance, the user or the price has changed since.
        if key and (known := idempotency.find(key, now)):
            return _replayed(key, known)
        raise


def _record(event: Event, now: int, key: IdempotencyKey | None) -> Recorded:
    made, spender = _priced(event, now), event.spender
    if event.run_id is not None and not event.deduct:
        raise Invalid.field("runId", "a run counts only what is taken from the balance; send runId only with deduct")
    deducts = event.deduct and (made.credits > 0 or event.run_id is not None)
    reads_wallet = deducts or spender.account_id != personal(event.user_id)
    if not reads_wallet and users.is_disabled(event.user_id):
        raise UserDisabled
    cause = Cause(event.actor or event.user_id, now, usage_id=made.id, key_id=event.key_id, run_id=event.run_id)
    # Records without a deduction do not change the wallet, so they can conflict only on the sums of the day. The sums
    # are stored in several parts, and a random part makes conflicts rare.
    part = 0 if deducts else rollups.any_part()

    def charge_and_record(snapshot: Snapshot) -> Recorded:
        writes, bounds = usage_writes(made, part), tuple[Bound, ...]()
        after = snapshot.wallet
        if deducts:
            room = room_for(made.credits, snapshot, now=now)
            if made.credits > room.credits:
                raise refusal(room, made.credits)
            decision = decisions.charge(snapshot.wallet, made.credits, cause=cause)
            bounds, after = room.bounds, decision.wallet
            counted = commitments(snapshot.allowance, bounds, made.credits, now, in_run=runs.sums_of(made))
            writes = [*ledger_writes(snapshot.wallet, decision), *writes, *counted, *runs.count_model(spender, made)]
        elif reads_wallet:
            admit(snapshot, now)
        if key:
            record = made._replace(metadata={}, provider_usage=None)._asdict()
            answer = Recorded(made, deducts)._asdict() | {"record": record}
            writes.insert(0, idempotency.put(key, json.dumps(answer), now))
        try:
            transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        count("UsageRecorded")
        count_expired(snapshot.wallet, after)
        count("CreditsCharged", made.credits if deducts else 0)
        spending.warn(spender, bounds, made.credits)
        return Recorded(made, deducts)

    if not reads_wallet:
        return retry_until_committed(charge_and_record, read=lambda: Snapshot(wallets.from_item(event.payer, None)))
    return retry_until_committed(charge_and_record, read=spending.reader(spender, now))


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
        actor=acting_service(event.actor or event.user_id, event.user_id),
        key_id=event.key_id,
        run_id=event.run_id,
    )
    if isinstance(event.cost, int):
        return made._replace(credits=event.cost)
    model_id, used, variant, provider_usage = event.cost
    return made._replace(
        credits=prices.card_at(model_id, now, variant).cost(used),
        usage=used,
        provider_usage=provider_usage,
        priced_as=None if model_id == made.model_id else model_id,
        variant=variant,
    )


def usage_writes(made: UsageRecord, part: int = 0) -> list[Write]:
    """Writes that store a record, and add its credits and usage to the sums of the payer and of the user.

    If an organization pays, another write puts a pointer to the record into the user's personal account.
    """
    pointers = [usage.put_pointer(made) for _ in made.accounts[1:]]
    sums = [rollups.add(made, account_id, part) for account_id in made.accounts]
    return [usage.put(made), *sums, *pointers]


class Statistics(NamedTuple):
    """Sums over a range of time, by service, model and UTC day, and the newest records of this range.

    ``series`` is None unless a caller asks for it.
    """

    sums: Sums
    by_day: dict[str, int]
    recent: list[UsageRecord]
    series: Series | None = None


def statistics(
    user_id: str, since: int | None, until: int | None, *, key_id: str | None = None, by: By | None = None
) -> Statistics:
    """The usage of a user in ``since <= at < until`` (epoch milliseconds), whichever account paid.

    With ``key_id``, only the usage with this API key. With ``by``, also a series: credits by day, and by model or
    by service.
    """
    return _statistics(personal(user_id), since, until, usage.with_key(key_id, usage.every), by)


def statistics_of_account(
    account_id: AccountId, since: int | None, until: int | None, *, by: By | None = None
) -> Statistics:
    """The usage of all users that an account paid for. The other arguments are as in ``statistics``."""
    return _statistics(account_id, since, until, usage.paid, by)


def statistics_of_member(
    account_id: AccountId,
    user_id: str,
    since: int | None,
    until: int | None,
    *,
    key_id: str | None = None,
    by: By | None = None,
) -> Statistics:
    """The part of a user's usage that an account paid for. The other arguments are as in ``statistics``."""
    own = personal(user_id)
    paid = usage.paid if account_id == own else usage.paid_by(account_id)
    return _statistics(own, since, until, usage.with_key(key_id, paid), by)


def _statistics(
    account_id: AccountId, since: int | None, until: int | None, wanted: Wanted, by: By | None
) -> Statistics:
    """Read whole days from their sums. Count the partial days at both ends of the range from their records."""
    spans = split(since, until)
    days = [*rollups.between(account_id, *spans.days, wanted)] if spans.days else []
    for begin, end in spans.partial_days:
        days += _sums_by_day(usage.between(account_id, begin, end, wanted))
    by_day: dict[str, int] = {}
    total = Sums()
    names: dict[str, dict[str, int]] = {}
    for name, sums in days:
        total.merge(sums)
        by_day[name] = by_day.get(name, 0) + sums.credits
        if by:
            for each, credits in (sums.by_model if by == "model" else sums.by_service).items():
                add_each(names.setdefault(each, {}), {name: credits})
    newest = usage.newest(account_id, since, until, RECENT, wanted)
    return Statistics(total, dict(sorted(by_day.items())), newest, series(by_day, names) if by else None)


def _sums_by_day(records: Iterable[Countable]) -> list[tuple[str, Sums]]:
    sums: dict[str, Sums] = {}
    for each in records:
        sums.setdefault(day(each.at), Sums()).add(each)
    return list(sums.items())


def _replayed(key: IdempotencyKey, known: idempotency.Record) -> Recorded:
    answer = replay(key, known)
    record = answer["record"]
    used = record["usage"] and Usage(*record["usage"])
    return Recorded(UsageRecord(**record | {"usage": used}), answer["deducted"], replayed=True)
