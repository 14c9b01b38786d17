"""Pages, opaque cursors and date ranges, as every list takes them."""

import base64
import binascii
import re
from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import Field

from accounting.domain.errors import Invalid
from accounting.times import DAY, from_iso
from accounting.web.types import ONLY_DIGITS

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_PAGED_ROWS = 10_000

NEXT_CURSOR_HEADER = "X-Next-Cursor"
"""Where a list that is answered as a bare array says how it goes on."""
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
_MODEL = re.compile(r"[A-Za-z0-9._:/@+-]{1,256}")
_POSITION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z#[^\x00-\x1f]{1,240}")


def cursor_of(position: str | int) -> str:
    """An opaque text for the position that the next page begins before."""
    return base64.urlsafe_b64encode(str(position).encode()).decode().rstrip("=")


def number_in(cursor: str | None, *, digits: int = 12) -> int | None:
    """The number, of at most so many digits, that a cursor stands for. Raises Invalid when it is not one of ours."""
    text = _text_in(cursor)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise Invalid.field("cursor", "not a cursor of this list")
    return int(text)


def position_in(cursor: str | None) -> str | None:
    """The time and id that a cursor stands for. Raises Invalid when it is not one of ours."""
    text = _text_in(cursor)
    if text is not None and not _POSITION.fullmatch(text):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def model_in(cursor: str | None) -> str | None:
    """The model id that a cursor stands for. Raises Invalid when it is not one of ours."""
    text = _text_in(cursor)
    if text is not None and not _MODEL.fullmatch(text):
        raise Invalid.field("cursor", "not a cursor of this list")
    return text


def rows_to_skip(page: int, limit: int) -> int:
    """How many rows stand before a page. Raises Invalid beyond ``MAX_PAGED_ROWS``: that is what cursors are for."""
    skipped = (page - 1) * limit
    if skipped + limit > MAX_PAGED_ROWS:
        raise Invalid.field("page", f"pages reach {MAX_PAGED_ROWS} rows deep, beyond use the cursor")
    return skipped


def instants(start: str | None, end: str | None) -> tuple[int | None, int | None]:
    """From (inclusive) and to (exclusive), in epoch milliseconds; a bare ``endDate`` date includes that day.

    What lies before 1970 or after the last day of 9999 is taken for that: nothing is there, and keys can order no more.
    Raises Invalid for what is no date or timestamp, and when the end is not after the start.
    """
    since, until = _instant("startDate", start), _instant("endDate", end)
    if until is not None and end is not None:
        until += DAY if _DATE.fullmatch(end) else 1
    if since is not None and until is not None and until <= since:
        raise Invalid.field("endDate", "before startDate")
    return _within_keys(since), _within_keys(until)


def _within_keys(at: int | None) -> int | None:
    return None if at is None else min(max(at, 0), _LAST_DAY)


def _instant(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except (ValueError, OverflowError) as error:
        raise Invalid.field(name, "not a date or a timestamp") from error


def _text_in(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Invalid.field("cursor", "not a cursor of this list") from error
