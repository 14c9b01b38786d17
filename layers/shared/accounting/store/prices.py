"""Price rules of a model, effective-dated; read at most once a minute by a process."""

import time

from accounting.domain.pricing import PriceRule, price_in_force
from accounting.settings import MINUTE
from accounting.store import keys, table
from accounting.store.table import Item

CACHE_SECONDS = 60
MAX_CACHED_MODELS = 500
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


def forget() -> None:
    """Empty the cache."""
    _cache.clear()


def put(rule: PriceRule) -> None:
    """Add a rule; one of the same model and beginning is replaced."""
    table.transact([table.Write(table.put(to_item(rule)))])


def _relevant_rules(model_id: str, now: int) -> list[PriceRule]:
    """The rules that can be in force while the answer is cached, newest first: back to the first without an end."""
    low, high = keys.price(model_id, 0), keys.price(model_id, now + CACHE_SECONDS * 1000 + MINUTE)
    rules: list[PriceRule] = []
    top = high["sk"]
    while True:
        page = [from_item(model_id, item) for item in table.query(low["pk"], low["sk"], top, limit=_PAGE)]
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
        "price_e4": rule.price_e4,
        "effective_from": rule.effective_from,
        "effective_to": rule.effective_to,
    }


def from_item(model_id: str, item: Item) -> PriceRule:
    """The rule of an item."""
    return PriceRule(model_id, item["price_e4"], item["effective_from"], item.get("effective_to"))
