"""Who pays is not who calls: no place makes an account's key of a user's id.

The types see to it: whatever takes an ``AccountId`` takes no other text, which ``make check`` proves. What is left for
a test is that nobody gets around the type.
"""

import ast
import inspect
from pathlib import Path
from typing import get_type_hints

from accounting.domain.accounts import AccountId
from accounting.store import keys
from tests.reach import ROOT, function_names, module, module_names

OF_ACCOUNTS = {
    *("wallet", "wallet_of_all", "allocation", "entry", "audit", "usage", "day_rollup", "wallet_due"),
    *("texts_of_account", "budget"),
}


def test_every_key_in_an_accounts_partition_takes_an_account() -> None:
    functions = dict(inspect.getmembers(keys, inspect.isfunction))
    found = {name for name, each in functions.items() if "ACCOUNT#" in inspect.getsource(each)} - {"account_in"}

    assert found == OF_ACCOUNTS - {"wallet_of_all", "wallet_due"}
    for name in OF_ACCOUNTS:
        assert next(iter(get_type_hints(functions[name]).values())) is AccountId, name


def test_only_the_domain_of_accounts_makes_an_account_of_a_text() -> None:
    everything = [*module_names(), *(f"functions.{name}.app" for name in function_names())]
    makers = {
        name
        for name in everything
        for node in ast.walk(module(name).tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("AccountId", "cast"))
        if "AccountId" in ast.unparse(node)
    }

    assert makers == {"accounting.domain.accounts"}


def test_the_types_are_ignored_nowhere_about_accounts() -> None:
    sources = [*Path(ROOT, "layers").rglob("*.py"), *Path(ROOT, "functions").rglob("*.py")]
    lines = [line for source in sources for line in source.read_text().splitlines()]

    assert len(lines) > 1_000
    assert [line for line in lines if "type: ignore" in line and "account" in line.lower()] == []
