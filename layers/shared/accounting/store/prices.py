"""Price rules of models. ``card_at`` and ``price_at`` read a model's rules at most once a minute in each process."""

import json
from collections.abc import Callable, Iterator, Sequence

from accounting.domain.errors import ModelUnknown, PriceExists, PriceNotFound
from accounting.domain.pricing import PriceRule, card_in_force, price_without_rule, rule_in_force
from accounting.domain.rates import RateCard
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.cache import Cache
from accounting.store.table import Item, Write
from accounting.times import MINUTE, iso

CACHE_SECONDS = 60
FORESIGHT = CACHE_SECONDS * 1000 + MINUTE
"""How far ahead a process reads future rules, in milliseconds: the time for which it caches them, plus a minute.

The minute is for clocks that differ.
"""
MAX_CACHED_MODELS = 500
_PAGE = 25


def card_at(model_id: str, now: int, variant: str | None = None) -> RateCard:
    """The rates of the model at ``now``. A rule that was written less than a minute ago may not count yet.

    The cache has rules, not rates, so a cached rule applies from exactly its beginning to its end. Raises Invalid if
    the model's price has no such variant, and ModelUnknown if the model has no price and ``UnknownModels`` is
    ``refuse``.
    """
    return price_at(model_id, now, variant)[1]


def price_at(model_id: str, now: int, variant: str | None = None) -> tuple[PriceRule | None, RateCard]:
    """The model's rule in force at ``now``, or None, and the model's rates. Raises the errors of ``card_at``."""
    rules = _cache.get(model_id, now)
    return rule_in_force(rules, now), _card(model_id, rules, now, variant)


def card_since(model_id: str, at: int, variant: str | None) -> tuple[frozenset[str], RateCard]:
    """The ids of the model (its own and its aliases) and its rates, by the rule that was in force at ``at``.

    The rule is read without the cache. If no rule was in force, there are no ids. If the price has no such variant, the
    base rates are returned. Raises ModelUnknown as ``card_at`` does.
    """
    rules = _relevant_rules(model_id, at, foresight=0)
    rule = rule_in_force(rules, at)
    card = _card(model_id, rules, at, variant if rule and variant in rule.variants else None)
    return frozenset(_ids(rule)) if rule else frozenset(), card


def _card(model_id: str, rules: list[PriceRule], at: int, variant: str | None) -> RateCard:
    return card_in_force(model_id, rules, at, variant, refuse_unknown=settings().refuse_unknown_models)


def rule_at(model_id: str, now: int) -> PriceRule | None:
    """The model's rule in force at ``now``, read from the table."""
    return rule_in_force(_relevant_rules(model_id, now, foresight=0), now)


def without_rule(model_id: str) -> PriceRule | None:
    """The built-in or default price of a model that has no rule in force, in the form of a rule.

    With ``UnknownModels=refuse``, there is no default price. For a model that has no built-in price either, returns
    None if the table has a past or future rule of the model, and raises ModelUnknown if the table has none.
    """
    try:
        return price_without_rule(model_id, refuse_unknown=settings().refuse_unknown_models)
    except ModelUnknown:
        any_rule, _ = history(model_id, before=None, limit=1)
        if not any_rule:
            raise
        return None


def forget() -> None:
    """Empty the cache."""
    _cache.forget()


def add(rule: PriceRule) -> list[Write]:
    """Add a rule and its copies for aliases.

    Refused with PriceExists if the model or an alias has a rule with the same beginning.
    """
    return [
        Write(table.put(item, condition="attribute_not_exists(pk)"), refused=_exists(model_id, rule))
        for model_id, item in zip(_ids(rule), _items(rule), strict=True)
    ]


def find(model_id: str, effective_from: int) -> PriceRule:
    """The rule with this beginning. ``model_id`` is the id of its model or an alias. Raises PriceNotFound."""
    item = table.get(keys.price(model_id, effective_from))
    if item is None:
        raise PriceNotFound("The model has no price rule with this beginning", modelId=model_id)
    return from_item(item)


