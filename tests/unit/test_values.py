"""Default mappings are read-only, because all objects of a type share them."""

from typing import NamedTuple

import pytest

from accounting.domain.budgets import Allowance
from accounting.domain.pricing import PriceRule
from accounting.domain.sessions import Session
from accounting.domain.users import User
from accounting.domain.wallet import Wallet
from accounting.operations.settling import Particulars


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (Allowance, "committed"),
        (Allowance, "warned"),
        (Particulars, "metadata"),
        (PriceRule, "variants"),
        (Session, "more"),
        (User, "more"),
        (Wallet, "more"),
    ],
)
def test_a_default_mapping_cannot_be_changed(value: type[NamedTuple], field: str) -> None:
    default = value._field_defaults[field]

    with pytest.raises(TypeError, match="does not support item assignment"):
        default["x"] = 1
    assert default == {}
