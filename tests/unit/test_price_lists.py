"""Price lists: which rules an import writes, which problems prevent an import, and how a refusal lists problems."""

from typing import Any

import pytest

from accounting.domain.errors import Invalid
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
from tests.prices import per_thousand

BEGINS = 1_800_000_000_000
RULE = PriceRule(
    "m",
    per_thousand(1),
    BEGINS,
    variants={"batch": per_thousand(2)},
    aliases=("a", "b"),
    source="list",
    source_version="2",
)
OLD = RULE._replace(effective_from=5, source_version="1", aliases=("b", "a"))
"""A rule with the price of ``RULE``, from an earlier version of the list."""


def in_force(rule: PriceRule, **known: PriceRule) -> dict[str, PriceRule | None]:
    """Map the model id and each alias of ``rule`` to the stored rule in force when ``rule`` begins, or to None."""
    return {**dict.fromkeys((rule.model_id, *rule.aliases)), **known}


def test_a_rule_for_a_model_without_a_price_is_added() -> None:
    found = difference([RULE], [in_force(RULE)])

    assert found == Difference([RULE], [], [], [])
    assert found.rules == [RULE]


@pytest.mark.parametrize(
    "values",
    [
        {"card": per_thousand(3)},
        {"effective_to": BEGINS + 1},
        {"variants": {"batch": per_thousand(3)}},
        {"aliases": ("a",)},
        {"aliases": ("a", "b", "c")},
        {"max_output_tokens": 8},
        {"source": "another list"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_rule_that_differs_replaces_the_rule_in_force(values: dict[str, Any]) -> None:
    before = OLD._replace(**values)

    found = difference([RULE], [in_force(RULE, m=before, a=before, b=before)])

    assert found == Difference([], [PriceChange(before, RULE)], [], [])
    assert found.rules == [RULE]


def test_a_rule_that_would_change_nothing_is_not_written() -> None:
    found = difference([RULE], [in_force(RULE, m=OLD, a=OLD, b=OLD)])

    assert found == Difference([], [], ["m"], [])
    assert found.rules == []


def test_an_alias_of_another_model_is_reported_as_taken() -> None:
    other = PriceRule("other", per_thousand(9), 1, aliases=("b",))

    again = difference([RULE], [in_force(RULE, m=OLD, a=OLD, b=other)])
    added = difference([RULE], [in_force(RULE, a=other, b=other)])

    assert again == Difference([], [PriceChange(OLD, RULE)], [], [TakenAlias("b", other, RULE)])
    assert added == Difference([RULE], [], [], [TakenAlias("a", other, RULE), TakenAlias("b", other, RULE)])


def test_one_list_may_have_new_changed_and_unchanged_rules() -> None:
    names = ("first", "second", "third")
    first, second, third = (PriceRule(name, per_thousand(1), BEGINS) for name in names)
    pricier = second._replace(card=per_thousand(2), effective_from=1)

    found = difference([first, second, third], [in_force(first), in_force(second, second=pricier), {"third": third}])

    assert found == Difference([first], [PriceChange(pricier, second)], ["third"], [])
    assert found.rules == [first, second]


def test_a_valid_list_has_no_problems() -> None:
    later = RULE._replace(model_id="n", effective_from=BEGINS + 1)
    shortest = PriceRule("o", per_thousand(1), BEGINS, effective_to=BEGINS + 1, aliases=("c", "c"))

    assert list(problems_within({0: RULE, 1: later, 2: shortest})) == []


def test_a_rule_that_ends_when_it_begins_is_reported_with_its_place_in_the_list() -> None:
    wrong = RULE._replace(effective_to=BEGINS)

    assert list(problems_within({7: wrong, 9: wrong._replace(model_id="n", aliases=())})) == [
        Problem(7, "effectiveTo", "must be after effectiveFrom"),
        Problem(9, "effectiveTo", "must be after effectiveFrom"),
    ]


def test_a_model_may_occur_only_once_in_a_list() -> None:
    later = RULE._replace(effective_from=BEGINS + 1)
    clash = PriceRule("n", per_thousand(1), BEGINS, aliases=("a",))

    assert list(problems_within({0: RULE, 1: later, 2: clash})) == [
        Problem(1, "modelId", "occurs twice in this list"),
        Problem(2, "aliases.0", "is already an id of m in this list"),
    ]


def test_an_id_may_belong_to_only_one_model_of_a_list() -> None:
    model = PriceRule("a", per_thousand(1), BEGINS)
    aliases = PriceRule("n", per_thousand(1), BEGINS, aliases=("free", "b", "m"))

    assert list(problems_within({0: RULE, 1: model, 2: aliases})) == [
        Problem(1, "modelId", "is already an id of m in this list"),
        Problem(2, "aliases.1", "is already an id of m in this list"),
        Problem(2, "aliases.2", "is already an id of m in this list"),
    ]


def test_a_rule_is_valid_if_no_stored_rule_of_its_ids_begins_at_the_same_time() -> None:
    assert list(problems_with_stored({0: RULE}, dict.fromkeys(place for _, place in places(RULE)))) == []


def test_a_stored_rule_of_the_same_model_and_time_is_reported_once() -> None:
    other = PriceRule("n", per_thousand(1), BEGINS)
    stored = {("m", BEGINS): OLD, ("a", BEGINS): OLD, ("b", BEGINS): OLD, ("n", BEGINS): other}

    assert list(problems_with_stored({3: RULE, 4: other}, stored)) == [
        Problem(3, "effectiveFrom", "the model already has a rule that begins at this time"),
        Problem(4, "effectiveFrom", "the model already has a rule that begins at this time"),
    ]


def test_each_id_that_belongs_to_another_model_is_a_problem() -> None:
    stored = dict.fromkeys((place for _, place in places(RULE)), PriceRule("other", per_thousand(1), BEGINS))

    problem = "is already an id of other, in a rule that begins at this time"
    assert list(problems_with_stored({3: RULE}, stored)) == [
        Problem(3, "modelId", problem),
        Problem(3, "aliases.0", problem),
        Problem(3, "aliases.1", problem),
    ]


def test_a_refusal_has_the_first_problem_as_its_message_and_all_problems_in_its_details() -> None:
    refused = refusal([Problem(2, "aliases.0", "is taken"), Problem(4, "", "must be an object")])

    assert isinstance(refused, Invalid)
    assert refused.message == "rules.2.aliases.0: is taken"
    assert refused.details == {
        "errors": [
            {"field": "rules.2.aliases.0", "problem": "is taken"},
            {"field": "rules.4", "problem": "must be an object"},
        ],
        "problems": [
            {"index": 2, "field": "aliases.0", "problem": "is taken"},
            {"index": 4, "field": "", "problem": "must be an object"},
        ],
    }


def test_the_details_of_a_refusal_have_at_most_20_errors_but_all_problems() -> None:
    details = refusal([Problem(index, "modelId", "is wrong") for index in range(21)]).details

    assert [error["field"] for error in details["errors"]] == [f"rules.{index}.modelId" for index in range(20)]
    assert len(details["problems"]) == 21
