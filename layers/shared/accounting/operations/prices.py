"""Price rules: added once however often it is asked for, ended, and withdrawn, each together with its aliases."""

import json
from dataclasses import dataclass, replace

from accounting.domain.errors import Invalid, PriceBegun, PriceEnded
from accounting.domain.pricing import PriceRule, require_order
from accounting.operations.commit import replay, retry_conflicts
from accounting.store import idempotency, prices
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact
from accounting.times import iso


@dataclass(frozen=True, slots=True)
class Added:
    """A rule as it was added; ``replayed`` when the request had been made before."""

    rule: PriceRule
    replayed: bool = False


def add(rule: PriceRule, *, now: int, key: IdempotencyKey | None) -> Added:
    """Add a rule. Raises PriceExists, Invalid when it ends before it begins, IdempotencyConflict, Contention."""
    try:
        require_order(rule.effective_from, rule.effective_to)
    except Invalid:
        # The default beginning is the moment of the request: when this one was sent first, its end was to come.
        if key and (known := idempotency.find(key, now)):
            return _again(key, known)
        raise
    writes = prices.add(rule)
    if key:
        writes.insert(0, idempotency.put(key, json.dumps(prices.to_item(rule)), now))

    def write() -> Added:
        try:
            transact(writes)
        except Repeated as repeated:
            return _again(repeated.key, repeated.record)
        return Added(rule)

    return retry_conflicts(write)


def end(model_id: str, effective_from: int, effective_to: int, now: int) -> PriceRule:
    """Let a rule end, unless it has ended otherwise by ``now``; an alias is as good as the model's id.

    Raises Invalid when it would end before it begins, PriceNotFound, PriceEnded, Contention.
    """
    require_order(effective_from, effective_to)

    def attempt() -> PriceRule:
        rule = prices.find(model_id, effective_from)
        if rule.effective_to == effective_to:
            return rule
        if rule.effective_to is not None and rule.has_ended(now):
            raise PriceEnded(
                "The price rule has ended already", modelId=rule.model_id, effectiveTo=iso(rule.effective_to)
            )
        transact(prices.end(rule, effective_to))
        return replace(rule, effective_to=effective_to)

    return retry_conflicts(attempt)


def withdraw(model_id: str, effective_from: int, now: int) -> None:
    """Remove a rule that no process can know yet. Raises PriceNotFound, PriceBegun, Contention."""
    soonest = now + prices.FORESIGHT

    def attempt() -> None:
        rule = prices.find(model_id, effective_from)
        if effective_from < soonest:
            raise PriceBegun(
                "The price rule has begun, or begins too soon to be withdrawn",
                modelId=rule.model_id,
                soonest=iso(soonest),
            )
        transact(prices.withdraw(rule))

    retry_conflicts(attempt)


def _again(key: IdempotencyKey, known: idempotency.Record) -> Added:
    return Added(prices.from_item(replay(key, known)), replayed=True)
