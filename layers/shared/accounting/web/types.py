"""The field types of requests and responses, with the limits of the API.

Integers in a body are strict: a boolean, a text or a fraction is refused.
"""

import json
import math
import os
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from accounting.domain.accounts import PERSONAL, AccountId, parsed
from accounting.domain.allocations import MAX_EXPIRY_DAYS
from accounting.domain.service_credentials import MAX_OVERLAP_HOURS, RIGHTS, Right, in_documented_order
from accounting.domain.texts import CONTROL_CHARACTERS, CONTROL_CHARACTERS_OF_LINES, is_lines, is_plain
from accounting.domain.usage import RESERVED_NAMES
from accounting.domain.users import MAX_USER_ID, RESERVED_USER_IDS
from accounting.times import from_iso

MAX_CREDITS = 10**12
MAX_TOKENS = 10**9
MAX_PRICE = 10**6
MAX_INSTANT = 253_402_300_800_000
MAX_METADATA_BYTES = 4096
MAX_METADATA_DEPTH = 32
MAX_MODEL_ID = 256
MAX_LABEL = 100
MAX_SERVICE = 50
DEFAULT_EXPIRY_DAYS = 30

_IDENTIFIER = r"^[A-Za-z0-9._:/@+-]{1,100}$"
_MODEL_ID = rf"^[A-Za-z0-9._:/@+-]{{1,{MAX_MODEL_ID}}}$"
_EMAIL = rf"^[^@\s{CONTROL_CHARACTERS}]+@[^@\s{CONTROL_CHARACTERS}]+$"


class _InSchema(NamedTuple):
    """Adds to a field's JSON schema what one of our validators requires, as far as a schema can say it."""

    more: dict[str, Any]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | self.more


_UNRESERVED = _InSchema({"not": {"enum": sorted(RESERVED_NAMES)}})
_UNRESERVED_USER = _InSchema({"not": {"enum": sorted(RESERVED_USER_IDS)}})
_PLAIN = _InSchema({"pattern": rf"^[^{CONTROL_CHARACTERS}]*$"})
_LINES = _InSchema({"pattern": rf"^[^{CONTROL_CHARACTERS_OF_LINES}]*$"})
"""The validators also refuse unpaired surrogates. The patterns need not, because valid Unicode text has none."""
_DATED = _InSchema({"anyOf": [{"format": "date"}, {"format": "date-time"}]})


_DEFERS = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start"
"""If true, pydantic builds each model at its first use, because a request uses only a few models.

If false, all models are built at import, and a SnapStart snapshot contains them.
"""


