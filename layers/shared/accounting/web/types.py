"""The field types of requests and responses, with the contract's limits. Imports nothing of ours.

Integers are strict: a boolean, a text or a fraction is not a number of credits.
"""

import re
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

MAX_CREDITS = 10**12
MAX_TOKENS = 10**9
MAX_EXPIRY_DAYS = 3650
DEFAULT_EXPIRY_DAYS = 30

_IDENTIFIER = r"^[A-Za-z0-9._:/@+-]{1,100}$"
_OBJECT_MEMBERS = frozenset({"__proto__", "constructor", "prototype"})


def _not_an_object_member(name: str) -> str:
    """Statistics have ids as keys of JSON objects, and JavaScript callers must be able to index by them safely."""
    if name in _OBJECT_MEMBERS:
        raise ValueError("this name is reserved")
    return name


def _not_zero(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0")
    return number


def _digits(text: object) -> object:
    """Pydantic reads more as an integer than digits: ``5.0``, ``1_000``, blanks around it."""
    if isinstance(text, str) and not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError("must be an integer")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


Identifier = Annotated[str, Field(strict=True, pattern=_IDENTIFIER), AfterValidator(_not_an_object_member)]
UserReference = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=254),
    AfterValidator(_printable),
]
"""A user's id or e-mail address."""
UserInPath = Annotated[UserReference, BeforeValidator(unquote)]
Credits = Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
CreditsOrNone = Annotated[int, Field(strict=True, ge=0, le=MAX_CREDITS)]
Adjustment = Annotated[int, Field(strict=True, ge=-MAX_CREDITS, le=MAX_CREDITS), AfterValidator(_not_zero)]
Tokens = Annotated[int, Field(strict=True, ge=0, le=MAX_TOKENS)]
EstimatedTokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]
QueryInteger = Annotated[int, BeforeValidator(_digits)]
"""An integer of the query, whose limits are another type's to judge."""
ExpiryDays = Annotated[int, Field(strict=True, ge=1, le=MAX_EXPIRY_DAYS)]
StrictFlag = Annotated[bool, Field(strict=True)]
Notes = Annotated[str, StringConstraints(strict=True, max_length=1000)]
Instant = Annotated[str, Field(description="ISO-8601 in UTC, with milliseconds and Z")]


def _is_none(value: object) -> bool:
    return value is None


def left_out(description: str | None = None) -> Any:
    """The default of a response field that is only there when it says something."""
    return Field(default=None, exclude_if=_is_none, description=description)


class RequestModel(BaseModel):
    """A request's JSON object: camelCase names, unknown fields ignored."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class ResponseModel(BaseModel):
    """A response's JSON object: camelCase names."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)
