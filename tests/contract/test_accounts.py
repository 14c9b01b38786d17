"""The payer and the caller may differ, so no code uses a user id in place of an account id.

The type checker ensures most of this: functions that take an ``AccountId`` accept no other text (``make check``). These
tests check that no code bypasses the type.
"""

import ast
import inspect
import re
from pathlib import Path
from typing import get_type_hints

from accounting.domain.accounts import AccountId
from accounting.store import keys
from tests.reach import ROOT, function_names, module, module_names

KEYS_OF_ACCOUNTS = {
    *("wallet", "wallet_of_all", "allocation", "entry", "audit", "usage", "day_rollup", "wallet_due"),
    *("texts_of_account", "budget"),
}
"""Functions of the module ``keys``. All but two build keys in an account's partition.

``wallet_of_all`` and ``wallet_due`` build keys of indexes.
"""


def test_every_function_that_builds_keys_of_an_account_takes_an_account_id() -> None:
    functions = dict(inspect.getmembers(keys, inspect.isfunction))
    partition = re.compile(r'(?:"pk": |Range\()f"ACCOUNT#')
    found = {name for name, each in functions.items() if partition.search(inspect.getsource(each))}

    assert found == KEYS_OF_ACCOUNTS - {"wallet_of_all", "wallet_due"}
    for name in KEYS_OF_ACCOUNTS:
        assert next(iter(get_type_hints(functions[name]).values())) is AccountId, name


def test_only_the_accounts_module_turns_a_text_into_an_account_id() -> None:
    everything = [*module_names(), *(f"functions.{name}.app" for name in function_names())]
    makers = {
        name
        for name in everything
        for node in ast.walk(module(name).tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("AccountId", "cast"))
        if "AccountId" in ast.unparse(node)
    }

    assert makers == {"accounting.domain.accounts"}


def test_no_line_that_mentions_accounts_has_a_type_ignore() -> None:
    sources = [*Path(ROOT, "layers").rglob("*.py"), *Path(ROOT, "functions").rglob("*.py")]
    lines = [line for source in sources for line in source.read_text().splitlines()]

    assert len(lines) > 1_000
    assert [line for line in lines if "type: ignore" in line and "account" in line.lower()] == []