def _none_of(reserved: frozenset[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name in reserved:
            raise ValueError("this name is reserved")
        return name

    return AfterValidator(check)


_NOT_RESERVED = _none_of(RESERVED_NAMES)


def _not_zero(number: int) -> int:
    if number == 0:
        raise ValueError("must not be 0")
    return number


def _an_instant(text: str) -> str:
    """The timestamp, which must be between 1970 and 9999: only such times sort correctly in the keys of items."""
    if not 0 <= from_iso(text) < MAX_INSTANT:
        raise ValueError("must be between 1970 and 9999")
    return text


def _plain_json(value: object) -> object:
    """The value with floats in place of decimals. Bodies are read with decimals, because prices are exact.

    Raises ValueError for a number that would change as a float, and for nesting deeper than ``MAX_METADATA_DEPTH``.
    """
    require_depth(value)
    return _with_floats(value)


def require_depth(value: object) -> None:
    """Raise ValueError beyond ``MAX_METADATA_DEPTH`` levels. Nesting can be too deep for a recursive function."""
    level = [value]
    for _ in range(MAX_METADATA_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
    if level:
        raise ValueError(f"at most {MAX_METADATA_DEPTH} levels of nesting")


def _inside(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
    return ()


def _with_floats(value: object) -> object:
    match value:
        case dict():
            return {name: _with_floats(inner) for name, inner in value.items()}
        case list():
            return [_with_floats(inner) for inner in value]
        case Decimal():
            number = float(value)
            if not math.isfinite(number) or (number == 0) != (value == 0):
                raise ValueError("a number is too large or too small to store")
            if Decimal(repr(number)) != value:
                raise ValueError("a number has too many digits to store; send it as a string")
            return number
    return value


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"at most {MAX_METADATA_BYTES} bytes of JSON in UTF-8, without blanks")
    return value


def _digits(text: object) -> object:
    """The text, if it is an integer. Pydantic alone would also accept ``5.0``, ``+5``, ``1_000`` and `` 5 ``."""
    if isinstance(text, str) and not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError("must be an integer")
    return text


def _decoded(text: str) -> str:
    """The decoded text of a path parameter. Clients encode a slash twice, because gateways treat ``%2F`` as a slash."""
    return unquote(unquote(text))


def decoded_once_or_twice(text: str) -> str:
    """Like ``_decoded``, but a text without an encoded slash is decoded only once, so it may contain a percent sign."""
    once = unquote(text)
    return unquote(once) if "%2f" in once.lower() else once


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("must not contain control characters")
    return text


def _within(most: int) -> AfterValidator:
    """Refuse names of more than ``most`` bytes: DynamoDB limits the size of keys and items in bytes."""

    def check(name: str) -> str:
        if len(name.encode()) > most:
            raise ValueError(f"at most {most} bytes of UTF-8")
        return name

    return AfterValidator(check)


def _lines(text: str) -> str:
    if not is_lines(text):
        raise ValueError("must not contain control characters other than line breaks and tabs")
    return text


Identifier = Annotated[str, StringConstraints(strict=True, pattern=_IDENTIFIER), _NOT_RESERVED, _UNRESERVED]
ModelId = Annotated[str, StringConstraints(strict=True, pattern=_MODEL_ID), _NOT_RESERVED, _UNRESERVED]
UserReference = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=254),
    AfterValidator(_plain),
    _PLAIN,
]
"""A user's id or e-mail address."""
UserInPath = Annotated[UserReference, BeforeValidator(unquote)]
IdentifierInPath = Annotated[Identifier, BeforeValidator(_decoded)]
ModelIdInPath = Annotated[ModelId, BeforeValidator(_decoded)]
AccountText = Annotated[
    AccountId,
    StringConstraints(strict=True, max_length=len(PERSONAL) + MAX_USER_ID),
    AfterValidator(_plain),
    AfterValidator(parsed),
    _InSchema({"pattern": rf"^(user:[^{CONTROL_CHARACTERS}]+|org:[A-Za-z0-9]{{1,26}})$"}),
]
"""The id of an account: ``user:`` and a user's id, or ``org:`` and an organization's id."""
AccountInPath = Annotated[AccountText, BeforeValidator(decoded_once_or_twice)]
PAYER: Any = Field(
    default=None, description="The account that pays; the default is the API key's account, else the user's own"
)
PAYER_HINT: Any = Field(
    default=None,
    description="The account that pays for the session. Sending it saves a database call; a wrong account is ignored",
)
PAYER_UNUSED: Any = Field(
    default=None,
    description="The account that pays. This field is ignored: the service reads the account from the session",
)
IN_RUN: Any = Field(default=None, description="A run of the account. It counts and limits what this request spends")
Credits = Annotated[int, Field(strict=True, ge=1, le=MAX_CREDITS)]
CreditsOrZero = Annotated[int, Field(strict=True, ge=0, le=MAX_CREDITS)]
Adjustment = Annotated[
    int,
    Field(strict=True, ge=-MAX_CREDITS, le=MAX_CREDITS),
    AfterValidator(_not_zero),
    _InSchema({"not": {"const": 0}}),
]
Tokens = Annotated[int, Field(strict=True, ge=0, le=MAX_TOKENS)]
EstimatedTokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]
ONLY_DIGITS = BeforeValidator(_digits)
"""For every integer in the query. In ``Annotated``, put it after the ``Field`` with the limits.

If it came before the ``Field``, the limits would be missing in the OpenAPI document.
"""
QueryCredits = Annotated[int, ONLY_DIGITS, _InSchema({"minimum": 1, "maximum": MAX_CREDITS})]
"""Credits in the query of a removal; the model ``Remove`` checks their limits."""
ExpiryDays = Annotated[int, Field(strict=True, ge=1, le=MAX_EXPIRY_DAYS)]
StrictFlag = Annotated[bool, Field(strict=True)]
Notes = Annotated[str, StringConstraints(strict=True, max_length=1000), AfterValidator(_lines), _LINES]
Reason = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=1000), AfterValidator(_lines), _LINES]
Timestamp = Annotated[
    str,
    StringConstraints(strict=True, max_length=40),
    AfterValidator(_an_instant),
    _DATED,
]
TimestampInPath = Annotated[Timestamp, BeforeValidator(unquote)]
UserId = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_USER_ID),
    AfterValidator(_plain),
    _none_of(RESERVED_USER_IDS),
    _PLAIN,
    _UNRESERVED_USER,
]
EmailAddress = Annotated[str, StringConstraints(strict=True, max_length=254, pattern=_EMAIL), AfterValidator(_plain)]
Name = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=100),
    AfterValidator(_plain),
    _PLAIN,
]
"""The name of a user or an organization. Its length is counted in characters, not in bytes."""
KeyName = Annotated[Name, _within(MAX_LABEL)]
KeyText = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=256),
    AfterValidator(_plain),
    _PLAIN,
]
Permissions = Annotated[
    tuple[Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9._:/*-]{1,64}$")], ...],
    Field(max_length=32),
]
Rights = Annotated[tuple[Right, ...], Field(min_length=1, max_length=len(RIGHTS)), AfterValidator(in_documented_order)]
"""What a service may do for users."""
OverlapHours = Annotated[int, Field(strict=True, ge=0, le=MAX_OVERLAP_HOURS)]
ServiceName = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_SERVICE),
    AfterValidator(_plain),
    _within(MAX_SERVICE),
    _NOT_RESERVED,
    _PLAIN,
    _UNRESERVED,
]
Operation = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_MODEL_ID),
    AfterValidator(_plain),
    _within(MAX_MODEL_ID),
    _NOT_RESERVED,
    _PLAIN,
    _UNRESERVED,
]
"""What was done. If the service's name begins with ``chat``, this is the model's id.

For any other service, ``usage/record`` accepts at most ``MAX_LABEL`` bytes.
"""
Metadata = Annotated[dict[str, Any], BeforeValidator(_plain_json), AfterValidator(_small)]
Instant = Annotated[
    str, Field(description="ISO-8601 in UTC, with milliseconds and Z", json_schema_extra={"format": "date-time"})
]


def _is_none(value: object) -> bool:
    return value is None


def left_out(description: str | None = None) -> Any:
    """The default of a response field that is left out if it has no value."""
    return Field(default=None, exclude_if=_is_none, description=description, json_schema_extra=_never_null)


def _never_null(schema: dict[str, Any]) -> None:
    *kinds, _null = schema.pop("anyOf")
    schema.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


class _Body(BaseModel):
    """The JSON object of a request."""

    def __repr__(self) -> str:
        """The class's name only, because Powertools formats each request's body for a debug line that nobody reads."""
        return type(self).__name__


class RequestModel(_Body):
    """A command's JSON object, with camelCase names. An unknown field is refused: it may be misspelled."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="forbid", defer_build=_DEFERS)


class QuestionModel(_Body):
    """The JSON object of a request that changes nothing, with camelCase names. Unknown fields are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, defer_build=_DEFERS)


class ReportModel(_Body):
    """A JSON object that reports usage, with camelCase names. Unknown fields are ignored, so that no usage is lost."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="allow", defer_build=_DEFERS)


class ResponseModel(BaseModel):
    """A response's JSON object, with camelCase names."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, defer_build=_DEFERS)
