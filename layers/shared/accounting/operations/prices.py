"""Adding a price rule, once however often it is asked for."""

import json
from dataclasses import asdict, dataclass

from accounting.domain.pricing import PriceRule
from accounting.operations.commit import replay, without_conflict
from accounting.store import idempotency, prices
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import transact


@dataclass(frozen=True, slots=True)
class Added:
    """A rule as it was added; ``replayed`` when the request had been made before."""

    rule: PriceRule
    replayed: bool = False


def add(rule: PriceRule, *, now: int, key: IdempotencyKey | None) -> Added:
    """Add a rule. Raises PriceExists, IdempotencyConflict, Contention."""
    writes = [prices.add(rule)]
    if key:
        writes.insert(0, idempotency.put(key, json.dumps(asdict(rule)), now))

    def write() -> Added:
        try:
            transact(writes)
        except Repeated as repeated:
            return Added(PriceRule(**replay(repeated.key, repeated.record)), replayed=True)
        return Added(rule)

    return without_conflict(write)