def find_many(places: Sequence[tuple[str, int]]) -> list[PriceRule | None]:
    """The rule, or None, for each id and beginning in ``places``, in the same order. All places must be different."""
    items = table.get_many([keys.price(model_id, effective_from) for model_id, effective_from in places])
    return [from_item(item) if item else None for item in items]


def end(rule: PriceRule, effective_to: int) -> list[Write]:
    """Set a rule's end. Refused with Conflict if the rule has changed since it was read."""
    condition, values = _as_it_was_read(rule)
    return [
        Write(
            table.update(key, "SET effective_to = :to", condition=condition, values={":to": effective_to, **values}),
            refused=lambda _: table.Conflict(),
        )
        for key in _places(rule)
    ]


def withdraw(rule: PriceRule) -> list[Write]:
    """Remove a rule. Refused with Conflict if the rule has changed since it was read."""
    condition, values = _as_it_was_read(rule)
    return [
        Write(table.delete(key, condition=condition, values=values), refused=lambda _: table.Conflict())
        for key in _places(rule)
    ]


def _as_it_was_read(rule: PriceRule) -> tuple[str, Item]:
    """A condition that the stored rule still has the model, end and aliases of ``rule``, and the condition's values."""
    item = to_item(rule)
    clauses, values = ["model_id = :model_id"], {":model_id": rule.model_id}
    for name in ("effective_to", "aliases"):
        if item[name] is None:
            clauses.append(f"attribute_not_exists({name})")
        else:
            clauses.append(f"{name} = :{name}")
            values[f":{name}"] = item[name]
    return " AND ".join(clauses), values


def _exists(model_id: str, rule: PriceRule) -> Callable[[Item | None], PriceExists]:
    """The refusal of ``rule`` because another rule with the same beginning is stored under ``model_id``.

    ``model_id`` is the model of ``rule`` or one of its aliases.
    """

    def refused(old: Item | None) -> PriceExists:
        owner = old["model_id"] if old else model_id
        return PriceExists(
            f"{model_id} has a price rule with this beginning"
            if owner == model_id
            else f"{model_id} is an alias in a price rule of {owner} with this beginning",
            modelId=owner,
            taken=model_id,
            effectiveFrom=iso(rule.effective_from),
        )

    return refused


def history(model_id: str, *, before: int | None, limit: int) -> tuple[list[PriceRule], int | None]:
    """A page of the model's rules, future ones included, newest first, and ``before`` for the next page."""
    if before is not None and before <= 0:
        return [], None
    low = keys.price(model_id, 0)
    high = f"FROM#{keys.AFTER_ALL_TIMES}" if before is None else keys.price(model_id, before - 1)["sk"]
    found = [from_item(item) for item in table.query(low["pk"], low["sk"], high, limit=limit + 1)]
    return found[:limit], found[limit - 1].effective_from if len(found) > limit else None


def in_force(now: int, *, after: str | None, limit: int) -> tuple[list[PriceRule], str | None]:
    """A page of the rules in force, sorted by model, and ``after`` for the next page."""
    starts: dict[str, list[int]] = {}
    for model_id, effective_from in _listed(after):
        if model_id not in starts and len(starts) > limit:
            break
        starts.setdefault(model_id, [])
        if effective_from <= now:
            starts[model_id].append(effective_from)
    models = sorted(starts)[:limit]
    rules = _newest_in_force({model_id: starts[model_id] for model_id in models}, now)
    return [rules[model_id] for model_id in models if model_id in rules], models[-1] if len(starts) > limit else None


def _listed(after: str | None) -> Iterator[tuple[str, int]]:
    """The model and the beginning of every rule of the models after ``after``, sorted by model, then by time."""
    (part,) = keys.prices_of_all()
    low = keys.BEFORE_ALL_MODELS if after is None else keys.after_prices_of(after)
    for batch in table.forward(keys.BY_KIND, part.pk, low, keys.AFTER_ALL_TIMES):
        yield from map(keys.listed_price, batch)


