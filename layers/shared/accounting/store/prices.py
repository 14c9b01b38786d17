"""Price rules of a model, effective-dated; read at most once a minute by a process."""

from collections.abc import Iterator

from accounting.domain.errors import PriceBegun, PriceEnded, PriceExists, PriceNotFound
from accounting.domain.pricing import PriceRule, card_in_force, rule_in_force
from accounting.domain.rates import RateCard
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.cache import Cache
from accounting.store.table import Item, Write
from accounting.times import MINUTE, iso

CACHE_SECONDS = 60
FORESIGHT = CACHE_SECONDS * 1000 + MINUTE
"""How far ahead a process knows the rules to come, in milliseconds: while it keeps them, and a minute for clocks."""
MAX_CACHED_MODELS = 500
_PAGE = 25


def card_at(model_id: str, now: int, variant: str | None = None) -> RateCard:
    """The rates of the model at ``now``; a rule written less than a minute ago may not count yet.

    A cached answer still changes exactly when a known rule begins or ends. Raises Invalid for a variant that the
    model's price lacks, ModelUnknown where ``UnknownModels`` refuses a model without a price.
    """
    return _card(model_id, _cache.get(model_id, now), now, variant)


def card_since(model_id: str, at: int, variant: str | None) -> RateCard:
    """The rates of the model at an earlier moment, read anew; a variant that its price lacks costs what the model does.

    Raises ModelUnknown as ``card_at``.
    """
    rules = _relevant_rules(model_id, at)
    rule = rule_in_force(rules, at)
    return _card(model_id, rules, at, variant if rule and variant in rule.variants else None)


def _card(model_id: str, rules: list[PriceRule], at: int, variant: str | None) -> RateCard:
    return card_in_force(model_id, rules, at, variant, refuse_unknown=settings().refuse_unknown_models)


def rule_at(model_id: str, now: int) -> PriceRule | None:
    """The model's rule in force at ``now``, as it stands in the table."""
    return rule_in_force(_relevant_rules(model_id, now), now)


def forget() -> None:
    """Empty the cache."""
    _cache.forget()


def add(rule: PriceRule) -> Write:
    """Add a rule, unless the model has one with this beginning: then PriceExists."""
    refusal = PriceExists(
        "The model has a price rule with this beginning", modelId=rule.model_id, effectiveFrom=iso(rule.effective_from)
    )
    return Write(table.put(to_item(rule), condition="attribute_not_exists(pk)"), refused=lambda _: refusal)


def end(model_id: str, effective_from: int, effective_to: int, now: int) -> PriceRule:
    """Let a rule end, unless it has ended otherwise by ``now``. Raises PriceNotFound, PriceEnded."""
    not_ended = "attribute_not_exists(effective_to) OR effective_to > :now"
    the_same = "effective_to = :to"
    done, item = table.update_one(
        keys.price(model_id, effective_from),
        "SET effective_to = :to",
        condition=f"attribute_exists(#pk) AND ({not_ended} OR {the_same})",
        values={":to": effective_to, ":now": now},
        names={"#pk": "pk"},
    )
    if item is None:
        raise _not_found(model_id)
    if not done:
        raise PriceEnded("The price rule has ended already", modelId=model_id, effectiveTo=iso(item["effective_to"]))
    return from_item(item)


def withdraw(model_id: str, effective_from: int, now: int) -> None:
    """Remove a rule that no process can know yet. Raises PriceNotFound, PriceBegun."""
    soonest = now + FORESIGHT
    begun = PriceBegun(
        "The price rule has begun, or begins too soon to be withdrawn", modelId=model_id, soonest=iso(soonest)
    )
    action = table.delete(
        keys.price(model_id, effective_from), condition="effective_from >= :soonest", values={":soonest": soonest}
    )
    table.transact([Write(action, refused=lambda old: begun if old else _not_found(model_id))])


def history(model_id: str, *, before: int | None, limit: int) -> tuple[list[PriceRule], int | None]:
    """A page of the model's rules, those to come included, newest first, and what the next page begins before."""
    if before is not None and before <= 0:
        return [], None
    low = keys.price(model_id, 0)
    high = f"FROM#{keys.AFTER_ALL_TIMES}" if before is None else keys.price(model_id, before - 1)["sk"]
    found = [from_item(item) for item in table.query(low["pk"], low["sk"], high, limit=limit + 1)]
    return found[:limit], found[limit - 1].effective_from if len(found) > limit else None


def in_force(now: int, *, after: str | None, limit: int) -> tuple[list[PriceRule], str | None]:
    """A page of the rules in force, by model, and the model that the next page begins after."""
    begun: dict[str, list[int]] = {}
    for model_id, effective_from in _listed(after):
        if model_id not in begun and len(begun) > limit:
            break
        begun.setdefault(model_id, [])
        if effective_from <= now:
            begun[model_id].append(effective_from)
    models = sorted(begun)[:limit]
    rules = _newest_in_force({model_id: begun[model_id] for model_id in models}, now)
    return [rules[model_id] for model_id in models if model_id in rules], models[-1] if len(begun) > limit else None


def _listed(after: str | None) -> Iterator[tuple[str, int]]:
    """The model and the beginning of every rule after a model, in the order of models and then of time."""
    (part,) = keys.prices_of_all()
    low = keys.BEFORE_ALL_MODELS if after is None else keys.after_prices_of(after)
    for batch in table.forward(keys.BY_KIND, part.pk, low, keys.AFTER_ALL_TIMES):
        yield from map(keys.listed_price, batch)


def _newest_in_force(begun: dict[str, list[int]], now: int) -> dict[str, PriceRule]:
    """The rule in force of each model that has one, of the beginnings (in order of time) that have passed.

    It reads the newest of each model first; older ones only of models whose newer ones have ended.
    """
    found: dict[str, PriceRule] = {}
    left = {model_id: list(times) for model_id, times in begun.items() if times}
    while left:
        wanted = [keys.price(model_id, times.pop()) for model_id, times in left.items()]
        for rule in (from_item(item) for item in table.get_many(wanted) if item):
            if rule.in_force(now):
                found[rule.model_id] = rule
        left = {model_id: times for model_id, times in left.items() if times and model_id not in found}
    return found


def _not_found(model_id: str) -> PriceNotFound:
    return PriceNotFound("The model has no price rule with this beginning", modelId=model_id)


def _relevant_rules(model_id: str, now: int) -> list[PriceRule]:
    """The rules that can be in force while the answer is cached, newest first: back to the first without an end."""
    low, high = keys.price(model_id, 0), keys.price(model_id, now + FORESIGHT)
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


_cache = Cache(_relevant_rules, CACHE_SECONDS, MAX_CACHED_MODELS)


def to_item(rule: PriceRule) -> Item:
    """The item."""
    return {
        **keys.price(rule.model_id, rule.effective_from),
        **keys.price_of_all(rule.model_id, rule.effective_from),
        "model_id": rule.model_id,
        "rates": rule.card.to_text(),
        "effective_from": rule.effective_from,
        "effective_to": rule.effective_to,
    }


def from_item(item: Item) -> PriceRule:
    """The rule of an item."""
    card = RateCard.from_text(item["rates"])
    return PriceRule(item["model_id"], card, item["effective_from"], item.get("effective_to"))
