"""Imports a list of price rules: either all or none of them, and only once if the request is repeated."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from accounting.domain.errors import PriceExists
from accounting.domain.price_lists import (
    Difference,
    PriceChange,
    Problem,
    TakenAlias,
    difference,
    places,
    problems_with_stored,
    problems_within,
    refusal,
)
from accounting.domain.pricing import PriceRule
from accounting.operations.commit import replay, retry_conflicts
from accounting.store import idempotency, prices
from accounting.store.idempotency import IdempotencyKey, Repeated
from accounting.store.table import Conflict, Item, compact, transact


class Imported(NamedTuple):
    """How a list differed from the stored rules, and whether this is the ``replayed`` answer to an earlier request."""

    difference: Difference
    replayed: bool = False


def repeated(key: IdempotencyKey | None, now: int) -> Imported | None:
    """The result of the first request, if this request repeats it, else None. Raises IdempotencyConflict."""
    known = idempotency.find(key, now) if key else None
    return _replayed(key, known) if key and known else None


def import_rules(
    rules: Mapping[int, PriceRule],
    problems: Sequence[Problem],
    *,
    dry_run: bool,
    now: int,
    key: IdempotencyKey | None,
) -> Imported:
    """Write the rules of a list that are new or changed. With ``dry_run``, write nothing.

    ``rules`` has the list's valid rules by their index. ``problems`` says what is wrong with the other rules. If there
    are problems, or the valid rules have further problems, this writes nothing and raises Invalid with all of them.
    Also raises IdempotencyConflict and Contention.
    """

    def attempt() -> Imported:
        found = _difference(rules, problems)
        if dry_run:
            return Imported(found)
        writes = [write for rule in found.rules for write in prices.add(rule)]
        if key:
            writes.insert(0, idempotency.put(key, _to_text(found), now))
        try:
            if writes:
                transact(writes)
        except Repeated as repeated:
            return _replayed(repeated.key, repeated.record)
        except PriceExists as exists:
            raise Conflict from exists  # another writer came first: read and decide again
        return Imported(found)

    return retry_conflicts(attempt)


def _difference(rules: Mapping[int, PriceRule], problems: Sequence[Problem]) -> Difference:
    """How the list differs from the stored rules. If the list has problems, raises Invalid with all of them."""
    before = [
        {each: prices.rule_at(each, rule.effective_from) for each in (rule.model_id, *rule.aliases)}
        for rule in rules.values()
    ]
    found = difference(list(rules.values()), before)
    new = {index: rule for index, rule in rules.items() if rule.model_id not in found.unchanged}
    wanted = list(dict.fromkeys(place for rule in new.values() for _, place in places(rule)))
    stored = dict(zip(wanted, prices.find_many(wanted), strict=True)) if wanted else {}
    wrong = [*problems, *problems_within(rules), *problems_with_stored(new, stored)]
    if wrong:
        raise refusal(sorted(wrong, key=lambda problem: problem.index))
    return found


def _replayed(key: IdempotencyKey, known: idempotency.Record) -> Imported:
    answer = replay(key, known)
    added = [prices.from_item(item) for item in answer["added"]]
    changed = [PriceChange(prices.from_item(before), prices.from_item(after)) for before, after in answer["changed"]]
    taken = [TakenAlias(alias, *map(prices.from_item, rules)) for alias, *rules in answer["taken"]]
    return Imported(Difference(added, changed, answer["unchanged"], taken), replayed=True)


def _to_text(found: Difference) -> str:
    return compact(
        {
            "added": [_attributes(rule) for rule in found.added],
            "changed": [[_attributes(rule) for rule in change] for change in found.changed],
            "unchanged": found.unchanged,
            "taken": [[alias, *map(_attributes, rules)] for alias, *rules in found.taken],
        }
    )


def _attributes(rule: PriceRule) -> Item:
    """A rule's item without its keys and null attributes, so that an idempotency record can hold many rules."""
    keys = ("pk", "sk", "kind_pk", "kind_sk")
    return {name: value for name, value in prices.to_item(rule).items() if value is not None and name not in keys}
