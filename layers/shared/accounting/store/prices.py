"""Price rules of a model, effective-dated; read at most once a minute by a process."""

import time

from accounting.domain.errors import PriceNotFound
from accounting.domain.pricing import PriceRule, price_in_force, rule_in_force
from accounting.store import keys, table
from accounting.store.table import Item, Write
from accounting.times import MINUTE

CACHE_SECONDS = 60
MAX_CACHED_MODELS = 500
MAX_LISTED_RULES = 2000
_PAGE = 25

_cache: dict[str, tuple[float, list[PriceRule]]] = {}


def price_at(model_id: str, now: int) -> int:
    """The model's ``price_e4`` at ``now``; a rule written less than a minute ago may not count yet.

    A cached answer still changes exactly when a known rule begins or ends.
    """
    known = _cache.get(model_id)
    if known is None or known[0] <= time.monotonic():
        if len(_cache) >= MAX_CACHED_MODELS:
            _cache.clear()
        known = (time.monotonic() + CACHE_SECONDS, _relevant_rules(model_id, now))
        _cache[model_id] = known
    return price_in_force(model_id, known[1], now)


def rule_at(model_id: str, now: int) -> PriceRule | None:
    """The model's rule in force at ``now``, as it stands in the table."""
    return rule_in_force(_relevant_rules(model_id, now), now)


def forget() -> None:
    """Empty the cache."""
    _cache.clear()


def put(rule: PriceRule) -> None:
    """Add a rule; one of the same model and beginning is replaced."""
    table.transact([Write(table.put(to_item(rule)))])


def end(model_id: str, effective_from: int, effective_to: int) -> PriceRule:
    """Let a rule end. Raises PriceNotFound."""
    done, item = table.update_one(
        keys.price(model_id, effective_from),
        "SET effective_to = :to",
        condition="attribute_exists(#pk)",
        values={":to": effective_to},
        names={"#pk": "pk"},
    )
    if not done or item is None:
        raise PriceNotFound("The model has no price rule with this beginning", modelId=model_id)
    return from_item(item)


def history(model_id: str, limit: int) -> list[PriceRule]:
    """The model's newest ``limit`` rules, those to come included, newest first."""
    low = keys.price(model_id, 0)
    found = table.query(low["pk"], low["sk"], f"FROM#{keys.AFTER_ALL_TIMES}", limit=limit)
    return [from_item(item) for item in found]


def all_in_force(now: int) -> list[PriceRule]:
    """The rule in force of every model that has one, by model."""
    found, _ = table.newest(keys.BY_KIND, keys.prices_of_all(), before=None, limit=MAX_LISTED_RULES)
    rules = [from_item(item) for item in table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found]) if item]
    newest: dict[str, PriceRule] = {}
    for rule in sorted((rule for rule in rules if rule.in_force(now)), key=lambda rule: rule.effective_from):
        newest[rule.model_id] = rule
    return [newest[model_id] for model_id in sorted(newest)]


def _relevant_rules(model_id: str, now: int) -> list[PriceRule]:
    """The rules that can be in force while the answer is cached, newest first: back to the first without an end."""
    low, high = keys.price(model_id, 0), keys.price(model_id, now + CACHE_SECONDS * 1000 + MINUTE)
    rules: list[PriceRule] = []
    top = high["sk"]
    while True:
        page = [from_item(item) for item in table.query(low["pk"], low["sk"], top, limit=_PAGE)]
        rules += page
        if len(page) < _PAGE or any(r.effective_to is None and r.effective_from <= now for r in page):
            return rules
        if page[-1].effective_from <= 0:
            return rules  # there is no range before the first instant
        top = keys.price(model_id, page[-1].effective_from - 1)["sk"]


def to_item(rule: PriceRule) -> Item:
    """The item."""
    return {
        **keys.price(rule.model_id, rule.effective_from),
        **keys.price_of_all(rule.model_id, rule.effective_from),
        "model_id": rule.model_id,
        "price_e4": rule.price_e4,
        "effective_from": rule.effective_from,
        "effective_to": rule.effective_to,
    }


def from_item(item: Item) -> PriceRule:
    """The rule of an item."""
    return PriceRule(item["model_id"], item["price_e4"], item["effective_from"], item.get("effective_to"))
