"""How rates, the credits per million tokens of each class, are named and written in requests and responses.

This module is separate from the pydantic models of price rules, because importing the models would make a Lambda
function's cold start longer. The credits function shows costs without these models.
"""

from pydantic.alias_generators import to_camel

from accounting.domain.rates import Rates

CLASS_NAMES = {name: to_camel(name) for name in Rates._fields} | {"cache_write_1h": "cacheWrite1h"}
"""The name in JSON of each class of tokens in ``Rates``."""


def decimal_text(number: int, scale: int) -> str:
    """``number / scale`` as an exact decimal without trailing zeros. ``scale`` is a power of ten."""
    whole, part = divmod(number, scale)
    return f"{whole}.{part:0{len(str(scale)) - 1}}".rstrip("0").rstrip(".")
