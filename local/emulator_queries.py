"""Makes the local AWS (MiniStack) answer queries sooner. `emulator_launcher.py` calls `answer_sooner`.

This module runs in MiniStack's own environment. For each item of a partition, the pinned MiniStack (1) parses the same
expressions again, (2) walks through the key condition, (3) looks up which attributes the index has, and (4) checks the
type of every value to add up the item's size. Without this module, a statistic over 90 days, which reads 100,000 index
entries, takes two seconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import dynamodb

SIGNATURES = {
    dynamodb._tokenize: "(expr)",
    dynamodb._condition_syntax_error: "(expr: str, slot: str) -> str | None",
    dynamodb._evaluate_condition: "(expr, item, attr_values, attr_names, slot: str = 'ConditionExpression')",
    dynamodb._apply_index_projection: "(item, table, index_name)",
    dynamodb._item_size_bytes: "(item: dict) -> int",
    iam_evaluator.parse_policy_document: "(doc: str | dict) -> list[ministack.core.iam_evaluator.ParsedStatement]",
}
MANY = 4096
KEY_CONDITION = "#pk = :pk AND #sk BETWEEN :low AND :high"
"""The condition of every query of `layers/shared/accounting/store/table/queries.py`."""


def answer_sooner() -> None:
    """Replace functions of MiniStack with faster ones, which call the originals for what they do not handle."""
    parse_once()
    compare_keys_directly()
    copy_keys_directly()
    add_up_texts_directly()


def parse_once() -> None:
    """Parse each expression and each policy once.

    If the result is a list, each caller gets a copy, because callers may change lists.
    """
    dynamodb._condition_syntax_error = lru_cache(MANY)(dynamodb._condition_syntax_error)
    tokens = lru_cache(MANY)(dynamodb._tokenize)
    dynamodb._tokenize = lambda expression: list(tokens(expression))
    parse = iam_evaluator.parse_policy_document
    parse_text = lru_cache(MANY)(parse)
    iam_evaluator.parse_policy_document = lambda policy: (
        list(parse_text(policy)) if isinstance(policy, str) else parse(policy)
    )


def compare_keys_directly() -> None:
    """Evaluate the store's key condition by comparing the keys. All keys of the store are texts."""
    evaluate = dynamodb._evaluate_condition

    def evaluate_directly(
        expr: Any, item: Any, attr_values: Any, attr_names: Any, slot: str = "ConditionExpression"
    ) -> Any:
        if expr != KEY_CONDITION or slot != "KeyConditionExpression":
            return evaluate(expr, item, attr_values, attr_names, slot)
        try:
            low, high = attr_values[":low"]["S"], attr_values[":high"]["S"]
            found = item[attr_names["#pk"]]["S"], item[attr_names["#sk"]]["S"]
        except KeyError:
            return evaluate(expr, item, attr_values, attr_names, slot)
        return found[0] == attr_values[":pk"].get("S") and low <= found[1] <= high

    dynamodb._evaluate_condition = evaluate_directly


def copy_keys_directly() -> None:
    """For an index that contains only keys, copy only the keys of the item."""
    project = dynamodb._apply_index_projection

    def project_directly(item: Any, table: Any, index_name: str | None) -> Any:
        for index in table.get("GlobalSecondaryIndexes") or () if index_name else ():
            if index["IndexName"] == index_name and index["Projection"].get("ProjectionType") == "KEYS_ONLY":
                names = (table["pk_name"], table["sk_name"], *[key["AttributeName"] for key in index["KeySchema"]])
                return {name: item[name] for name in names if name in item}
        return project(item, table, index_name)

    dynamodb._apply_index_projection = project_directly


def add_up_texts_directly() -> None:
    """Add up the size of an item that has texts only, such as an index entry, in one go."""
    size = dynamodb._item_size_bytes

    def size_directly(item: Any) -> int:
        try:
            return sum([len(name.encode()) + len(value["S"].encode()) for name, value in item.items()])
        except (AttributeError, KeyError, TypeError):
            return int(size(item))

    dynamodb._item_size_bytes = size_directly
