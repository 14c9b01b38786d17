"""A request's body as JSON. Imports errors only."""

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from accounting.domain.errors import Invalid, PayloadTooLarge
from accounting.web.problems import invalid

MAX_BODY_BYTES = 64 * 1024
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def strict_json(text: str) -> Any:
    """A JSON object as RFC 8259 has it, of a size that a request of the contract can have; ``null`` is no body.

    Raises PayloadTooLarge, and Invalid for anything else: NaN, Infinity, integers of thousands of digits, half a
    surrogate pair, nesting without end.
    """
    _require_size(text)
    try:
        body = json.loads(text, parse_constant=_no_such_constant, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise Invalid("The body is not valid JSON") from error
    _require_object(body)
    if body and _SURROGATE.search(text):
        _require_unicode(body)
    return body


def _require_size(text: str) -> None:
    if len(text.encode(errors="replace")) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"A body has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _require_object(body: object) -> None:
    """Raise Invalid for an array: Powertools would take one with one object for the object."""
    if not isinstance(body, dict | None):
        raise Invalid("The body is not a JSON object")


def _number(text: str) -> Decimal:
    """A number with a fraction or an exponent as it is written, for prices; NaN if its exponent has too many digits.

    No field takes NaN, so that the refusal names the field.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def _require_unicode(body: dict[str, Any]) -> None:
    """Raise Invalid for fields with half a surrogate pair: it has no form in UTF-8, so nobody could read it back."""
    problems = []
    for name, value in body.items():
        try:
            json.dumps({name: value}, ensure_ascii=False, default=str).encode()
        except (UnicodeEncodeError, RecursionError):
            problems.append({"field": ascii(name)[1:-1], "problem": "half a surrogate pair, which is no character"})
    if problems:
        raise invalid(problems)


def _no_such_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
