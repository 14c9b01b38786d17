"""Adding, ending and withdrawing price rules."""

import json
from typing import NamedTuple

from accounting.domain.errors import Invalid, PriceBegun, PriceEnded
from accounting.domain.pricing import PriceRule, require_order
from accounting.operations.commit import replay, retry_conflicts
from accounting.store import idempotency, prices
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact
from accounting.times import iso


class Added(NamedTuple):
    """The added rule. ``replayed`` is true if the request repeats an earlier one."""

    rule: PriceRule
    replayed: bool = False


def add(rule: PriceRule, *, now: int, key: IdempotencyKey | None) -> Added:
    """Add a rule.

    Raises PriceExists, IdempotencyConflict, Contention, and Invalid if the rule's end is not after its beginning.
    """
    try:
        require_order(rule.effective_from, rule.effective_to)
    except Invalid:
        # If a request gives no beginning, the rule begins when the request arrives. So a repeat that arrives after the
        # rule's end is out of order. It must still get the first answer.
        if key and (known := idempotency.find(key, now)):
            return _replayed(key, known)
        raise
    writes = prices.add(rule)
    if key:
        writes.insert(0, idempotency.put(key, json.dumps(prices.to_item(rule)), now))

    def write() -> Added:
        try:
            transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        return Added(rule)

    return retry_conflicts(write)


def end(model_id: str, effective_from: int, effective_to: int, now: int) -> PriceRule:
    """Set a rule's end. ``model_id`` may be an alias.

    Raises PriceNotFound, Contention, Invalid if the end is not after the beginning, and PriceEnded if the rule has
    already ended at another time.
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
        return rule._replace(effective_to=effective_to)

    return retry_conflicts(attempt)


def withdraw(model_id: str, effective_from: int, now: int) -> None:
    """Remove a rule.

    Raises PriceNotFound, Contention, and PriceBegun if the rule has begun, or begins so soon that a process may have
    cached it.
    """
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


def _replayed(key: IdempotencyKey, known: idempotency.Record) -> Added:
    return Added(prices.from_item(replay(key, known)), replayed=True)
