"""Adding a price rule, once however often it is asked for."""

import json
from dataclasses import dataclass

from accounting.domain.errors import Invalid
from accounting.domain.pricing import PriceRule, require_order
from accounting.operations.commit import replay, retry_conflicts
from accounting.store import idempotency, prices
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact


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
    writes = [prices.add(rule)]
    if key:
        writes.insert(0, idempotency.put(key, json.dumps(prices.to_item(rule)), now))

    def write() -> Added:
        try:
            transact(writes)
        except Repeated as repeated:
            return _again(repeated.key, repeated.record)
        return Added(rule)

    return retry_conflicts(write)


def _again(key: IdempotencyKey, known: idempotency.Record) -> Added:
    return Added(prices.from_item(replay(key, known)), replayed=True)
