"""A request's body as JSON. Imports no pydantic."""

import json
import re
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from accounting.domain.errors import Invalid, PayloadTooLarge
from accounting.web.problems import invalid

MAX_BODY_BYTES = 64 * 1024
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def body_text(event: Mapping[str, Any]) -> str | None:
    """The body as text. Each byte that is not UTF-8 becomes half a surrogate pair, which valid UTF-8 never has."""
    body: str | None = event.get("body")
    return b64decode(body).decode(errors="surrogateescape") if body and event.get("isBase64Encoded") else body


def strict_json(text: str) -> Any:
    """The JSON object in a body, by the rules of RFC 8259; None if the body is ``null``.

    Raises PayloadTooLarge for more than ``MAX_BODY_BYTES``, and Invalid for everything else that is wrong: NaN,
    Infinity, integers of thousands of digits, a name that occurs twice in one object, half a surrogate pair, bytes that
    are not UTF-8, extremely deep nesting.
    """
    _require_size(text)
    if not text.isascii():
        _require_utf8(text)
    try:
        body = json.loads(
            text, parse_constant=_no_such_constant, parse_float=_number, object_pairs_hook=_without_duplicates
        )
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not valid JSON") from error
    _require_object(body)
    if body and _SURROGATE.search(text):
        _require_unicode(body)
    return body


def lenient_json(text: str) -> Any:
    """The JSON object in the body of a report (heartbeat, finalize, abort). Unknown fields may have strange values.

    Such values are NaN, a number of any length, half a surrogate pair, line breaks in a text, and extremely deep
    nesting. A name with half a surrogate pair is escaped, so that the answer can contain it. If a name occurs twice,
    the last value is used. Raises PayloadTooLarge for more than ``MAX_BODY_BYTES``, and Invalid for anything but an
    object or ``null``.
    """
    _require_size(text)
    try:
        try:
            body = _loosely(text)
        except RecursionError:
            body = _loosely(_without_nesting(text))
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not valid JSON") from error
    _require_object(body)
    return body and {_readable(name): value for name, value in body.items()}


def _loosely(text: str) -> Any:
    return json.loads(text, strict=False, parse_int=_integer, parse_float=_number, parse_constant=Decimal)


def _without_nesting(text: str) -> str:
    """The text of an object, with ``[]`` in place of every value that is an object or a list."""
    kept, depth, begin = list[str](), 0, 0
    for piece in _TEXT_OR_BRACKET.finditer(text):
        if piece[0] in ("[", "{"):
            depth += 1
            if depth == 2:
                kept.append(text[begin : piece.start()] + "[]")
        elif piece[0] in ("]", "}"):
            depth -= 1
            if depth == 1:
                begin = piece.end()
    return "".join(kept) + text[begin:]


def _readable(name: str) -> str:
    """The name with each half of a surrogate pair escaped, because UTF-8 cannot represent it."""
    return name.encode(errors="backslashreplace").decode()


def _integer(text: str) -> int | Decimal:
    """An integer, or NaN if it has so many digits that Python refuses it."""
    try:
        return int(text)
    except ValueError:
        return Decimal("NaN")


def _require_size(text: str) -> None:
    if len(text.encode(errors="replace")) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"A body may have at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Invalid("The body is not UTF-8") from error


def _without_duplicates(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with these fields. Raises Invalid if a name occurs twice, because one of its values would be lost."""
    found = dict(fields)
    if len(found) < len(fields):
        names = Counter(name for name, _ in fields)
        twice = [_readable(name) for name, times in names.items() if times > 1]
        raise invalid([{"field": name, "problem": "occurs twice"} for name in twice])
    return found


def _require_object(body: object) -> None:
    """Raise Invalid for anything but an object or null. Powertools would read an array of one object as that object."""
    if not isinstance(body, dict | None):
        raise Invalid("The body is not a JSON object")


def _number(text: str) -> Decimal:
    """A number with a fraction or an exponent, exactly as it is written, because prices are exact.

    NaN if the exponent has too many digits. A field that the route knows refuses NaN, and the refusal names the field.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _require_unicode(body: dict[str, Any]) -> None:
    """Raise Invalid for fields with half a surrogate pair: UTF-8 cannot represent it."""
    problems = []
    for name, value in body.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, default=str).encode()
        except (UnicodeEncodeError, RecursionError):
            problems.append(
                {"field": _readable(name), "problem": "has half a surrogate pair, which is not a character"}
            )
    if problems:
        raise invalid(problems)


def _no_such_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
