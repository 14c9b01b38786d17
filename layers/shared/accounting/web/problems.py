"""Refusals of requests with unknown or invalid fields."""

from collections.abc import Mapping
from typing import Any

from accounting.domain.errors import Invalid

MAX_NAMED = 20
"""The maximum number of fields that an answer names."""
UNKNOWN_FIELD = "unknown field"


def text_of_error(error: Mapping[str, Any]) -> str:
    """The problem that a validation error describes."""
    return UNKNOWN_FIELD if error["type"] == "extra_forbidden" else str(error["msg"]).removeprefix("Value error, ")


def invalid(problems: list[dict[str, str]]) -> Invalid:
    """The refusal of a request with these problems. The message is about the first problem."""
    first = problems[0]
    message = f"{first['field']}: {first['problem']}" if first["field"] else first["problem"]
    return Invalid(message, errors=problems[:MAX_NAMED])


def unknown(names: list[str]) -> Invalid:
    """The refusal of a request that has these fields, which its route does not know."""
    return invalid([{"field": name, "problem": UNKNOWN_FIELD} for name in names])
