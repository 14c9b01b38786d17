"""The OpenAPI document says which characters each text of a request may have, and the field types agree."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accounting.web import types
from tests.contract.test_openapi import made, operations, resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTROL = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]
"""Unicode promises that there will never be other control characters."""
ORDINARY = [
    *"aZ0 _-.:/@#?%\"'\\<>{}",
    *("\u00a0", "\u3000", "\u2028", "\u2029", "\u200b", "\u200c", "\u200d", "\u202e", "\ufeff", "\u00ad"),
    *(
        "\u00fc",
        "\u5c71",
        "\u0639",
        "\U0001f469",
        "\U0001fae9",
        "\U0001f3fd",
        "\ufe0f",
        "\ue000",
        "\U0010ffff",
        "\uffff",
    ),
]
SURROGATES = ["\ud800", "\udbff", "\udc00", "\udfff"]
TEXTS = ["UserReference", "UserId", "Name", "KeyText", "ServiceName", "Operation", "Notes", "Reason"]


def accepts(kind: Any, text: str) -> bool:
    try:
        TypeAdapter(kind).validate_python(text)
    except ValidationError:
        return False
    return True


def pattern_accepts(kind: Any, text: str) -> bool:
    """Whether the pattern in the OpenAPI document accepts a text.

    JSON Schema's ``$`` matches only at the end. Python's ``$`` also matches before a final line break, hence
    ``fullmatch``.
    """
    return re.fullmatch(TypeAdapter(kind).json_schema()["pattern"], text) is not None


@pytest.mark.parametrize("name", TEXTS)
def test_texts_accept_no_control_characters_except_tabs_and_line_breaks_in_notes_and_reasons(name: str) -> None:
    kind = getattr(types, name)
    assert len(CONTROL) == 65
    assert {unicodedata.category(char) for char in CONTROL} == {"Cc"}
    for char in (*CONTROL, *ORDINARY):
        for text in (char, f"a{char}", f"{char}b", f"a{char}b"):
            assert accepts(kind, text) == pattern_accepts(kind, text), ascii(text)
            lines = name in ("Notes", "Reason") and char in "\t\n\r"
            assert accepts(kind, text) == (char in ORDINARY or lines), ascii(text)


@pytest.mark.parametrize("name", [*TEXTS, "EmailAddress", "Identifier"])
def test_no_text_accepts_half_a_surrogate_pair(name: str) -> None:
    for char in SURROGATES:
        assert not accepts(getattr(types, name), f"a{char}@b"), ascii(char)


def test_an_email_address_accepts_what_its_pattern_allows() -> None:
    for char in (*CONTROL, *(each for each in ORDINARY if each not in "@\ufeff")):
        for text in (f"a{char}b@c", f"a@b{char}c"):
            assert accepts(types.EmailAddress, text) == pattern_accepts(types.EmailAddress, text), ascii(text)


def test_every_text_in_a_body_documents_its_characters() -> None:
    texts = dict(texts_of_bodies())

    assert len(texts) > 20
    undocumented = [
        name for name, each in texts.items() if not each.keys() & {"pattern", "enum", "format", "anyOf", "const"}
    ]
    assert undocumented == []


def texts_of_bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    for route, operation in operations():
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = resolved(content["schema"])
            for each in (schema, *map(resolved, schema.get("anyOf", []))):
                for name, field in each.get("properties", {}).items():
                    for kind in (field, *field.get("anyOf", [])):
                        if kind.get("type") == "string":
                            yield f"{' '.join(route)} {name}", kind


def test_words_that_routes_have_in_place_of_a_user_id_are_not_valid_user_ids() -> None:
    """For example, ``/api/users/me`` is a route, so a user with the id ``me`` could not be reached."""
    paths = [path.split("/") for path in made()["paths"]]
    fixed = {
        other[at]
        for path in paths
        for at, step in enumerate(path)
        if step == "{userId}"
        for other in paths
        if (other[:at], len(other)) == (path[:at], len(path)) and not other[at].startswith("{")
    }

    assert fixed == {"all", "me", "sync"}
    assert not [name for name in fixed if accepts(types.UserId, name)]
