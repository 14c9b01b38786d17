"""Lists of price rules: how a list differs from the stored rules, and the problems that prevent its import."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from accounting.domain.errors import Invalid
from accounting.domain.pricing import PriceRule, require_order

MAX_LISTED = 99
"""The most rules and aliases, together, in a list.

A transaction has at most 100 writes: one for each rule, one for each alias, and one for the idempotency record.
"""
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of one rule of a list."""

    index: int
    field: str
    problem: str


class PriceChange(NamedTuple):
    """A model's rule in a list, and the rule that it replaces."""

    before: PriceRule
    after: PriceRule


class TakenAlias(NamedTuple):
    """An alias that a list takes from another model. ``before`` is that model's rule, ``after`` is the list's rule."""

    alias: str
    before: PriceRule
    after: PriceRule


class Difference(NamedTuple):
    """How a list differs from the stored rules."""

    added: list[PriceRule]
    changed: list[PriceChange]
    unchanged: list[str]
    taken: list[TakenAlias]

    @property
    def rules(self) -> list[PriceRule]:
        """The rules to write."""
        return [*self.added, *(change.after for change in self.changed)]


def difference(rules: Sequence[PriceRule], before: Sequence[Mapping[str, PriceRule | None]]) -> Difference:
    """How ``rules`` differ from the stored rules.

    ``before[n]`` maps the model id and each alias of ``rules[n]`` to the stored rule that is in force when ``rules[n]``
    begins, or to None.
    """
    found = Difference([], [], [], [])
    for rule, known in zip(rules, before, strict=True):
        old = known[rule.model_id]
        others = ((alias, known[alias]) for alias in rule.aliases)
        taken = [TakenAlias(alias, other, rule) for alias, other in others if other and other.model_id != rule.model_id]
        found.taken.extend(taken)
        if old is None:
            found.added.append(rule)
        elif _same(old, rule) and not taken:
            found.unchanged.append(rule.model_id)
        else:
            found.changed.append(PriceChange(old, rule))
    return found


def _same(old: PriceRule, rule: PriceRule) -> bool:
    """Whether two rules are equal except for their beginnings, source versions, and the order of aliases."""
    aliases = rule.aliases if set(old.aliases) == set(rule.aliases) else old.aliases
    return rule == old._replace(effective_from=rule.effective_from, source_version=rule.source_version, aliases=aliases)


def problems_within(rules: Mapping[int, PriceRule]) -> Iterator[Problem]:
    """The problems of a list that can be found without the stored rules.

    A rule's end must be after its beginning. A list may have only one rule for each model. Among rules with the same
    beginning, an id or alias may belong to only one model. ``rules`` has each rule by its index in the list.
    """
    owners: dict[tuple[str, int], str] = {}
    models: set[str] = set()
    for index, rule in rules.items():
        try:
            require_order(rule.effective_from, rule.effective_to)
        except Invalid as invalid:
            yield Problem(index, **invalid.details["errors"][0])
        if rule.model_id in models:
            yield Problem(index, "modelId", "occurs twice in this list")
            continue
        models.add(rule.model_id)
        for field, place in places(rule):
            owner = owners.setdefault(place, rule.model_id)
            if owner != rule.model_id:
                yield Problem(index, field, f"is already an id of {owner} in this list")


def problems_with_stored(
    rules: Mapping[int, PriceRule], stored: Mapping[tuple[str, int], PriceRule | None]
) -> Iterator[Problem]:
    """The conflicts of a list with stored rules: ids that a stored rule with the same beginning already has.

    ``rules`` has each rule by its index in the list. ``stored`` has the stored rule, if there is one, for each id and
    beginning that ``places`` finds in ``rules``.
    """
    for index, rule in rules.items():
        for field, place in places(rule):
            old = stored[place]
            if old and old.model_id == rule.model_id:
                yield Problem(index, "effectiveFrom", "the model already has a rule that begins at this time")
                break
            if old:
                yield Problem(index, field, f"is already an id of {old.model_id}, in a rule that begins at this time")


def places(rule: PriceRule) -> Iterator[tuple[str, tuple[str, int]]]:
    """Each field that holds an id of the rule, with that id and the rule's beginning."""
    yield "modelId", (rule.model_id, rule.effective_from)
    for number, alias in enumerate(rule.aliases):
        yield f"aliases.{number}", (alias, rule.effective_from)


def refusal(problems: Sequence[Problem]) -> Invalid:
    """The refusal of a list. Its details have all problems in ``problems``, and the first 20 in ``errors``."""
    errors = [{"field": f"rules.{each.index}.{each.field}".rstrip("."), "problem": each.problem} for each in problems]
    return Invalid(
        f"{errors[0]['field']}: {errors[0]['problem']}",
        errors=errors[:_MAX_ERRORS],
        problems=[asdict(problem) for problem in problems],
    )
