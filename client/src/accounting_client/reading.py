"""Reads an answer's JSON into frozen dataclasses. Unknown fields are ignored."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Container
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_CURSOR_LENGTH = 4096
"""A longer cursor does not come from the service, and would not fit into the next request's address."""


class Misread(ValueError):
    """The answer is not JSON, or does not fit the dataclass."""


def json_in(content: bytes) -> Any:
    """Return the JSON of an answer. Raises Misread if the answer is not JSON.

    NaN and infinity are not JSON. Texts with half a surrogate pair are refused, because UTF-8 cannot encode them.
    """
    try:
        text = content.decode()
        value = json.loads(text, parse_float=_finite, parse_constant=_refuse_constant)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Misread(f"{type(error).__name__} in the JSON") from error
    return value


def camel(name: str) -> str:
    """Return a name in the form for JSON: ``totalCredits`` for ``total_credits``."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def read(kind: type[T], value: object) -> T:
    """Convert ``value`` from JSON to ``kind``. Raises Misread."""
    result: T = _as(kind, value, kind.__name__)
    return result


def next_cursor_after(seen: Container[str | None], following: str | None) -> str | None:
    """Return ``following``, the next page's cursor. Raises Misread if the cursor is invalid or in ``seen``."""
    if following is not None and (following == "" or following in seen or len(following) > MAX_CURSOR_LENGTH):
        raise Misread("the next page's cursor leads nowhere")
    return following


def _as(kind: Any, value: object, where: str) -> Any:
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        (of,) = (each for each in arguments if each is not type(None))
        return None if value is None else _as(of, value, where)
    if origin is tuple:
        items = _expected(list, value, where)
        return tuple(_as(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(items))
    if origin is dict:
        pairs = _expected(dict, value, where)
        return {name: _as(arguments[1], item, f"{where}.{name}") for name, item in pairs.items()}
    return _plain(kind, value, where)


def _dataclass(kind: Any, value: object, where: str) -> Any:
    found = _expected(dict, value, where)
    values = {}
    for name, (json_name, of, optional) in _fields(kind).items():
        if json_name in found:
            values[name] = _as(of, found[json_name], f"{where}.{json_name}")
        elif not optional:
            raise Misread(f"{where}.{json_name} is missing")
    return kind(**values)


@cache
def _fields(kind: Any) -> dict[str, tuple[str, Any, bool]]:
    """Return each field's name in JSON, its type, and whether it may be left out."""
    hints = get_type_hints(kind)
    return {
        each.name: (
            camel(each.name),
            hints[each.name],
            each.default is not MISSING or each.default_factory is not MISSING,
        )
        for each in fields(kind)
    }


def _plain(kind: Any, value: object, where: str) -> Any:
    if kind is datetime:
        return _instant(_expected(str, value, where), where)
    if kind is Decimal:  # Decimal("0.0175") is exact, but Decimal(0.0175) is not
        return _decimal(str(_expected((int, float, str), value, where)), where)
    return value if kind in (Any, object) else _expected(kind, value, where)


def _decimal(text: str, where: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise Misread(f"{where} is not a number") from error


def _instant(text: str, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        return at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Misread(f"{where} is not a timestamp") from error


def _expected(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Misread(f"{where} is {type(value).__name__}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("the number is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
