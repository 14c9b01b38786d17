"""Metadata is either stored exactly as sent or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from accounting.domain.accounts import personal
from accounting.domain.errors import Invalid
from accounting.domain.usage import UsageRecord
from accounting.store import usage
from accounting.web import types
from accounting.web.bodies import strict_json

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def sent(text: str) -> Any:
    """Metadata as the handler gets it from a request's body."""
    return TypeAdapter(types.Metadata).validate_python(strict_json(f'{{"metadata": {text}}}')["metadata"])


def read_back(metadata: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Metadata as it is read from the table."""
    monkeypatch.setenv("TABLE_NAME", "t")
    record = UsageRecord("id", personal("u1"), "u1", "s", "o", 1, 0, metadata)
    return json.loads(json.dumps(usage.from_item(personal("u1"), usage.to_item(record)).metadata))


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_accepted_metadata_is_read_back_unchanged(metadata: dict[str, Any], escaped: bool) -> None:
    text = json.dumps(metadata, ensure_ascii=escaped)
    try:
        accepted = sent(text)
    except (ValidationError, Invalid):
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
        assert len(text.encode()) > types.MAX_METADATA_BYTES
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert read_back(accepted, monkeypatch) == json.loads(text)


HUGE_EXPONENT = "9" * 19
"""An exponent with more digits than Decimal accepts."""


@pytest.mark.parametrize(
    "text",
    [
        *('{"x": 1e400}', '{"x": -1e400}', '{"x": 1e-400}', '{"x": {"y": [0, 1E+999]}}'),
        *(f'{{"x": 1e{HUGE_EXPONENT}}}', f'{{"x": [-1e-{HUGE_EXPONENT}]}}'),
    ],
)
def test_a_number_beyond_the_range_of_doubles_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="too large or too small"):
        sent(text)


@pytest.mark.parametrize(
    "number",
    [
        *("9007199254740993.0", "1.00000000000000000001", "123456789.123456789123456789"),
        "0.1000000000000000055511151231257827021181583404541015625",
    ],
)
def test_a_decimal_number_with_too_many_digits_is_refused(number: str) -> None:
    with pytest.raises(ValidationError, match="digits"):
        sent(f'{{"x": {number}}}')


@pytest.mark.parametrize("number", ["9007199254740993", "12345678901234567890123456789", "-1", "1" * 1000])
def test_an_integer_is_kept_whatever_its_size(number: str) -> None:
    assert sent(f'{{"x": {number}}}') == {"x": int(number)}


@pytest.mark.parametrize(
    ("text", "number"), [('{"x": 0e-999}', 0), ('{"x": 1.10}', 1.1), ('{"x": 1e308}', 1e308), ('{"x": 5e-324}', 5e-324)]
)
def test_a_number_is_accepted_if_a_double_can_reproduce_it(text: str, number: float) -> None:
    assert sent(text) == {"x": number}


@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF", r"a\udbffb", r"\ud83d\ud83d"])
@pytest.mark.parametrize("form", ['{"x": "%s"}', '{"%s": 1}', '{"x": [{"y": "%s"}]}'])
def test_half_a_surrogate_pair_is_refused(form: str, half: str) -> None:
    with pytest.raises(Invalid, match="metadata"):
        sent(form % half)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert sent(r'{"x": "\ud83d\ude00"}') == {"x": "😀"}


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"x":', "}")])
def test_the_depth_of_nesting_is_limited(opening: str, closing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(levels: int) -> str:
        return '{"x":' + opening * (levels - 1) + "1" + closing * (levels - 1) + "}"

    deepest = sent(nested(types.MAX_METADATA_DEPTH))
    assert read_back(deepest, monkeypatch) == deepest
    for levels in (types.MAX_METADATA_DEPTH + 1, 255, 900):
        with pytest.raises(ValidationError, match="levels"):
            sent(nested(levels))


@pytest.mark.parametrize("character", ["a", "é", "漢", "😀", '"', "\n"])
def test_escapes_and_blanks_do_not_change_the_counted_bytes(character: str) -> None:
    """Metadata is counted as UTF-8, without blanks between its values."""
    character_bytes = len(json.dumps(character, ensure_ascii=False).encode()) - 2
    fitting = (types.MAX_METADATA_BYTES - len('{"x":""}')) // character_bytes

    assert sent(json.dumps({"x": character * fitting}, indent=8)) == {"x": character * fitting}
    with pytest.raises(ValidationError, match="bytes"):
        sent(json.dumps({"x": character * (fitting + 1)}))
