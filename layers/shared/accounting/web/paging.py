"""The parameters of lists: pages, opaque cursors and date ranges."""

import base64
import binascii
import re
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import Field

from accounting.domain.errors import Invalid
from accounting.domain.texts import is_plain
from accounting.domain.users import MAX_USER_ID
from accounting.times import DAY, from_iso
from accounting.web.types import ONLY_DIGITS

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_PAGED_ROWS = 10_000

NEXT_CURSOR_HEADER = "X-Next-Cursor"
"""The header with the next page's cursor, for lists whose answer is a bare array."""
PAGE: dict[int, OpenAPIResponse] = {
    200: {
        "description": "A page",
        "headers": {NEXT_CURSOR_HEADER: {"description": "The next page's cursor", "schema": {"type": "string"}}},
    }
}

Limit = Annotated[Annotated[int, Field(ge=1, le=MAX_LIMIT), ONLY_DIGITS], Query()]
Page = Annotated[Annotated[int, Field(ge=1, le=MAX_PAGED_ROWS), ONLY_DIGITS], Query()]
Cursor = Annotated[str | None, Query(max_length=1000)]
_DATES: dict[str, Any] = {"anyOf": [{"type": "string", "format": form} for form in ("date", "date-time")]}
StartDate = Annotated[str | None, Query(alias="startDate", max_length=40, json_schema_extra=_DATES)]
EndDate = Annotated[str | None, Query(alias="endDate", max_length=40, json_schema_extra=_DATES)]

_LAST_DAY = from_iso("9999-12-31")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MEMBER = "MEMBER#"
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")
_SUBJECT = re.compile(rf"members|(member|key):[^\x00-\x1f]{{1,{MAX_USER_ID}}}")
_POSITION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z#[^\x00-\x1f]{1,240}")
_POSITION_BY_USER = re.compile(rf"[^\x00-\x1f]{{1,{MAX_USER_ID}}}\t{_POSITION.pattern}")


def cursor_of(position: str | int) -> str:
    """A position as an opaque text; the next page continues from this position."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def number_in(cursor: str | None, *, digits: int = 12) -> int | None:
    """The number in a cursor. Raises Invalid if the cursor is not a number of at most ``digits`` digits."""
    text = _text_in(cursor)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise Invalid.field("cursor", "not a cursor of this list")
    return int(text)


def position_in(cursor: str | None) -> str | None:
    """The time and id in a cursor. Raises Invalid if the cursor does not consist of a time and an id."""
    text = _text_in(cursor)
    if text is not None and not (_POSITION.fullmatch(text) and _is_time(text.partition("#")[0])):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def position_by_user_in(cursor: str | None) -> str | None:
    """The user, time and id in a cursor. Raises Invalid if the cursor does not consist of these three."""
    text = _text_in(cursor)
    if text is not None and not _POSITION_BY_USER.fullmatch(text):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def subject_in(cursor: str | None) -> str | None:
    """A budget's subject, such as ``member:alice``, in a cursor. Raises Invalid if the cursor is not a subject."""
    text = _text_in(cursor)
    if text is not None and not _SUBJECT.fullmatch(text):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def model_in(cursor: str | None) -> str | None:
    """The model id in a cursor. Raises Invalid if the cursor is not a model id."""
    text = _text_in(cursor)
    if text is not None and not _MODEL.fullmatch(text):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def member_in(cursor: str | None) -> str | None:
    """The user id in a cursor that ``after_member`` made. Raises Invalid for any other cursor."""
    text = _text_in(cursor)
    if text is None:
        return None
    prefix, _, user_id = text.partition(_MEMBER)
    if prefix or not (is_plain(user_id) and 1 <= len(user_id) <= MAX_USER_ID):
        raise Invalid.field("cursor", "not a cursor of this list")
    return user_id


def after_member(user_id: str) -> str:
    """The cursor with which a list of members continues after this member."""
    return cursor_of(_MEMBER + user_id)


def rows_to_skip(page: int, limit: int) -> int:
    """How many rows come before a page. Raises Invalid if the page ends after row number ``MAX_PAGED_ROWS``."""
    skipped = (page - 1) * limit
    if skipped + limit > MAX_PAGED_ROWS:
        raise Invalid.field("page", f"pages reach only the first {MAX_PAGED_ROWS} rows; use the cursor for more")
    return skipped


def instants(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """The first millisecond of the range from ``start`` to ``end``, and the first millisecond after the range.

    Both are in epoch milliseconds, or None if not given. If ``end`` is a date, that whole day is included. If
    ``end`` is a timestamp, its millisecond is included. A time before 1970 becomes the start of 1970, and a time after
    9999-12-31 becomes 9999-12-31, because the table's sort keys cannot order other times.

    Raises Invalid if a text is neither a date nor a timestamp, or if the end is before the start.
    """
    since, until = _instant("startDate", start), _instant("endDate", end)
    if until is not None and end is not None:
        until += DAY if _DATE.fullmatch(end) else 1
    if since is not None and until is not None and until <= since:
        raise Invalid.field("endDate", "must not be before startDate")
    return _within_keys(since), _within_keys(until)


def _is_time(text: str) -> bool:
    try:
        return from_iso(text) >= 0
    except ValueError:
        return False


def _within_keys(at: int | None) -> int | None:
    return None if at is None else min(max(at, 0), _LAST_DAY)


def _instant(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except (ValueError, OverflowError) as error:
        raise Invalid.field(name, "must be a date or a timestamp") from error


def _text_in(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid.field("cursor", "not a cursor of this list") from error