def _newest_in_force(starts: dict[str, list[int]], now: int) -> dict[str, PriceRule]:
    """The rule in force of each model that has one. ``starts`` has the past starts of each model's rules, oldest first.

    The newest rule of each model is read first. An older rule is read only if all newer rules have ended.
    """
    found: dict[str, PriceRule] = {}
    left = {model_id: list(times) for model_id, times in starts.items() if times}
    while left:
        wanted = [keys.price(model_id, times.pop()) for model_id, times in left.items()]
        for rule in (from_item(item) for item in table.get_many(wanted) if item):
            if rule.in_force(now):
                found[rule.model_id] = rule
        left = {model_id: times for model_id, times in left.items() if times and model_id not in found}
    return found


def _relevant_rules(model_id: str, now: int, *, foresight: int = FORESIGHT) -> list[PriceRule]:
    """The model's rules that begin up to ``foresight`` milliseconds after ``now``, newest first.

    If a rule has begun and has no end, older rules cannot apply, so they may be left out. For an alias, the result is
    the rules of its model, including rules that do not list the alias.
    """
    rules = _rules_of(model_id, now, foresight)
    named = rule_in_force(rules, now)
    if named is None or named.model_id == model_id:
        return rules
    return _rules_of(named.model_id, now, foresight)


def _rules_of(model_id: str, now: int, foresight: int) -> list[PriceRule]:
    """The rules that are stored under an id: a model's rules, or an alias's copies of rules."""
    low, high = keys.price(model_id, 0), keys.price(model_id, now + foresight)
    rules: list[PriceRule] = []
    top = high["sk"]
    while True:
        page = [from_item(item) for item in table.query(low["pk"], low["sk"], top, limit=_PAGE)]
        rules += page
        if len(page) < _PAGE or any(r.effective_to is None and r.effective_from <= now for r in page):
            return rules
        if page[-1].effective_from <= 0:
            return rules  # no rule can begin before time 0
        top = keys.price(model_id, page[-1].effective_from - 1)["sk"]


_cache = Cache(_relevant_rules, CACHE_SECONDS, MAX_CACHED_MODELS)


def _ids(rule: PriceRule) -> list[str]:
    return [rule.model_id, *rule.aliases]


def _places(rule: PriceRule) -> list[keys.Key]:
    return [keys.price(model_id, rule.effective_from) for model_id in _ids(rule)]


def _items(rule: PriceRule) -> list[Item]:
    """A rule's item, and a copy in the partition of each alias, so that one query by the alias finds the rule."""
    item = to_item(rule)
    copied = {name: value for name, value in item.items() if name not in keys.INDEX_KEYS[keys.BY_KIND]}
    return [item, *({**copied, **place, "alias_of": rule.model_id} for place in _places(rule)[1:])]


def to_item(rule: PriceRule) -> Item:
    variants = {name: card.to_text() for name, card in rule.variants.items()}
    return {
        **keys.price(rule.model_id, rule.effective_from),
        **keys.price_of_all(rule.model_id, rule.effective_from),
        "model_id": rule.model_id,
        "rates": rule.card.to_text(),
        "variants": table.compact(variants) if variants else None,
        "aliases": " ".join(rule.aliases) or None,
        "max_output_tokens": rule.max_output_tokens,
        "source": rule.source,
        "source_version": rule.source_version,
        "effective_from": rule.effective_from,
        "effective_to": rule.effective_to,
    }


def from_item(item: Item) -> PriceRule:
    """Convert an item, or an alias's copy of it, to a rule."""
    return PriceRule(
        item["model_id"],
        RateCard.from_text(item["rates"]),
        item["effective_from"],
        item.get("effective_to"),
        {name: RateCard.from_text(text) for name, text in json.loads(item.get("variants") or "{}").items()},
        tuple((item.get("aliases") or "").split()),
        item.get("max_output_tokens"),
        item.get("source"),
        item.get("source_version"),
    )
