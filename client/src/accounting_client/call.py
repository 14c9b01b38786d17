"""Requests as plain values, and how to read their answers. The sync and the async client both use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from accounting_client.credentials import valid_in_header
from accounting_client.reading import Misread, camel, next_cursor_after, read

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
R = TypeVar("R")


class Access(Enum):
    """Which credentials a call sends."""

    PUBLIC = "nothing"
    USER = "the client's credential"
    REPORT = "the client's credential and, if the client has one, the service key"
    INTERNAL = "the service key"


@dataclass(frozen=True)
class Answer:
    """A response that is not raised as an error: its JSON, and its headers by lower-case name."""

    data: Any
    headers: Mapping[str, str]
    repeated: bool = False
    """Whether the client had sent the request before."""


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """A request, and how to read its answer.

    ``repeatable`` says whether the request may be sent again if its answer was lost. ``answer_field`` is the name of a
    field. If the JSON of a refusal has this field, the refusal is read as an answer. Any other refusal is raised as an
    error.
    """

    method: str
    path: str
    read: Callable[[Answer], T_co]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    access: Access = Access.USER
    repeatable: bool = False
    idempotency_key: str | None = None
    answer_field: str | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. ``next_cursor`` leads to the next page, and is None on the last page.

    ``total`` counts the items of the whole list, and ``total_pages`` its pages. Both are None if the service does not
    count them.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None
    total: int | None = None
    total_pages: int | None = None


@dataclass(frozen=True)
class Done:
    """A confirmation."""

    message: str


Listing = Callable[[str | None], Call[Page[T]]]
"""A function that returns the call for the page at a cursor. The cursor None means the first page."""


def get(path: str, kind: type[T], **query: Any) -> Call[T]:
    """Return a call that reads one thing."""
    return Call("GET", path, as_(kind), query=json_fields(**query), repeatable=True)


def command(method: str, path: str, kind: type[T], body: Mapping[str, Any], key: str | None) -> Call[T]:
    """Return a call that changes something under an idempotency key: the caller's key, or a new one.

    Raises ValueError for a key that is not valid in a header.
    """
    key = uuid4().hex if key is None else valid_in_header(key, "the idempotency key")
    return Call(method, path, as_(kind), body=body, repeatable=True, idempotency_key=key)


def reporting(call: Call[T]) -> Call[T]:
    """Return the call with ``Access.REPORT``: it also sends the service key, if the client has one."""
    return replace(call, access=Access.REPORT)


def as_(kind: type[T]) -> Callable[[Answer], T]:
    """Return a function that reads an answer as ``kind``. The field ``replayed`` comes from a header."""

    def reads(answer: Answer) -> T:
        if answer.headers.get("idempotency-replayed") == "true" and isinstance(answer.data, dict):
            return read(kind, {**answer.data, "replayed": True})
        return read(kind, answer.data)

    return reads


def as_tuple(kind: type[T]) -> Callable[[Answer], tuple[T, ...]]:
    """Return a reader of an answer that is an array of ``kind``."""

    def reads(answer: Answer) -> tuple[T, ...]:
        if not isinstance(answer.data, list):
            raise Misread(f"not an array of {kind.__name__}")
        return tuple(read(kind, each) for each in answer.data)

    return reads


def as_page(kind: type[T]) -> Callable[[Answer], Page[T]]:
    """Return a reader of an answer that is an array of ``kind``, with the next page's cursor in a header."""

    def reads(answer: Answer) -> Page[T]:
        return Page(as_tuple(kind)(answer), answer.headers.get("x-next-cursor"))

    return reads


def paged(kind: type[R], items: Callable[[R], tuple[T, ...]]) -> Callable[[Answer], Page[T]]:
    """Return a reader of an answer that is an object of ``kind``. ``items`` takes the page's items from that object."""

    def reads(answer: Answer) -> Page[T]:
        found: Any = read(kind, answer.data)
        totals = getattr(found, "total", None), getattr(found, "total_pages", None)
        return Page(items(found), found.next_cursor, *totals)

    return reads


def advancing(page_at: Listing[T], cursor: str | None, seen: set[str | None]) -> Call[Page[T]]:
    """Return the call for the page at ``cursor``, and add the cursor to ``seen``.

    Reading the page raises Misread if its next cursor is in ``seen``, because the list would never end.
    """
    call = page_at(cursor)
    seen.add(cursor)

    def reads(answer: Answer) -> Page[T]:
        page = call.read(answer)
        return replace(page, next_cursor=next_cursor_after(seen, page.next_cursor))

    return replace(call, read=reads)


def path(template: str, *values: str | datetime) -> str:
    """Return ``template`` with each ``{}`` filled. Raises ValueError for a value that would lead to another route."""
    texts = [json_value(value) for value in values]
    if {"", ".", ".."} & set(texts):
        raise ValueError(f"an id in {template} must not be empty, '.' or '..'")
    return template.format(*(quote(identifier(text) if "/" in text else text, safe="") for text in texts))


def identifier(text: str) -> str:
    """Encode an id. `path` encodes it a second time, because gateways treat ``%2F`` as a separator."""
    return quote(text, safe="")


def require_not_both(user_id: str | None, account_id: str | None) -> None:
    """Raise ValueError if there is both a user and an account."""
    if user_id is not None and account_id is not None:
        raise ValueError("give user_id or account_id, not both")


def json_fields(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None, under their names in JSON."""
    return {camel(name): json_value(value) for name, value in fields.items() if value is not None}


def json_value(value: Any) -> Any:
    """Return a value in the form for JSON. Raises ValueError for a datetime without a time zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value):
        return json_fields(**vars(value))
    if isinstance(value, Mapping):
        return {name: json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(inner) for inner in value]
    return format(value, "f") if isinstance(value, Decimal) else value
